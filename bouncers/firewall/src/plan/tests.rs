//! The planner against a kernel that is only a map, with the kernel's own rules: no interval may be put in that
//! overlaps what is there, none may be taken out that is not there whole, and an element is looked up only behind its
//! gate.

use std::net::Ipv4Addr;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason};
use proptest::prelude::*;

use super::*;
use crate::target::Dialect;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// The kernel's sets, as a map.
#[derive(Debug, Default)]
struct Model(KernelSets);

impl Model {
    /// Carries out a plan as the kernel would: a change is refused as a whole.
    fn apply(&mut self, layout: &Layout, plan: &Plan, now: Timestamp) {
        let left = |until: Timestamp| Some(until.saturating_duration_since(now));
        for change in &plan.changes {
            match change {
                Change::Cell { set, cell, add } => {
                    assert!(layout.target(*set).purpose.is_gate());
                    let held = self.set(*set);
                    let before = held.len();
                    held.retain(|held| held.first != *cell);
                    assert_eq!(before > held.len(), !add, "{cell} comes once and goes once");
                    if *add {
                        held.push(Held::plain(*cell, *cell));
                    }
                }
                Change::Element { net, remove, add } => {
                    if let Some(place) = remove {
                        self.set(place.set).retain(|held| held.first != net.addr());
                    }
                    if let Some((place, until)) = add {
                        let target = layout.target(place.set);
                        assert!(!target.dialect.interval);
                        let counter = target.dialect.counters.then(|| layout.counter(place.source));
                        let element = Held {
                            left: left(*until),
                            counter: counter.map_or(0, |counter| counter_print(counter.as_bytes())),
                            marked: target.purpose == Purpose::Everything,
                            ..Held::plain(net.addr(), net.addr())
                        };
                        let held = self.set(place.set);
                        assert!(!held.iter().any(|held| held.first == net.addr()), "renewed without removal");
                        held.push(element);
                        for (gate, cell) in layout.cells(*net) {
                            assert!(
                                self.set(gate).iter().any(|held| held.first == cell),
                                "{net} has no gate"
                            );
                        }
                    }
                }
                Change::Intervals { remove, add } => {
                    for gone in remove {
                        let held = self.set(gone.set);
                        let before = held.len();
                        held.retain(|held| (held.first, held.last) != (gone.first, gone.last));
                        assert_eq!(before - held.len(), 1, "{gone:?} is there, whole");
                    }
                    for come in add {
                        let marked = layout.target(come.set).purpose == Purpose::Everything;
                        let held = self.set(come.set);
                        let clash =
                            held.iter().find(|held| held.first <= come.last && come.first <= held.last);
                        assert_eq!(clash, None, "in the way of {come:?}");
                        let grace = layout.target(come.set).dialect.grace();
                        let left = come.until.and_then(left).map(|left| left + grace);
                        held.push(Held { left, marked, ..Held::plain(come.first, come.last) });
                    }
                }
            }
        }
    }

    /// Time passes: elements end by themselves.
    fn pass(&mut self, layout: &Layout, time: Duration) {
        for (set, held) in &mut self.0.0 {
            if layout.target(*set).dialect.timeout {
                held.retain_mut(|held| match &mut held.left {
                    Some(left) => {
                        *left = left.saturating_sub(time);
                        !left.is_zero()
                    }
                    None => true,
                });
            }
        }
    }

    fn set(&mut self, set: SetId) -> &mut Vec<Held> {
        self.0.0.entry(set).or_default()
    }

