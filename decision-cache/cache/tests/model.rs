//! The cache against a model that is slow and obviously correct: a list, scanned.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_cache::{Batch, Decision, Ledger, Mode, Policy, Reason, Snapshot, Target, Timestamp};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Announced {
    net: IpNet,
    remediation: &'static str,
    origin: &'static str,
    scenario: &'static str,
    until: i64,
}

#[derive(Debug, Clone)]
enum Step {
    Changes { lifted: Vec<(IpNet, &'static str)>, announced: Vec<Announced> },
    Everything(Vec<Announced>),
    Additions(Vec<Announced>),
    Expire(i64),
}

type Slot = (IpNet, &'static str, &'static str, &'static str);

#[derive(Default)]
struct Model(BTreeMap<Slot, Announced>);

fn slot(announced: &Announced) -> Slot {
    let list = if announced.origin == "lists" { announced.scenario } else { "" };
    (announced.net, announced.remediation, announced.origin, list)
}

impl Model {
    fn step(&mut self, step: &Step) {
        let announce = |model: &mut Self, announced: &[Announced]| {
            let mut seen: BTreeMap<Slot, ()> = BTreeMap::new();
            for announced in announced {
                let again = seen.insert(slot(announced), ()).is_some();
                match model.0.get(&slot(announced)) {
                    Some(held) if again && announced.until <= held.until => {}
                    Some(held)
                        if held.scenario == announced.scenario
                            && (held.until - announced.until).abs() <= 2000 => {}
                    _ => {
                        model.0.insert(slot(announced), announced.clone());
                    }
                }
            }
            seen
        };
        match step {
            Step::Changes { lifted, announced } => {
                self.0.retain(|slot, _| !lifted.contains(&(slot.0, slot.1)));
                announce(self, announced);
            }
            Step::Everything(announced) => {
                let seen = announce(self, announced);
                self.0.retain(|slot, _| seen.contains_key(slot));
            }
            Step::Additions(announced) => {
                announce(self, announced);
            }
            Step::Expire(now) => self.0.retain(|_, announced| announced.until > *now),
        }
    }

    fn strongest(&self, rows: impl Fn(&IpNet) -> bool) -> Option<(usize, i64)> {
        let rank = |announced: &Announced| {
            ["ban", "captcha"].iter().position(|r| *r == announced.remediation).unwrap_or(2)
        };
        self.0
            .values()
            .filter(|announced| rows(&announced.net))
            .map(|announced| (rank(announced), std::cmp::Reverse(announced.until)))
            .min()
            .map(|(rank, until)| (rank, until.0))
    }
}

fn strength(decision: Decision<'_>) -> (usize, i64) {
    let rank = ["ban", "captcha"].iter().position(|r| *r == decision.remediation).unwrap_or(2);
    (rank, decision.until.as_millis())
}

fn batch(lifted: &[(IpNet, &'static str)], announced: &[Announced]) -> Batch {
    let mut batch = Batch::new();
    for (net, remediation) in lifted {
        batch.lift_net(*net, remediation);
    }
    for announced in announced {
        let reason = Reason {
            remediation: announced.remediation,
            origin: announced.origin,
            scenario: announced.scenario,
        };
        batch.announce_net(announced.net, reason, Timestamp::from_millis(announced.until), 7);
    }
    batch
}

/// Addresses crowded into a few places, so that prefixes nest, touch and collide, and leaves split.
fn any_net() -> impl Strategy<Value = IpNet> {
    let v4 = (prop_oneof![Just(0u32), Just(0x0a00_0000), Just(0xffff_ff00)], any::<u16>(), 0u8..=32)
        .prop_map(|(base, low, len)| {
            let address = base | u32::from(low) & if base == 0x0a00_0000 { 0x03ff } else { 0xff };
            IpNet::from(Ipv4Net::new(Ipv4Addr::from_bits(address), len.max(len % 24)).unwrap().trunc())
        });
    let v6 =
        (prop_oneof![Just(0u128), Just(0x2001_0db8u128 << 96), Just(!0xffffu128)], any::<u8>(), 0u8..=128)
            .prop_map(|(base, low, len)| {
                IpNet::from(Ipv6Net::new(Ipv6Addr::from_bits(base | u128::from(low)), len).unwrap().trunc())
            });
    // In several /16s and /32s, and of lengths that span many of them.
    let v6_apart =
        (0u128..4, 0u128..1 << 10, prop_oneof![0u8..=128, 8u8..=40]).prop_map(|(top, block, len)| {
            let address = (0x2400 + top) << 112 | block << 102 | block;
            IpNet::from(Ipv6Net::new(Ipv6Addr::from_bits(address), len).unwrap().trunc())
        });
    let host = any::<u16>()
        .prop_map(|low| IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | u32::from(low) & 0x03ff))));
    prop_oneof![3 => v4, 2 => v6, 2 => v6_apart, 3 => host]
}

fn any_announced() -> impl Strategy<Value = Announced> {
    let words = prop_oneof![
        Just(("cscli", "manual")),
        Just(("CAPI", "ssh:bruteforce")),
        Just(("lists", "tor")),
        Just(("lists", "spamhaus")),
        Just(("crowdsec", "ssh-bf")),
        Just(("crowdsec", "http-probing")),
    ];
    (any_net(), prop_oneof![4 => Just("ban"), 2 => Just("captcha"), 1 => Just("throttle")], words, 1i64..40)
        .prop_map(|(net, remediation, (origin, scenario), until)| Announced {
            net: unmap(net),
            remediation,
            origin,
            scenario,
            until: until * 1500,
        })
}

fn unmap(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => {
            let v4 = v6.addr().to_ipv4_mapped().unwrap();
            IpNet::from(Ipv4Net::new(v4, v6.prefix_len() - 96).unwrap().trunc())
        }
        net => net,
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let announced = || prop::collection::vec(any_announced(), 0..30);
    let lifted = prop::collection::vec((any_net().prop_map(unmap), Just("ban")), 0..6);
    prop_oneof![
        5 => (lifted, announced()).prop_map(|(lifted, announced)| Step::Changes { lifted, announced }),
        2 => announced().prop_map(Step::Everything),
        1 => announced().prop_map(Step::Additions),
        2 => (1i64..40).prop_map(|t| Step::Expire(t * 1500)),
    ]
}

fn probes(model: &Model) -> Vec<IpAddr> {
    let mut out = vec!["0.0.0.0".parse().unwrap(), "255.255.255.255".parse().unwrap(), "::".parse().unwrap()];
    for (net, ..) in model.0.keys() {
        out.extend([net.network(), net.broadcast()]);
        match net {
            IpNet::V4(net) => out.extend([
                IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits().wrapping_sub(1))),
                IpAddr::V4(Ipv4Addr::from_bits(net.broadcast().to_bits().wrapping_add(1))),
            ]),
            IpNet::V6(net) => out.extend([
                IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits().wrapping_sub(1))),
                IpAddr::V6(Ipv6Addr::from_bits(net.broadcast().to_bits().wrapping_add(1))),
                IpAddr::V6(Ipv6Addr::from_bits(
                    net.network().to_bits() | net.hostmask().to_bits() & (u128::MAX / 3),
                )),
                // The next /32, in which nothing may be held.
                IpAddr::V6(Ipv6Addr::from_bits(net.broadcast().to_bits().wrapping_add(1 << 96))),
            ]),
        }
    }
    out.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()));
    out
}

