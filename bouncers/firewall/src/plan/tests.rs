//! The planner against a kernel that is only a map, with the kernel's own rules: nothing may be put in that
//! overlaps what is there, and hosts are hosts.

use std::net::Ipv4Addr;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason};
use proptest::prelude::*;

use super::*;
use crate::layout::Dialect;

const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// The kernel's sets, as a map.
#[derive(Debug, Default)]
struct Model(KernelSets);

impl Model {
    /// Carries out a plan as the kernel would: a change is refused as a whole.
    fn apply(&mut self, layout: &Layout, plan: &Plan, now: Timestamp) {
        for change in &plan.changes {
            match change {
                Change::Host { address, remove, add } => {
                    if let Some(set) = remove {
                        assert!(!layout.target(*set).dialect.interval);
                        self.set(*set).retain(|held| held.first != *address);
                    }
                    if let Some((set, until)) = add {
                        assert!(!layout.target(*set).dialect.interval);
                        let left = Some(until.saturating_duration_since(now));
                        let held = self.set(*set);
                        assert!(!held.iter().any(|held| held.first == *address), "renewed without removal");
                        held.push(Held { first: *address, last: *address, left });
                    }
                }
                Change::Knot { remove, add } => {
                    for gone in remove {
                        let held = self.set(gone.set);
                        let before = held.len();
                        held.retain(|held| (held.first, held.last) != (gone.first, gone.last));
                        assert_eq!(before - held.len(), 1, "{gone:?} is there, whole");
                    }
                    for come in add {
                        let held = self.set(come.set);
                        let clash =
                            held.iter().find(|held| held.first <= come.last && come.first <= held.last);
                        assert_eq!(clash, None, "in the way of {come:?}");
                        let left = come.until.map(|until| until.saturating_duration_since(now));
                        held.push(Held { first: come.first, last: come.last, left });
                    }
                }
            }
        }
    }

    fn set(&mut self, set: SetId) -> &mut Vec<Held> {
        self.0.0.entry(set).or_default()
    }

    /// When the last element that covers an address ends; banned addresses only.
    fn banned_until(&self, layout: &Layout, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let bans = self.0.0.iter().filter(|(set, _)| layout.target(**set).purpose != Purpose::Allow);
        let covering =
            bans.flat_map(|(_, held)| held).filter(|held| held.first <= address && address <= held.last);
        covering.filter_map(|held| held.left).map(|left| now.saturating_add(left)).max()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ban { net: (u32, u8), origin: usize, secs: u64 },
    Lift { net: (u32, u8) },
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    // A small space, so that prefixes nest and neighbour each other.
    let net = (0_u32..64, 26_u8..=32);
    prop_oneof![
        4 => (net.clone(), 0_usize..3, 10_u64..1000).prop_map(|(net, origin, secs)| Step::Ban { net, origin, secs }),
        2 => net.prop_map(|net| Step::Lift { net }),
        2 => Just(Step::Publish),
    ]
}

fn prefix((address, len): (u32, u8)) -> ipnet::IpNet {
    let net = ipnet::IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + address)), len).unwrap();
    net.trunc()
}

/// Managed sets for three sources, or an operator's set.
fn layout(operator: Option<Dialect>) -> Layout {
    let mut config = crate::testing::config();
    let family = config.v4.as_mut().unwrap();
    family.set_only = operator.is_some();
    let family = family.clone();
    let sources: Vec<_> = ["a", "b", "lists:c"].map(|source| (IpFamily::V4, source.to_owned())).into();
    let mut layout = Layout::new(&config, &sources, &[IpFamily::V4]);
    if let Some(dialect) = operator {
        layout.adopt_operators_set(IpFamily::V4, crate::layout::nfproto_of(IpFamily::V4), &family, dialect);
    }
    layout
}

