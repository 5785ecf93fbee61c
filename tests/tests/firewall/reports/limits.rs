//! Many sources, many prefix lengths, many changes at once, and a crash in the middle of a large load.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, UdpProbe, eventually, eventually_within,
    many_addresses, pace, story, story_within,
};

use super::probe::{Expected, Probe, after, before};

#[test]
fn six_hundred_lists_are_all_enforced() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let host = |n: u32| Ipv4Addr::from_bits(0x6441_0000 + 512 * n).to_string();
        for n in 0..600 {
            lapi.ban(Ban::of(host(n)).from_origin(&format!("lists:list number {n}")));
            if n % 50 == 0 {
                let range = format!("2001:db8:{n:x}::/48");
                lapi.ban(Ban::of(range).from_origin(&format!("lists:list number {n}")));
            }
        }
        let config = Config::new(world, &lapi.access())?;
        let started = Instant::now();
        let mut firewall = Firewall::start_with(world, &config)?;
        assert!(started.elapsed() < Duration::from_secs(10), "ready after {:?}", started.elapsed());
        let enforced = |world: &palisade_e2e::World| {
            let banned = world.router.ruleset()?.banned();
            Ok::<_, palisade_e2e::Failure>(
                (0..600).filter(|n| !banned.contains_key(&host(*n))).collect::<Vec<_>>(),
            )
        };
        assert_eq!(enforced(world)?, Vec::<u32>::new(), "lists without effect");
        let sources = world.router.ruleset()?.sets();
        let sources =
            sources.iter().filter(|set| set.table == "crowdsec" && set.name.contains("blacklists-lists-"));
        assert!(sources.count() <= 512, "no more sets than a kernel walks through in reasonable time");
        assert!(world.router.ruleset()?.set("crowdsec", "crowdsec-blacklists-other").is_ok());

        // Packets, from the first list, the last, and one that comes later.
        let addresses: Vec<IpAddr> =
            [0, 1, 511, 512, 599, 700].iter().map(|n| host(*n).parse()).collect::<Result<_, _>>()?;
        let probe = Probe::from_visitor(world, &addresses)?;
        let late = addresses[5];
        let expected = |of_late| move |address| if address == late { of_late } else { Expected::Blocked };
        assert_eq!(probe.deviations(expected(Expected::Open)), []);
        lapi.ban(Ban::of(host(700)).from_origin("lists:list number 700"));
        eventually("a list that comes later is enforced", || {
            probe.deviations(expected(Expected::Blocked)).is_empty()
        })?;
        lapi.lift(&host(700));
        eventually("and its lift", || probe.deviations(expected(Expected::Open)).is_empty())?;
        firewall.process().kill()?;
        let started = Instant::now();
        let firewall = Firewall::start_with(world, &config)?;
        assert!(started.elapsed() < Duration::from_secs(10), "again after {:?}", started.elapsed());
        assert_eq!(enforced(world)?, Vec::<u32>::new(), "lists without effect after a crash");
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_storm_of_ranges_of_every_length_touches_no_clean_neighbour() -> Outcome {
    const RANGES: usize = 5000;
    story_within(Duration::from_secs(400), |world| {
        let mut random = fastrand::Rng::with_seed(26);
        let lapi = ScriptedLapi::start(&world.router)?;
        // Clean addresses all over the place, and among them pairs of which one is banned for good.
        let clean: Vec<Ipv4Addr> =
            (0..24).map(|_| Ipv4Addr::from_bits(0x6440_0000 | random.u32(0..1 << 22))).collect();
        let contains_clean = |net: &IpNet| clean.iter().any(|address| net.contains(&IpAddr::V4(*address)));
        let mut ranges = BTreeSet::new();
        let mut lengths: BTreeMap<u8, usize> = BTreeMap::new();
        while ranges.len() < RANGES {
            let length = random.u8(13..=31);
            // In 100.64.0.0/10 and, where the clean ones leave no room for wide ones, in 10.0.0.0/8.
            let base = if length < 18 {
                0x0a00_0000 | random.u32(0..1 << 24)
            } else {
                0x6440_0000 | random.u32(0..1 << 22)
            };
            let net = IpNet::from(ipnet::Ipv4Net::new(Ipv4Addr::from_bits(base), length)?.trunc());
            if !contains_clean(&net)
                && lengths.get(&length).is_none_or(|count| *count < RANGES / 15)
                && ranges.insert(net)
            {
                *lengths.entry(length).or_default() += 1;
            } else if random.u32(0..200_000) == 0 {
                break;
            }
        }
        let ranges: Vec<IpNet> = ranges.into_iter().collect();
        assert!(ranges.len() > RANGES * 9 / 10, "only {} ranges", ranges.len());
        // Those just outside some of the ranges, unless another range covers them.
        let covered = |address: IpAddr| ranges.iter().any(|net| net.contains(&address));
        let outside =
            ranges.iter().step_by(97).flat_map(|net| [before(net.network()), after(net.broadcast())]);
        let mut watched: Vec<IpAddr> = outside.filter(|address| !covered(*address)).collect();
        watched.extend(clean.iter().map(|address| IpAddr::V4(*address)));
        watched.sort_unstable();
        watched.dedup();
        let open = watched.len();
        let stay: Vec<IpNet> = ranges.iter().step_by(200).copied().collect();
        watched.extend(stay.iter().map(IpNet::broadcast));
        let _firewall = Firewall::start(world, &lapi.access())?;
        let probe = Probe::from_visitor(world, &watched)?;
        let mut looks = 0;
        let mut clean_ones_pass = |when: &str| {
            looks += 1;
            let deviations =
                probe.deviations(|address| if covered(address) { Expected::Either } else { Expected::Open });
            assert_eq!(deviations, [], "{when}, {open} clean addresses");
        };
        clean_ones_pass("before the storm");
        let (mut waiting, mut active) = (ranges.clone(), Vec::new());
        random.shuffle(&mut waiting);
        while !waiting.is_empty() || active.len() > ranges.len() / 4 {
            // More come than go while there are any, and then the rest goes.
            for _ in 0..120 {
                if let Some(net) = waiting.pop() {
                    let origin = ["cscli", "CAPI", "lists:one", "lists:two"][random.usize(0..4)];
                    lapi.ban(Ban::of(net.to_string()).from_origin(origin));
                    active.push(net);
                }
            }
            for _ in 0..60 {
                if !active.is_empty() {
                    let net = active.swap_remove(random.usize(0..active.len()));
                    lapi.lift(&net.to_string());
                }
            }
            clean_ones_pass("in the storm");
        }
        for net in std::mem::take(&mut active) {
            if !stay.contains(&net) {
                lapi.lift(&net.to_string());
            }
        }
        // In force at the end: those that stay, banned anew if they were lifted on the way.
        for net in &stay {
            lapi.lift(&net.to_string());
        }
        lapi.pulled(2)?;
        lapi.ban_all(stay.iter().map(|net| Ban::of(net.to_string())));
        let wanted: BTreeSet<String> = stay.iter().map(IpNet::to_string).collect();
        eventually_within(Duration::from_secs(40), "exactly those that stay are in force", || {
            Ok(world.router.ruleset()?.banned().into_keys().collect::<BTreeSet<_>>() == wanted)
        })?;
        let deviations = probe.deviations(|address| {
            let banned = stay.iter().any(|net| net.contains(&address));
            if banned { Expected::Blocked } else { Expected::Open }
        });
        assert_eq!(deviations, [], "at the end");
        assert!(looks > 20, "only {looks} looks");
        Ok(())
    })
}