    /// What a packet from an address meets: a ban of ours, and until when it stands.
    fn banned_until(&self, layout: &Layout, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let gates = self.0.0.iter().filter_map(|(set, held)| match layout.target(*set).purpose {
            Purpose::Gate(width) => Some((width, held)),
            _ => None,
        });
        let near = gates.into_iter().any(|(width, held)| {
            let cell = crate::gate::truncate(address, width);
            held.iter().any(|held| held.first == cell)
        });
        let inside = |gate: Option<(u8, SetId)>| {
            gate.is_none_or(|(width, set)| {
                let cell = crate::gate::truncate(address, width);
                self.0.0.get(&set).is_some_and(|held| held.iter().any(|held| held.first == cell))
            })
        };
        let covering = self.0.0.iter().flat_map(|(set, held)| {
            let purpose = layout.target(*set).purpose;
            let ip = family_of(address);
            let inner = match (layout.part(ip), purpose) {
                (FamilyLayout::Managed(managed), Purpose::Hosts) => {
                    let width = full_length(ip);
                    managed.inner.get(&width).map(|set| (width, *set))
                }
                (FamilyLayout::Managed(managed), Purpose::Ranges(length)) => managed.inner_gate(length),
                _ => None,
            };
            let near = near && inside(inner);
            let grace = layout.target(*set).dialect.grace();
            let covering = held.iter().filter(move |held| match purpose {
                Purpose::Hosts => near && held.first == address,
                Purpose::Ranges(length) => near && held.first == crate::gate::truncate(address, length),
                Purpose::Everything => held.first <= address && address <= held.last,
                Purpose::Gate(_) | Purpose::InnerGate(_) | Purpose::FrontGate(_) | Purpose::Allow => false,
            });
            covering.filter_map(move |held| held.left).map(move |left| left.saturating_sub(grace))
        });
        covering.map(|left| now.saturating_add(left)).max()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ban { net: (u32, u8), origin: usize, secs: u64 },
    Lift { net: (u32, u8) },
    Wait { secs: u64 },
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    // A small space, so that prefixes nest, adjoin and equal each other; some are as wide as a gate's cell or wider.
    let net = (0_u32..2048, prop_oneof![4 => 26_u8..=32, 1 => 19_u8..=25]);
    prop_oneof![
        4 => (net.clone(), 0_usize..3, 10_u64..1000).prop_map(|(net, origin, secs)| Step::Ban { net, origin, secs }),
        2 => net.prop_map(|net| Step::Lift { net }),
        1 => (1_u64..300).prop_map(|secs| Step::Wait { secs }),
        2 => Just(Step::Publish),
    ]
}

fn prefix((address, len): (u32, u8)) -> IpNet {
    let net = IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + address)), len).unwrap();
    net.trunc()
}

/// Managed sets for three sources and every length, with or without inner gates, or an operator's set.
fn layout(operator: Option<Dialect>, inner: bool) -> Layout {
    let mut config = crate::testing::config();
    let family = config.v4.as_mut().unwrap();
    family.set_only = operator.is_some();
    let family = family.clone();
    let mut layout = Layout::new(&config, &[IpFamily::V4]);
    for source in ["a", "b", "lists:c"] {
        layout.add_source(IpFamily::V4, &family, source);
    }
    for length in 8..32 {
        // One of the lengths has a gate of its own, as if there were very many of it.
        layout.add_length(IpFamily::V4, &family, length, if length == 20 { u32::MAX } else { 1 });
    }
    if inner {
        layout.refine(&config);
        assert_eq!(
            layout.targets().filter(|(_, one)| matches!(one.purpose, Purpose::InnerGate(_))).count(),
            if operator.is_none() { 3 } else { 0 }
        );
    }
    if let Some(dialect) = operator {
        layout.adopt_operators_set(IpFamily::V4, crate::layout::nfproto_of(IpFamily::V4), &family, dialect);
    }
    layout
}

fn dialects() -> impl Strategy<Value = Option<Dialect>> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Dialect { interval: true, timeout: true, counters: false })),
        1 => Just(Some(Dialect { interval: false, timeout: true, counters: false })),
    ]
}