fn full(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// What an enforcer would hold: the strongest decision of each address and range.
type InForce = BTreeMap<IpNet, String>;

fn words(decision: Decision<'_>) -> String {
    format!("{} {} {} {:?}", decision.remediation, decision.origin, decision.scenario, decision.until)
}

fn in_force(snapshot: &Snapshot) -> InForce {
    let hosts = snapshot.hosts().map(|(address, decision)| (IpNet::from(address), words(decision)));
    hosts.chain(snapshot.ranges().map(|(net, decision)| (net, words(decision)))).collect()
}

fn check(model: &Model, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    prop_assert_eq!(snapshot.len(), model.0.len());
    let counted: u32 = snapshot.counts().map(|count| count.v4 + count.v6).sum();
    prop_assert_eq!(counted as usize, model.0.len());
    let is_unlisted = |row: &Announced| !matches!(row.remediation, "ban" | "captcha");
    prop_assert_eq!(snapshot.has_unlisted(), model.0.values().any(is_unlisted));
    for ip in probes(model) {
        let expected = model.strongest(|net| net.contains(&ip));
        prop_assert_eq!(snapshot.verdict(ip).map(strength), expected, "verdict for {}", ip);
        prop_assert_eq!(snapshot.holds(ip), expected.is_some());
        let covering = snapshot.covering(ip);
        prop_assert_eq!(covering.first().copied().map(strength), expected);
        let rows = model.0.keys().filter(|slot| slot.0.contains(&ip)).count();
        prop_assert_eq!(covering.len(), rows, "decisions over {}", ip);
        // A measure of the caller's own: lists alone count, and a captcha is stronger than a ban.
        let measure = |remediation: &str| match remediation {
            "captcha" => 0,
            "ban" => 1,
            _ => 2,
        };
        let found = snapshot
            .verdict_by(ip, |decision| (decision.origin == "lists").then(|| measure(decision.remediation)));
        let of_lists = model.0.values().filter(|row| row.origin == "lists" && row.net.contains(&ip));
        let best = of_lists.map(|row| (measure(row.remediation), std::cmp::Reverse(row.until))).min();
        let found =
            found.map(|(strength, decision)| (strength, std::cmp::Reverse(decision.until.as_millis())));
        prop_assert_eq!(found, best, "by another measure for {}", ip);
        let own = model.strongest(|net| full(net) && net.addr() == ip);
        let host = snapshot.hosts().find(|(address, _)| *address == ip);
        prop_assert_eq!(host.map(|(_, decision)| strength(decision)), own, "host {}", ip);
    }
    let mut ranges: Vec<_> = model.0.keys().map(|(net, ..)| *net).filter(|net| !full(net)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    prop_assert_eq!(snapshot.ranges().count(), ranges.len());
    for v6 in [false, true] {
        let counted: u32 = snapshot.range_lengths(v6).map(|(_, count)| count).sum();
        let of_family = ranges.iter().filter(|net| net.addr().is_ipv6() == v6);
        prop_assert_eq!(counted as usize, of_family.count());
    }
    for (net, decision) in snapshot.ranges() {
        prop_assert_eq!(Some(strength(decision)), model.strongest(|held| *held == net), "range {}", net);
    }
    Ok(())
}

fn check_diff(older: &Snapshot, newer: &Snapshot) -> Result<(), TestCaseError> {
    let mut held = in_force(older);
    for change in newer.diff(older) {
        prop_assert!(change.before.map(words) != change.after.map(words));
        prop_assert_eq!(held.get(&change.net).cloned(), change.before.map(words));
        match change.after {
            Some(decision) => held.insert(change.net, words(decision)),
            None => held.remove(&change.net),
        };
    }
    prop_assert_eq!(held, in_force(newer));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_answers_as_the_model_does(steps in prop::collection::vec(any_step(), 1..10)) {
        let (mut model, mut ledger) = (Model::default(), Ledger::new(Policy::default(), 1));
        let (mut previous, mut first) = (ledger.snapshot(), None);
        for step in &steps {
            model.step(step);
            match step {
                Step::Changes { lifted, announced } => { ledger.apply(Mode::Changes, batch(lifted, announced)); }
                Step::Everything(announced) => { ledger.apply(Mode::Everything, batch(&[], announced)); }
                Step::Additions(announced) => { ledger.apply(Mode::Additions, batch(&[], announced)); }
                Step::Expire(now) => { ledger.expire(Timestamp::from_millis(*now)); }
            }
            let snapshot = ledger.snapshot();
            check(&model, &snapshot)?;
            check_diff(&previous, &snapshot)?;
            if let Some(first) = &first {
                check_diff(first, &snapshot)?;      // a reader that skipped generations
            }
            first.get_or_insert_with(|| snapshot.clone());
            previous = snapshot;
        }
    }
}

/// Enough decisions that leaves split into nodes, are patched, and are merged again.
#[test]
fn large_tables_split_patch_and_shrink_like_small_ones() {
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "x" };
    let until = |n: u32| Timestamp::from_millis(i64::from(n % 50 + 1) * 10_000);
    let net = |n: u32| -> IpNet {
        let address = n.wrapping_mul(0x9e37_79b1);
        match n % 10 {
            0 => Ipv4Net::new(Ipv4Addr::from_bits(address), 16 + (n % 13) as u8).unwrap().trunc().into(),
            1..=5 => IpAddr::V4(Ipv4Addr::from_bits(address)).into(),
            6 => Ipv6Net::new(Ipv6Addr::from_bits(u128::from(address) << 80 | 0x2001 << 112), 48)
                .unwrap()
                .trunc()
                .into(),
            _ => IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8u128 << 96 | u128::from(address) << 3)).into(),
        }
    };
    let mut ledger = Ledger::new(Policy::default(), 3);
    let mut whole = Batch::new();
    (0..40_000).for_each(|n| whole.announce_net(net(n), reason, until(n), 0));
    ledger.apply(Mode::Everything, whole);
    let mut rebuilt = Batch::new();
    let mut last = ledger.snapshot();
    for round in 0..49u32 {
        ledger.expire(Timestamp::from_millis(i64::from(round + 1) * 10_000));
        let snapshot = ledger.snapshot();
        check_diff(&last, &snapshot).unwrap();
        last = snapshot;
    }
    (0..40_000).filter(|n| n % 50 == 49).for_each(|n| rebuilt.announce_net(net(n), reason, until(n), 0));
    let mut fresh = Ledger::new(Policy::default(), 9);
    fresh.apply(Mode::Everything, rebuilt);
    assert_eq!(in_force(&last), in_force(&fresh.snapshot()), "patched and built from nothing are the same");
    assert!(!last.is_empty());
}

