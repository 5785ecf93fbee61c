//! A ban beside, around or inside another ends, and exactly the right addresses are open: at every moment, in managed
//! tables and in operators' interval sets, when a lift falls on the end, and when a restart does.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, World, eventually, eventually_within, pace,
    story,
};

use super::probe::{Expected, Probe, after, before};
use super::{operators_tables, set_only};

/// Where bans are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sets {
    /// Our own table.
    Managed,
    /// An operator's set with these flags.
    Operators(&'static str),
}

impl Sets {
    fn config(self, world: &World, lapi: &ScriptedLapi) -> Outcome<Config> {
        match self {
            Self::Managed => Config::new(world, &lapi.access()),
            Self::Operators(flags) => {
                operators_tables(world, flags)?;
                set_only(world, lapi)
            }
        }
    }

    /// How long after its end a ban may still be in force.
    fn late(self) -> Duration {
        match self {
            Self::Operators("interval") => Duration::from_millis(1500),
            Self::Managed | Self::Operators(_) => Duration::from_millis(300),
        }
    }
}

/// Pairs of ranges: the first ends soon, the second lasts.
const PAIRS: [(&str, &str); 6] = [
    ("100.65.0.0/25", "100.65.0.128/25"),
    ("100.65.2.128/25", "100.65.2.0/25"),
    ("100.65.4.0/24", "100.65.4.64/26"),
    ("2001:db8:f:0::/121", "2001:db8:f:0::80/121"),
    ("2001:db8:f:2::80/121", "2001:db8:f:2::/121"),
    ("2001:db8:f:4::/120", "2001:db8:f:4::40/122"),
];

/// Far above everything that is banned: what an open interval reaches.
const FAR_ABOVE: [&str; 2] = ["223.255.255.254", "fdff:ffff::1"];

const SHORT: Duration = Duration::from_secs(4);

/// The time between two looks around an end, unless a look takes longer.
const LOOK: Duration = Duration::from_millis(200);

#[test]
fn the_neighbour_of_a_range_that_ends_stays_as_it_is() -> Outcome {
    story(|world| the_end_is_exact(world, Sets::Managed, false))
}

#[test]
fn the_neighbour_of_a_range_that_ends_stays_as_it_is_in_an_operators_set() -> Outcome {
    story(|world| the_end_is_exact(world, Sets::Operators("interval,timeout"), false))
}

#[test]
fn the_neighbour_of_a_range_that_ends_stays_as_it_is_in_an_operators_set_without_timeouts() -> Outcome {
    story(|world| the_end_is_exact(world, Sets::Operators("interval"), false))
}

#[test]
fn a_restart_around_the_end_of_a_range_leaves_its_neighbour_as_it_is() -> Outcome {
    story(|world| the_end_is_exact(world, Sets::Managed, true))
}

#[test]
fn a_restart_around_the_end_of_a_range_leaves_its_neighbour_as_it_is_in_an_operators_set() -> Outcome {
    story(|world| the_end_is_exact(world, Sets::Operators("interval,timeout"), true))
}

#[test]
fn lifts_around_the_end_of_a_range_lift_nothing_else() -> Outcome {
    story(|world| lifts_near_an_end(world, Sets::Managed))
}

#[test]
fn lifts_around_the_end_of_a_range_lift_nothing_else_in_an_operators_set() -> Outcome {
    story(|world| lifts_near_an_end(world, Sets::Operators("interval,timeout")))
}