fn reason(origin: usize) -> Reason<'static> {
    let (origin, scenario) = [("a", "x"), ("b", "y"), ("lists", "c")][origin];
    Reason { remediation: "ban", origin, scenario }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Following the differences leads to the same kernel as comparing everything, and bans exactly what the cache
    /// bans, until exactly then, also while time passes.
    #[test]
    fn following_and_comparing_agree(
        steps in proptest::collection::vec(step(), 1..60),
        operator in dialects(),
        inner in any::<bool>(),
    ) {
        let layout = layout(operator, inner);
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let (mut model, mut held) = (Model::default(), Snapshot::default());
        let (mut cells, excluded) = (CellCounts::default(), Excluded::default());
        let mut batch = Batch::new();
        let mut now = NOW;
        let publish = |ledger: &mut Ledger, held: &mut Snapshot, cells: &mut CellCounts, model: &mut Model, now| {
            let newer = ledger.snapshot();
            let plan = delta(&layout, held, &newer, (&excluded, &LocalNetwork::default()), cells, now);
            model.apply(&layout, &plan, now);
            *held = newer;
        };
        for step in steps.into_iter().chain([Step::Publish]) {
            match step {
                Step::Ban { net, origin, secs } => {
                    batch.announce_net(prefix(net), reason(origin), now.saturating_add(Duration::from_secs(secs)), 1);
                }
                Step::Lift { net } => batch.lift_net(prefix(net), "ban"),
                Step::Wait { secs } => {
                    for _ in 0..secs {
                        now = now.saturating_add(Duration::from_secs(1));
                        model.pass(&layout, Duration::from_secs(1));
                        // Ends are published as they come, which an interval set depends on.
                        if ledger.expire(now) > 0 && operator.is_some_and(|dialect| dialect.interval) {
                            publish(&mut ledger, &mut held, &mut cells, &mut model, now);
                        }
                    }
                }
                Step::Publish => {
                    ledger.apply(Mode::Changes, std::mem::take(&mut batch));
                    ledger.expire(now);
                    publish(&mut ledger, &mut held, &mut cells, &mut model, now);
                }
            }
        }
        let compared = reconcile(&layout, &model.0, &held, &[], now);
        prop_assert_eq!(&compared.plan.changes, &vec![]);
        prop_assert_eq!(&compared.cells, &cells);
        let no_ranges = operator.is_some_and(|dialect| !dialect.interval);
        for address in (0..2048).chain([8191]) {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + address));
            let covering = held.covering(address);
            let wanted = covering.iter().filter(|decision| {
                !no_ranges || matches!(decision.target, palisade_cache::Target::Net(net) if net.prefix_len() == 32)
            });
            let wanted = wanted.map(|decision| decision.until).max();
            prop_assert_eq!(model.banned_until(&layout, address, now), wanted, "{}", address);
        }
        let purposes = layout.targets().map(|(set, target)| (set, target.purpose));
        let banned = purposes.filter(|(_, purpose)| !purpose.is_gate() && *purpose != Purpose::Allow);
        let in_kernel: usize = banned.map(|(set, _)| model.0.of(set).len()).sum();
        let counted: u64 = compared.wanted.iter().map(|elements| elements.hosts + elements.ranges).sum();
        prop_assert_eq!(u64::try_from(in_kernel).unwrap(), counted);
    }

    /// Whatever the kernel holds, one comparison leads to what is wanted.
    #[test]
    fn comparing_repairs_anything(
        bans in proptest::collection::vec(((0_u32..64, 26_u8..=32), 0_usize..3, 10_u64..1000), 0..20),
        junk_hosts in proptest::collection::vec((0_u32..64, 0_usize..3, 1_u64..1000), 0..10),
        junk_ranges in proptest::collection::vec(((0_u32..64, 26_u8..32), 0_u64..3, 1_u64..1000), 0..6),
        junk_cells in proptest::collection::vec((0_u32..8, 0_usize..3), 0..6),
    ) {
        let layout = layout(None, true);
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let mut batch = Batch::new();
        for (net, origin, secs) in bans {
            batch.announce_net(prefix(net), reason(origin), NOW.saturating_add(Duration::from_secs(secs)), 1);
        }
        ledger.apply(Mode::Changes, batch);
        let wanted = ledger.snapshot();
        let mut model = Model::default();
        let set_of = |purpose: Purpose, nth: usize| {
            let mut sets = layout.targets().filter(|(_, target)| target.purpose == purpose && target.ip == IpFamily::V4);
            sets.nth(nth).unwrap().0
        };
        let mut put = |set: SetId, element: Held| {
            let held = model.set(set);
            if !held.iter().any(|held| held.first == element.first) {
                held.push(element);
            }
        };
        for (host, nth, secs) in junk_hosts {
            let address = prefix((host, 32)).addr();
            let left = Some(Duration::from_secs(secs));
            put(set_of(Purpose::Hosts, nth), Held { left, ..Held::plain(address, address) });
        }
        for (net, counter, secs) in junk_ranges {
            let net = prefix(net);
            let left = Some(Duration::from_secs(secs));
            let element = Held { left, counter, ..Held::plain(net.addr(), net.addr()) };
            put(set_of(Purpose::Ranges(net.prefix_len()), 0), element);
        }
        for (cell, gate) in junk_cells {
            let cell = prefix((cell * 4096, 20)).addr();
            let gate = [Purpose::Gate(22), Purpose::Gate(20), Purpose::InnerGate(24)][gate];
            put(set_of(gate, 0), Held::plain(cell, cell));
        }
        let exempt = [("10.0.0.3".parse().unwrap(), "10.0.0.9".parse().unwrap())];
        let compared = reconcile(&layout, &model.0, &wanted, &exempt, NOW);
        model.apply(&layout, &compared.plan, NOW);
        let again = reconcile(&layout, &model.0, &wanted, &exempt, NOW);
        prop_assert_eq!(again.plan.changes, vec![]);
    }

    /// In an operator's set what is exempt is left out, what is not ours stays as it is and is not overlapped, and
    /// together they ban what is wanted.
    #[test]
    fn an_operators_set_keeps_what_is_not_ours(
        bans in proptest::collection::vec(((0_u32..64, 26_u8..=32), 10_u64..1000), 0..12),
        foreign in proptest::collection::btree_map(0_u32..64, (0_u32..8, proptest::option::of(1_u64..500)), 0..5),
        exempt in proptest::collection::btree_map(0_u32..64, 0_u32..4, 0..3),
        interval in any::<bool>(),
    ) {
        let layout = layout(Some(Dialect { interval, timeout: true, counters: false }), false);
        let FamilyLayout::SetOnly(Some(place)) = layout.part(IpFamily::V4) else { panic!("set-only") };
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let mut batch = Batch::new();
        for (net, secs) in bans {
            batch.announce_net(prefix(net), reason(0), NOW.saturating_add(Duration::from_secs(secs)), 1);
        }
        ledger.apply(Mode::Changes, batch);
        let wanted = ledger.snapshot();
        let ip = |n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let mut model = Model::default();
        let (mut reach, mut own) = (0, Vec::new());
        for (first, (width, secs)) in foreign {
            if first >= reach {
                let last = if interval { first + width } else { first };
                own.push(Held { left: secs.map(Duration::from_secs), ..Held::plain(ip(first), ip(last)) });
                reach = last + 1;
            }
        }
        *model.set(place.set) = own.clone();
        let mut exempt: Vec<_> = exempt.into_iter().map(|(first, width)| (ip(first), ip(first + width))).collect();
        merge(&mut exempt);
        let compared = reconcile(&layout, &model.0, &wanted, &exempt, NOW);
        model.apply(&layout, &compared.plan, NOW);
        prop_assert_eq!(compared.foreign, own.len());
        let held = model.set(place.set).clone();
        prop_assert!(own.iter().all(|own| held.contains(own)));
        for n in 0..72 {
            let ours = held.iter().any(|held| held.marked && held.first <= ip(n) && ip(n) <= held.last);
            let theirs = own.iter().any(|held| held.first <= ip(n) && ip(n) <= held.last);
            let banned = if interval {
                wanted.holds(ip(n))
            } else {
                wanted.hosts().any(|(address, _)| address == ip(n))
            };
            prop_assert_eq!(ours, banned && !theirs && !covers(&exempt, ip(n)), "{}", n);
        }
        let again = reconcile(&layout, &model.0, &wanted, &exempt, NOW);
        prop_assert_eq!(again.plan.changes, vec![]);
    }
}

