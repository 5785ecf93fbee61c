//! What an earlier release or the stock bouncer left in the kernel is taken over without a gap.

use std::time::Duration;

use palisade_e2e::{Ban, Config, Doing, Firewall, Outcome, ScriptedLapi, UdpProbe, World, eventually, story};

/// What palisade-firewall 0.1 left in the kernel when it was killed: a hash set of hosts and an interval set of ranges
/// for each origin, chains without gates.
const RELEASE_0_1: &str = include_str!("../../fixtures/palisade-0.1.nft");

/// What the newest stock bouncer leaves: one hash set for each origin, ranges as their first address.
const STOCK: &str = include_str!("../../fixtures/stock-0.0.34.nft");

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Of three sources, hosts and ranges, both families. The visitor and the neighbour are banned by a host's and by a
/// range's decision.
fn bans() -> Vec<Ban> {
    [
        ("198.51.100.77", "cscli"),
        ("192.0.2.1", "CAPI"),
        ("192.0.2.2", "lists:firehol_level1"),
        ("203.0.113.0/24", "CAPI"),
        ("192.0.2.128/25", "cscli"),
        ("192.0.2.192/26", "lists:firehol_level1"),
        ("2001:db8:b::9", "cscli"),
        ("2001:db8:c::1", "CAPI"),
        ("2001:db8:a::/64", "CAPI"),
        ("2001:db8:d::/48", "lists:firehol_level1"),
        ("2001:db8:d:1::/64", "cscli"),
    ]
    .into_iter()
    .map(|(value, origin)| Ban::of(value).from_origin(origin).lasting(DAY))
    .collect()
}

#[test]
fn the_tables_of_the_release_before_are_taken_over_without_a_gap() -> Outcome {
    story(|world| taken_over(world, RELEASE_0_1, [true; 4]))
}

#[test]
fn the_tables_of_the_newest_stock_bouncer_are_taken_over_without_a_gap() -> Outcome {
    // It never enforced ranges.
    story(|world| taken_over(world, STOCK, [true, false, false, true]))
}

/// `shut` is whether the fixture blocks: visitor and neighbour over IPv4, then over IPv6.
fn taken_over(world: &World, fixture: &str, shut: [bool; 4]) -> Outcome {
    let lapi = ScriptedLapi::start(&world.router)?;
    lapi.ban_all(bans());
    world.router.nft(fixture)?;
    let before = world.router.ruleset()?;
    let probes = [
        UdpProbe::start(&world.visitor, &world.router)?,
        UdpProbe::start(&world.neighbour, &world.router)?,
        UdpProbe::start_v6(&world.visitor, &world.router)?,
        UdpProbe::start_v6(&world.neighbour, &world.router)?,
    ];
    for (probe, shut) in probes.iter().zip(shut) {
        let sent = probe.sent() + 20;
        eventually("datagrams are sent", || probe.sent() >= sent)?;
        assert_eq!(probe.arrived() == 0, shut, "what the fixture enforces");
    }
    let config = Config::new(world, &lapi.access())?;
    let arrived: Vec<u64> = probes.iter().map(UdpProbe::arrived).collect();
    let firewall = Firewall::start_with(world, &config)?;
    lapi.pulled(3)?;
    for ((probe, shut), before) in probes.iter().zip(shut).zip(arrived) {
        if shut {
            assert_eq!(probe.arrived(), before, "datagrams through the gap");
        } else {
            assert_eq!(probe.during(|| lapi.pulled(1))?, 0, "ranges are enforced from now on");
        }
    }
    let rules = world.router.ruleset()?;
    for (family, table) in [("ip", "crowdsec"), ("ip6", "crowdsec6")] {
        let mut chains = rules.chains(family, table);
        // Behind inner gates; how many there are depends on what is banned.
        chains.retain(|chain| !chain.contains(".source."));
        let wanted = ["-forward", "-input", ".deny", ".source"].map(|chain| format!("{table}-chain{chain}"));
        assert_eq!(chains, wanted, "no chain of before is left");
        let of_table = rules.sets().into_iter().filter(|set| set.table == table).map(|set| set.name);
        let prefix = format!("{table}-blacklists");
        for name in of_table {
            let rest = name.strip_prefix(&prefix).doing("each set has our prefix")?;
            let number =
                [".ranges-", ".gate-", ".inner-", ".front-"].iter().find_map(|kind| rest.strip_prefix(kind));
            let number = number.map(str::parse::<u8>);
            let known = matches!(rest, ".allow" | "-CAPI" | "-cscli") || rest.starts_with("-lists-firehol");
            assert!(known || matches!(number, Some(Ok(_))), "no set of before is left: {name}");
        }
    }
    // Counters go on under their names: dashboards see no new name and no fall.
    let (old, new) = (before.counters(), rules.counters());
    for (name, (packets, _)) in old {
        let now = new.get(&name).doing(format_args!("the counter {name} is still there"))?;
        assert!(now.0 >= packets, "{name} counted {packets} before and {} now", now.0);
    }
    for ban in bans() {
        assert!(rules.bans(&ban.value), "{} is in force", ban.value);
    }
    assert_eq!(rules.banned().len(), bans().len(), "and nothing else");
    assert!(firewall.stop()?.success());
    assert!(world.router.ruleset()?.tables().is_empty(), "the tables go at the stop");
    Ok(())
}
