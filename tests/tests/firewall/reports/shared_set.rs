//! An operator's set that others fill as well: foreign elements stay, unless the configuration claims the set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_e2e::{
    Ban, Doing, Firewall, Outcome, ScriptedLapi, World, eventually, eventually_within, pace, story,
};

use super::{operators_tables, set_only};

/// A second, and what a busy machine makes of it.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn an_operators_hash_set_keeps_the_elements_of_others() -> Outcome {
    story(|world| keeps_others(world, "timeout"))
}

#[test]
fn an_operators_interval_set_keeps_the_elements_of_others() -> Outcome {
    story(|world| keeps_others(world, "interval,timeout"))
}

#[test]
fn an_exclusive_set_holds_ours_alone() -> Outcome {
    story(|world| {
        for (flags, n) in [("timeout", 0), ("interval,timeout", 1)] {
            let lapi = ScriptedLapi::start(&world.router)?;
            operators_tables(world, flags)?;
            add(world, "192.0.2.200")?;
            lapi.ban_all(["192.0.2.60", "192.0.2.61"].map(Ban::of));
            let config = set_only(world, &lapi)?
                .set("nftables.ipv4.exclusive", true)
                .set("nftables.ipv6.exclusive", true);
            let firewall = Firewall::start_with(world, &config)?;
            let only_ours = || {
                let held = held(world)?;
                let are = |wanted: &[&str]| held.keys().map(String::as_str).eq(wanted.iter().copied());
                // In an interval set neighbours are one, unless their ends fall into different seconds.
                Ok(are(&["192.0.2.60", "192.0.2.61"]) || (n == 1 && are(&["192.0.2.60/31"])))
            };
            eventually("what others had put in is gone", only_ours)?;
            add(world, "192.0.2.201")?;
            eventually_within(SOON, "what others put in goes", only_ours)?;
            assert!(firewall.stop()?.success());
            assert!(held(world)?.is_empty());
            world.router.nft("delete table ip mine\ndelete table ip6 mine")?;
        }
        Ok(())
    })
}

fn keeps_others(world: &World, flags: &str) -> Outcome {
    let interval = flags.contains("interval");
    let lapi = ScriptedLapi::start(&world.router)?;
    operators_tables(world, flags)?;
    // The operator's own; the first three stand where bans will be, one of them not for long.
    let mut operators = vec!["192.0.2.50", "192.0.2.51 timeout 6s", "192.0.2.52", "192.0.2.200 timeout 1h"];
    operators.extend(["192.0.2.208/28", "198.18.1.0/24"].iter().filter(|_| interval));
    operators.iter().try_for_each(|element| add(world, element))?;
    let operators: Vec<String> =
        operators.iter().map(|text| text.split(' ').next().unwrap_or_default().to_owned()).collect();
    lapi.ban_all(["192.0.2.50", "192.0.2.51", "192.0.2.52", "192.0.2.60"].map(Ban::of));
    if interval {
        lapi.ban_all(["192.0.2.192/26", "198.18.0.0/16"].map(Ban::of));
    }
    let config = set_only(world, &lapi)?.set("reconcile_interval", "1s");

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut fed = Vec::new();
            for n in 1..250 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // Every address of a range of its own, neighbours of each other and, at times, of ours.
                add(world, &format!("203.0.113.{n}"))?;
                fed.push(format!("203.0.113.{n}"));
                pace(Duration::from_millis(100));
            }
            Ok::<_, palisade_e2e::Failure>(fed)
        });
        let told = shares(world, &lapi, &config, &operators, interval);
        stop.store(true, Ordering::Relaxed);
        let fed = feeder.join().expect("the feeder does not panic");
        told?;
        // Nothing of ours is left, everything of the others is.
        let held = held(world)?;
        let mut wanted: BTreeSet<String> = fed?.into_iter().collect();
        assert!(wanted.len() > 20, "the feeder was at work");
        wanted.extend(operators.into_iter().filter(|text| text != "192.0.2.50" && text != "192.0.2.51"));
        if interval {
            wanted.remove("198.18.1.0/24");
        }
        let held_keys: BTreeSet<String> = held.keys().cloned().collect();
        let lost: Vec<_> = wanted.difference(&held_keys).collect();
        let left: Vec<_> = held_keys.difference(&wanted).collect();
        assert!(lost.is_empty() && left.is_empty(), "lost {lost:?}, left {left:?}");
        assert!(held.values().all(|ours| !ours), "{held:?}");
        Ok(())
    })
}