#[test]
fn other_scopes_are_kept_lifted_and_expired() {
    let reason = |remediation| Reason { remediation, origin: "cscli", scenario: "geo" };
    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut batch = Batch::new();
    batch.announce_name("Country", "FR", reason("captcha"), Timestamp::from_millis(9000), 1);
    batch.announce_name("Country", "FR", reason("BAN"), Timestamp::from_millis(5000), 2);
    batch.announce_name("AS", "64500", reason("ban"), Timestamp::from_millis(7000), 3);
    assert_eq!(ledger.apply(Mode::Changes, batch).added, 3);
    let all = ledger.snapshot();
    assert_eq!(all.verdict_of("Country", "FR").unwrap().remediation, "ban");
    assert_eq!(all.decisions_of("Country", "FR").count(), 2);
    assert!(all.has_scope("AS") && all.has_scope("Country") && !all.has_scope("Ip"));
    assert_eq!(ledger.next_expiry(), Some(Timestamp::from_millis(5000)));
    assert_eq!(ledger.expire(Timestamp::from_millis(5000)), 1);
    assert_eq!(ledger.snapshot().verdict_of("Country", "FR").unwrap().remediation, "captcha");
    let mut lift = Batch::new();
    lift.lift_name("Country", "FR", "captcha");
    assert_eq!(ledger.apply(Mode::Changes, lift).removed, 1);
    let left = ledger.snapshot();
    let only: Vec<_> = left.decisions().map(|decision| decision.target).collect();
    assert_eq!(only, [Target::Name("64500")]);
    assert!(left.has_scope("AS") && !left.has_scope("Country"));
    assert_eq!(all.len(), 3, "an old snapshot stays as it was");
    assert_eq!(ledger.apply(Mode::Everything, Batch::new()).removed, 1);
    assert!(ledger.snapshot().is_empty());
}

#[test]
fn a_lift_up_to_an_id_leaves_newer_decisions() {
    let reason = |origin| Reason { remediation: "ban", origin, scenario: "s" };
    let until = Timestamp::from_millis(60_000);
    let net: IpNet = "192.0.2.1/32".parse().unwrap();
    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut batch = Batch::new();
    for (origin, id) in [("cscli", 5), ("CAPI", 6), ("crowdsec", 7)] {
        batch.announce_net(net, reason(origin), until, id);
        batch.announce_name("Country", "FR", reason(origin), until, id);
    }
    ledger.apply(Mode::Changes, batch);
    let mut batch = Batch::new();
    batch.lift_net_up_to(net, "ban", 6);
    batch.lift_name_up_to("Country", "FR", "ban", 5);
    assert_eq!(ledger.apply(Mode::Changes, batch).removed, 3);
    let snapshot = ledger.snapshot();
    let mut ids: Vec<i64> = snapshot.decisions().map(|decision| decision.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [6, 7, 7]);
}