#[test]
fn an_end_that_is_nearly_right_is_left_alone() {
    let layout = layout(None, false);
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    let mut batch = Batch::new();
    batch.announce_net(prefix((1, 32)), reason(0), NOW.saturating_add(Duration::from_secs(100)), 1);
    batch.announce_net(prefix((32, 27)), reason(0), NOW.saturating_add(Duration::from_secs(100)), 2);
    ledger.apply(Mode::Changes, batch);
    let wanted = ledger.snapshot();
    for (left, changes) in [(98, 0), (102, 0), (97, 2), (103, 2)] {
        let mut model = Model::default();
        let (mut cells, excluded) = (CellCounts::default(), Excluded::default());
        let plan = delta(
            &layout,
            &Snapshot::default(),
            &wanted,
            (&excluded, &LocalNetwork::default()),
            &mut cells,
            NOW,
        );
        model.apply(&layout, &plan, NOW);
        for held in model.0.0.values_mut().flatten().filter(|held| held.left.is_some()) {
            held.left = Some(Duration::from_secs(left));
        }
        let compared = reconcile(&layout, &model.0, &wanted, &[], NOW);
        assert_eq!(compared.plan.changes.len(), changes, "{left} s left of 100");
    }
}

#[test]
fn too_wide_ranges_are_named_and_not_enforced() {
    let layout = layout(None, false);
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    let mut batch = Batch::new();
    for net in ["0.0.0.0/0", "10.0.0.0/7", "10.0.0.0/8"] {
        batch.announce_net(net.parse().unwrap(), reason(0), NOW.saturating_add(Duration::from_secs(100)), 1);
    }
    ledger.apply(Mode::Changes, batch);
    let mut cells = CellCounts::default();
    let local = LocalNetwork { subnets: vec!["10.1.0.0/16".parse().unwrap()], ..LocalNetwork::default() };
    let (older, newer) = (Snapshot::default(), ledger.snapshot());
    let plan = delta(&layout, &older, &newer, (&Excluded::default(), &local), &mut cells, NOW);
    assert_eq!(
        plan.hits,
        [("10.0.0.0/8".parse().unwrap(), "this host's own network 10.1.0.0/16".to_owned())]
    );
    assert_eq!(
        plan.too_wide.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["0.0.0.0/0", "10.0.0.0/7"]
    );
    let elements = plan.changes.iter().filter(|change| matches!(change, Change::Element { .. })).count();
    assert_eq!((elements, plan.added), (1, 1));
}