/// Start, bans, lifts, deletions by the operator, a crash, a restart, the stop.
fn shares(
    world: &World,
    lapi: &ScriptedLapi,
    config: &palisade_e2e::Config,
    operators: &[String],
    interval: bool,
) -> Outcome {
    let mut firewall = Firewall::start_with(world, config)?;
    let theirs_stay = |when: &str, gone: &[&str]| -> Outcome {
        let held = held(world)?;
        for element in operators.iter().filter(|element| !gone.contains(&element.as_str())) {
            assert_eq!(held.get(element), Some(&false), "{element} of the operator, {when}: {held:?}");
        }
        Ok(())
    };
    eventually("ours is in", || is_ours(world, "192.0.2.60"))?;
    theirs_stay("after the start", &[])?;
    // One ends by itself.
    eventually("the operator's element has ended", || {
        Ok(held(world)?.get("192.0.2.51").is_none_or(|ours| *ours))
    })?;
    // In an interval set the kernel has to collect the ended one first, which it does once in a second; and the machine
    // may be busy.
    eventually_within(SOON, "ours takes its place", || is_ours(world, "192.0.2.51"))?;
    // One is taken out by the operator.
    world.router.nft("delete element ip mine crowdsec-blacklists { 192.0.2.50 }")?;
    eventually_within(SOON, "ours takes its place too", || is_ours(world, "192.0.2.50"))?;
    let mut gone = vec!["192.0.2.50", "192.0.2.51"];
    theirs_stay("after two of them have gone", &gone)?;
    if interval {
        assert!(is_ours(world, "198.18.0.7")? && is_ours(world, "198.18.2.7")?);
        world.router.nft("delete element ip mine crowdsec-blacklists { 198.18.1.0/24 }")?;
        gone.push("198.18.1.0/24");
        eventually_within(SOON, "our range closes over it", || is_ours(world, "198.18.1.7"))?;
    }
    // Bans and lifts, some of them where the operator's element stands.
    for n in 0..5 {
        lapi.ban(format!("192.0.2.{}", 70 + n));
        lapi.lift(if n % 2 == 0 { "192.0.2.52" } else { "192.0.2.60" });
        lapi.pulled(2)?;
        lapi.ban(if n % 2 == 0 { "192.0.2.52" } else { "192.0.2.60" });
        lapi.pulled(2)?;
    }
    eventually("the last ban is in", || is_ours(world, "192.0.2.74"))?;
    theirs_stay("after bans and lifts", &gone)?;
    firewall.process().kill()?;
    lapi.lift("192.0.2.70");
    let mut firewall = Firewall::start_with(world, config)?;
    eventually("what was lifted meanwhile is out", || Ok(!is_ours(world, "192.0.2.70")?))?;
    assert!(is_ours(world, "192.0.2.74")?);
    theirs_stay("after a crash and a new start", &gone)?;
    firewall.reload()?;
    lapi.ban("192.0.2.80");
    eventually("it goes on after a reload", || is_ours(world, "192.0.2.80"))?;
    theirs_stay("after a reload", &gone)?;
    assert!(firewall.stop()?.success());
    theirs_stay("after the stop", &gone)
}

fn add(world: &World, element: &str) -> Outcome {
    world.router.nft(&format!("add element ip mine crowdsec-blacklists {{ {element} }}"))
}

/// The elements of the operator's IPv4 set, and whether each is ours. Neighbours that others added one by one are
/// spelled one by one.
fn held(world: &World) -> Outcome<BTreeMap<String, bool>> {
    let set = world.router.ruleset()?.set("mine", "crowdsec-blacklists")?;
    Ok(set
        .elements
        .into_iter()
        .map(|element| (element.value, element.comment.as_deref() == Some("palisade")))
        .collect())
}

/// Whether an element of ours covers this address.
fn is_ours(world: &World, address: &str) -> Outcome<bool> {
    let wanted: u32 = address.parse::<std::net::Ipv4Addr>()?.to_bits();
    for (value, ours) in held(world)? {
        let (first, last) = ends(&value)?;
        if ours && first <= wanted && wanted <= last {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ends(value: &str) -> Outcome<(u32, u32)> {
    if let Some((first, last)) = value.split_once('-') {
        let bits = |text: &str| text.parse::<std::net::Ipv4Addr>().map(std::net::Ipv4Addr::to_bits);
        return Ok((bits(first)?, bits(last)?));
    }
    let net: ipnet::Ipv4Net = if value.contains('/') { value.parse() } else { format!("{value}/32").parse() }
        .doing(format_args!("reading {value}"))?;
    Ok((net.network().to_bits(), net.broadcast().to_bits()))
}