fn dialects() -> impl Strategy<Value = Option<Dialect>> {
    prop_oneof![
        Just(None),
        Just(Some(Dialect { interval: true, timeout: true })),
        Just(Some(Dialect { interval: false, timeout: true })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Following the differences leads to the same kernel as comparing everything, and bans exactly what the cache
    /// bans, until exactly then.
    #[test]
    fn following_and_comparing_agree(
        steps in proptest::collection::vec(step(), 1..60),
        operator in dialects(),
        lag in any::<bool>(),
    ) {
        let layout = layout(operator);
        let mut ledger = Ledger::new(Policy::default(), 0);
        let (mut model, mut hosts) = (Model::default(), Snapshot::default());
        let mut intervals = Snapshot::default();
        let mut batch = Batch::new();
        let all = steps.into_iter().chain([Step::Publish, Step::Publish]).enumerate();
        for (nth, step) in all {
            match step {
                Step::Ban { net, origin, secs } => {
                    let (origin, scenario) = [("a", "x"), ("b", "y"), ("lists", "c")][origin];
                    let reason = Reason { remediation: "ban", origin, scenario };
                    let until = NOW.saturating_add(Duration::from_secs(secs));
                    batch.announce_net(prefix(net), reason, until, 1);
                }
                Step::Lift { net } => batch.lift_net(prefix(net), "ban"),
                Step::Publish => {
                    ledger.apply(Mode::Changes, std::mem::take(&mut batch));
                    let newer = ledger.snapshot();
                    // Intervals may have to wait for the next time.
                    let wait = lag && nth % 2 == 0;
                    let plan = delta(&layout, &hosts, (!wait).then_some(&intervals), &newer, NOW);
                    model.apply(&layout, &plan, NOW);
                    hosts = newer.clone();
                    if !wait {
                        intervals = newer;
                    }
                }
            }
        }
        let plan = delta(&layout, &hosts, Some(&intervals), &hosts, NOW);
        model.apply(&layout, &plan, NOW);
        let compared = reconcile(&layout, &model.0, &hosts, &[], NOW);
        prop_assert_eq!(compared.changes, vec![]);
        let no_ranges = operator.is_some_and(|dialect| !dialect.interval);
        for address in 0..64 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + address));
            let covering = hosts.covering(address);
            let wanted = covering.iter().filter(|decision| {
                !no_ranges || matches!(decision.target, palisade_cache::Target::Net(net) if net.prefix_len() == 32)
            });
            let wanted = wanted.map(|decision| decision.until).max();
            prop_assert_eq!(model.banned_until(&layout, address, NOW), wanted, "{}", address);
        }
        let held: usize = model.0.0.values().map(Vec::len).sum();
        let counted: u64 = compared.wanted.values().sum();
        prop_assert_eq!(u64::try_from(held).unwrap(), counted);
    }

    /// Whatever the kernel holds, one comparison leads to what is wanted.
    #[test]
    fn comparing_repairs_anything(
        bans in proptest::collection::vec(((0_u32..64, 26_u8..=32), 0_usize..3, 10_u64..1000), 0..20),
        junk_hosts in proptest::collection::vec((0_u32..64, 0_u16..3, 1_u64..1000), 0..10),
        junk_ranges in proptest::collection::btree_map(0_u32..64, (0_u32..8, 0_u16..3), 0..6),
    ) {
        let layout = layout(None);
        let mut ledger = Ledger::new(Policy::default(), 0);
        let mut batch = Batch::new();
        for (net, origin, secs) in bans {
            let (origin, scenario) = [("a", "x"), ("b", "y"), ("lists", "c")][origin];
            let until = NOW.saturating_add(Duration::from_secs(secs));
            batch.announce_net(prefix(net), Reason { remediation: "ban", origin, scenario }, until, 1);
        }
        ledger.apply(Mode::Changes, batch);
        let wanted = ledger.snapshot();
        let mut model = Model::default();
        let of_purpose = |purpose: Purpose, nth: u16| {
            let mut sets = layout.targets().filter(|(_, target)| target.purpose == purpose && target.ip == IpFamily::V4);
            sets.nth(nth.into()).unwrap().0
        };
        for (host, nth, secs) in junk_hosts {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host));
            let held = model.set(of_purpose(Purpose::Hosts, nth));
            if !held.iter().any(|held| held.first == address) {
                held.push(Held { first: address, last: address, left: Some(Duration::from_secs(secs)) });
            }
        }
        let mut reach = 0;
        for (first, (width, nth)) in junk_ranges {
            if first >= reach {
                let ip = |n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
                model.set(of_purpose(Purpose::Ranges, nth)).push(Held {
                    first: ip(first), last: ip(first + width), left: None,
                });
                reach = first + width + 1;
            }
        }
        let allow = [("10.0.0.3".parse().unwrap(), "10.0.0.9".parse().unwrap())];
        let plan = reconcile(&layout, &model.0, &wanted, &allow, NOW);
        model.apply(&layout, &plan, NOW);
        let again = reconcile(&layout, &model.0, &wanted, &allow, NOW);
        prop_assert_eq!(again.changes, vec![]);
    }
}

#[test]
fn an_end_that_is_nearly_right_is_left_alone() {
    let layout = layout(None);
    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut batch = Batch::new();
    let reason = Reason { remediation: "ban", origin: "a", scenario: "x" };
    batch.announce_net(prefix((1, 32)), reason, NOW.saturating_add(Duration::from_secs(100)), 1);
    batch.announce_net(prefix((32, 27)), reason, NOW.saturating_add(Duration::from_secs(100)), 2);
    ledger.apply(Mode::Changes, batch);
    let wanted = ledger.snapshot();
    for (left, changes) in [(98, 0), (102, 0), (97, 2), (103, 2)] {
        let mut model = Model::default();
        model.apply(
            &layout,
            &delta(&layout, &Snapshot::default(), Some(&Snapshot::default()), &wanted, NOW),
            NOW,
        );
        for held in model.0.0.values_mut().flatten() {
            held.left = Some(Duration::from_secs(left));
        }
        let plan = reconcile(&layout, &model.0, &wanted, &[], NOW);
        assert_eq!(plan.changes.len(), changes, "{left} s left of 100");
    }
}