/// The kernel refuses an interval around one that has ended, for as long as it has not collected that.
#[test]
fn a_range_around_a_host_whose_ban_has_just_ended_is_in_force_soon() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Sets::Operators("interval,timeout").config(world, &lapi)?;
        let _firewall = Firewall::start_with(world, &config)?;
        let hosts: Vec<IpAddr> = vec!["100.65.6.77".parse()?, "2001:db8:f:6::77".parse()?];
        let probe = Probe::from_visitor(world, &hosts)?;
        let all = |expected| move |_| expected;
        let ranges = ["100.65.6.0/24", "2001:db8:f:6::/64"];
        for _ in 0..4 {
            lapi.ban_all(
                hosts.iter().map(|host| Ban::of(host.to_string()).lasting(Duration::from_millis(1500))),
            );
            eventually("both hosts are blocked", || probe.deviations(all(Expected::Blocked)).is_empty())?;
            eventually("their bans have ended", || probe.deviations(all(Expected::Open)).is_empty())?;
            lapi.ban_all(ranges.map(Ban::of));
            eventually_within(Duration::from_secs(3), "the ranges around them are in force", || {
                probe.deviations(all(Expected::Blocked)).is_empty()
            })?;
            ranges.iter().for_each(|range| assert_eq!(lapi.lift(range), 1));
            eventually("they are lifted", || probe.deviations(all(Expected::Open)).is_empty())?;
        }
        Ok(())
    })
}

fn the_end_is_exact(world: &World, sets: Sets, restart: bool) -> Outcome {
    let lapi = ScriptedLapi::start(&world.router)?;
    let config = sets.config(world, &lapi)?;
    let mut firewall = Firewall::start_with(world, &config)?;
    let nets = |pick: fn(&(&'static str, &'static str)) -> &'static str| -> Vec<IpNet> {
        PAIRS.iter().map(|pair| pick(pair).parse().expect("the table holds prefixes")).collect()
    };
    let (short, long) = (nets(|pair| pair.0), nets(|pair| pair.1));
    let probe = Probe::from_visitor(world, &edges(short.iter().chain(&long)))?;
    let expected = |short_holds: Expected| {
        let (short, long) = (&short, &long);
        move |address: IpAddr| {
            if long.iter().any(|net| net.contains(&address)) {
                Expected::Blocked
            } else if short.iter().any(|net| net.contains(&address)) {
                short_holds
            } else {
                Expected::Open
            }
        }
    };
    // On a busy machine a look takes longer: the bans last for as many looks as on an idle one.
    let looking = Instant::now();
    for _ in 0..3 {
        assert_eq!(probe.deviations(|_| Expected::Open), [], "before the bans");
    }
    let look = LOOK.max(looking.elapsed() / 3);
    let (lasting, afterwards) = (look * 20, look * 15);
    let ban = |net: &IpNet, lasting| Ban::of(net.to_string()).lasting(lasting);
    lapi.ban_all(long.iter().map(|net| ban(net, Duration::from_secs(3600))));
    let earliest = Instant::now() + lasting;
    lapi.ban_all(short.iter().map(|net| ban(net, lasting)));
    let latest = Instant::now() + lasting;
    eventually("all of them are in force", || probe.deviations(expected(Expected::Blocked)).is_empty())?;
    assert!(Instant::now() + Duration::from_secs(1) < earliest, "in time to see them end");
    let late = sets.late();
    let (mut restarted, mut rounds, mut rounds_before) = (!restart, 0, 0);
    // Longer if the machine has become slower meanwhile.
    let patience = latest + afterwards * 5;
    while Instant::now() < latest + afterwards || (rounds <= 20 && Instant::now() < patience) {
        if !restarted && Instant::now() + Duration::from_millis(400) > earliest {
            firewall.process().kill()?;
            firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
            restarted = true;
        }
        let now = Instant::now();
        let short_holds = if now + Duration::from_millis(100) < earliest {
            Expected::Blocked
        } else if now > latest + late {
            Expected::Open
        } else {
            Expected::Either
        };
        let deviations = probe.deviations(expected(short_holds));
        let when = now.saturating_duration_since(earliest);
        assert_eq!(deviations, [], "{when:?} after the end, {rounds} rounds");
        rounds += 1;
        rounds_before += u32::from(short_holds == Expected::Blocked);
        pace(LOOK.saturating_sub(now.elapsed()));
    }
    assert!(rounds > 20 && rounds_before > 4, "only {rounds} looks, {rounds_before} of them before the end");
    if restart {
        firewall.ready()?;
        assert_eq!(probe.deviations(expected(Expected::Open)), [], "after the restart");
    }
    if let Sets::Operators(_) = sets {
        let mut held: Vec<String> = Vec::new();
        for set in world.router.ruleset()?.sets() {
            held.extend(set.elements.into_iter().map(|element| element.value));
        }
        held.sort();
        let mut wanted: Vec<String> = long.iter().map(IpNet::to_string).collect();
        wanted.sort();
        assert_eq!(held, wanted, "what the operator's sets hold");
    }
    Ok(())
}