#[test]
fn while_not_all_is_known_nothing_is_lifted() {
    let layout = layout(Some(Dialect { interval: true, timeout: true, counters: false }), false);
    let FamilyLayout::SetOnly(Some(place)) = layout.part(IpFamily::V4) else { panic!("set-only") };
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    let mut batch = Batch::new();
    for net in [(16, 28), (64, 27)] {
        batch.announce_net(prefix(net), reason(0), NOW.saturating_add(Duration::from_secs(100)), 1);
    }
    ledger.apply(Mode::Changes, batch);
    let ip = |n: u32| prefix((n, 32)).addr();
    let mut model = Model::default();
    let left = Some(Duration::from_secs(50));
    *model.set(place.set) =
        [(0, 23), (40, 50)].map(|(a, b)| Held { left, marked: true, ..Held::plain(ip(a), ip(b)) }).into();
    let mut compared = reconcile(&layout, &model.0, &ledger.snapshot(), &[], NOW);
    compared.plan.keep_bans(&layout, &[]);
    model.apply(&layout, &compared.plan, NOW);
    let held: Vec<_> = model.set(place.set).iter().map(|held| (held.first, held.last)).collect();
    let expected = [(0, 23), (40, 50), (24, 31), (64, 95)].map(|(a, b)| (ip(a), ip(b)));
    assert_eq!(held, expected);
}

#[test]
fn an_element_that_is_read_twice_is_one_element() {
    let layout = layout(None, false);
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    let mut batch = Batch::new();
    batch.announce_net(prefix((1, 32)), reason(0), NOW.saturating_add(Duration::from_secs(100)), 1);
    ledger.apply(Mode::Changes, batch);
    let wanted = ledger.snapshot();
    let mut model = Model::default();
    model.apply(&layout, &reconcile(&layout, &model.0, &wanted, &[], NOW).plan, NOW);
    for held in model.0.0.values_mut() {
        held.extend(held.clone());
    }
    assert_eq!(reconcile(&layout, &model.0, &wanted, &[], NOW).plan.changes, []);
}