/// So many ranges of one length get a gate of their own; while rules are made anew for that, nothing slips through.
#[test]
fn ranges_that_become_too_many_for_their_gate_leave_no_gap() -> Outcome {
    const MANY: u32 = 1200;
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all(["198.48.0.0/14", "2001:db8::/40"].map(Ban::of));
        let firewall = Firewall::start(world, &lapi.access())?;
        let (probe, probe_v6) = (
            UdpProbe::start(&world.visitor, &world.router)?,
            UdpProbe::start_v6(&world.visitor, &world.router)?,
        );
        let many = || {
            (0..MANY).flat_map(|n| {
                let v4 = Ipv4Addr::from_bits(0x1000_0000 + (n << 18));
                [format!("{v4}/14"), format!("2a00:{:x}:{:x}00::/40", n >> 8, n & 0xff)]
            })
        };
        let held = |count: usize| {
            move || Ok::<_, palisade_e2e::Failure>(world.router.ruleset()?.banned().len() == count)
        };
        let mut arrived_v6 = 0;
        let arrived = probe.during(|| {
            arrived_v6 = probe_v6.during(|| {
                for _ in 0..2 {
                    lapi.ban_all(many().map(Ban::of));
                    eventually_within(
                        Duration::from_secs(40),
                        "all are in force",
                        held(2 * MANY as usize + 2),
                    )?;
                    let sets = world.router.ruleset()?.sets();
                    let has_gate = |name: &str| sets.iter().any(|set| set.name == name);
                    assert!(
                        has_gate("crowdsec-blacklists.gate-14") && has_gate("crowdsec6-blacklists.gate-40")
                    );
                    many().for_each(|net| assert_eq!(lapi.lift(&net), 1));
                    eventually_within(Duration::from_secs(40), "all are lifted", held(2))?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        assert_eq!((arrived, arrived_v6), (0, 0), "datagrams through the gap");
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_crash_in_the_middle_of_a_large_load_leaves_nothing_twice() -> Outcome {
    // So many elements take many transactions, and the kill is to fall between two of them.
    const ADDRESSES: u32 = 100_000;
    const ALL: usize = 2 * ADDRESSES as usize + 3;
    story_within(Duration::from_secs(400), |world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all(many_addresses(ADDRESSES).enumerate().map(|(n, address)| {
            Ban::of(address).from_origin(if n % 3 == 0 { "CAPI" } else { "lists:large" })
        }));
        let networks =
            || (0..ADDRESSES).map(|n| format!("2001:db8:{:x}:{:x}::/64", 16 + (n >> 16), n & 0xffff));
        lapi.ban_all(networks().map(|network| Ban::of(network).from_origin("lists:large")));
        lapi.ban_all(["198.51.100.77", "203.0.113.0/24", "2001:db8:a::/64"].map(Ban::of));
        let config = Config::new(world, &lapi.access())?;
        // How long after the tables are there it is killed: narrowed down until it falls into the load.
        let (mut early, mut late) = (Duration::ZERO, Duration::from_secs(2));
        let mut seen = Vec::new();
        loop {
            assert!(seen.len() < 20, "it was never killed in the middle: {seen:?}");
            let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
            eventually_within(Duration::from_secs(60), "the tables are there", || {
                Ok(world.router.tool(["nft", "list", "tables"])?.contains("crowdsec6"))
            })?;
            let after = (early + late) / 2;
            pace(after);
            firewall.process().kill()?;
            let held = world.router.ruleset()?.banned().len();
            seen.push((after, held));
            match held {
                0 => early = after,
                held if held < ALL => break,
                _ => late = after,
            }
            if late - early < Duration::from_millis(4) {
                (early, late) = (early / 2, late * 2);
            }
            world.router.nft("flush ruleset")?;
        }
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
        eventually_within(Duration::from_secs(60), "it is ready", || firewall.is_ready())?;
        let rules = world.router.ruleset()?;
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        for set in rules.sets().into_iter().filter(palisade_e2e::Set::bans) {
            for element in set.elements {
                *times.entry(element.value).or_default() += 1;
            }
        }
        assert!(times.values().all(|count| *count == 1), "something is held twice");
        assert_eq!(times.len(), ALL);
        assert!(many_addresses(ADDRESSES).all(|address| times.contains_key(&address)));
        for chain in ["crowdsec-chain-input", "crowdsec-chain.source", "crowdsec-chain.deny"] {
            let expressions: Vec<String> =
                rules.rules("crowdsec", chain).map(|rule| rule["expr"].to_string()).collect();
            let distinct: BTreeSet<&String> = expressions.iter().collect();
            assert_eq!(distinct.len(), expressions.len(), "rules of {chain} twice: {expressions:?}");
        }
        let _service = world.router.echoes_on(80)?;
        assert!(!world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80));
        assert!(!world.neighbour.reaches(&world.router, 80) && world.neighbour.reaches_v6(&world.router, 80));
        Ok(())
    })
}