fn lifts_near_an_end(world: &World, sets: Sets) -> Outcome {
    const BLOCKS: u8 = 9;
    const APART: Duration = Duration::from_millis(60);
    let lapi = ScriptedLapi::start(&world.router)?;
    let config = sets.config(world, &lapi)?.set("update_frequency", "0.02s");
    let _firewall = Firewall::start_with(world, &config)?;
    let parse = |text: String| text.parse::<IpNet>().expect("a prefix");
    let short: Vec<_> = (0..BLOCKS)
        .flat_map(|n| [format!("100.65.{n}.0/25"), format!("2001:db8:f:{n}::/121")])
        .map(parse)
        .collect();
    let long: Vec<_> = (0..BLOCKS)
        .flat_map(|n| [format!("100.65.{n}.128/25"), format!("2001:db8:f:{n}::80/121")])
        .map(parse)
        .collect();
    let stay: Vec<_> =
        ["100.65.9.128/25", "2001:db8:f:9::80/121"].map(|text| parse(text.to_owned())).to_vec();
    let probe = Probe::from_visitor(world, &edges(short.iter().chain(&long).chain(&stay)))?;
    let expected = |lifted: Expected| {
        let (short, long, stay) = (&short, &long, &stay);
        move |address: IpAddr| {
            if stay.iter().any(|net| net.contains(&address)) {
                Expected::Blocked
            } else if short.iter().chain(long).any(|net| net.contains(&address)) {
                lifted
            } else {
                Expected::Open
            }
        }
    };
    lapi.ban_all(long.iter().chain(&stay).map(|net| Ban::of(net.to_string())));
    let end = Instant::now() + SHORT;
    lapi.ban_all(short.iter().map(|net| Ban::of(net.to_string()).lasting(SHORT)));
    eventually("all of them are in force", || probe.deviations(expected(Expected::Blocked)).is_empty())?;
    for (n, pair) in long.chunks(2).enumerate() {
        // From four steps before the end to four after it.
        let at = end + APART * u32::try_from(n)? - APART * 4;
        while Instant::now() < at {
            assert_eq!(probe.deviations(expected(Expected::Either)), [], "while lifts go on");
        }
        for net in pair {
            lapi.lift(&net.to_string());
        }
    }
    lapi.pulled(2)?;
    eventually("what was lifted or has ended is open", || {
        probe.deviations(expected(Expected::Open)).is_empty()
    })?;
    let settled = Instant::now();
    while settled.elapsed() < Duration::from_secs(3) {
        assert_eq!(probe.deviations(expected(Expected::Open)), [], "afterwards");
        pace(Duration::from_millis(200));
    }
    Ok(())
}

/// Both ends of each range, those just outside, and the far end of the address space.
fn edges<'a>(nets: impl Iterator<Item = &'a IpNet>) -> Vec<IpAddr> {
    let ends =
        nets.flat_map(|net| [before(net.network()), net.network(), net.broadcast(), after(net.broadcast())]);
    let far = FAR_ABOVE.map(|text| text.parse().expect("an address"));
    let mut all: Vec<IpAddr> = ends.chain(far).collect();
    all.sort_unstable();
    all.dedup();
    all
}
