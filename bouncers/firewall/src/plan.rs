//! What has to change in the kernel's sets. Pure: the kernel's elements and the wanted decisions in, changes out.
//!
//! A change is the unit of all or nothing: everything that concerns one address, or one knot of ranges that
//! overlap each other, is one change. Changes are independent of each other, so they may be split over several
//! transactions, or one of them left out, without opening or closing a door for anybody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use palisade_cache::{Decision, Diff, Snapshot, Span, Timestamp};

use crate::config::IpFamily;
use crate::layout::{FamilyLayout, Layout, Placer, Purpose, SetId, family_of};
use crate::netlink::Held;
use crate::spans::{Stretch, drop_common, flatten, knots};

/// A kernel element whose end is no further off than this is left alone: clocks and roundings differ by less.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The elements of every set of a layout, by set.
#[derive(Debug, Default)]
pub(crate) struct KernelSets(pub(crate) HashMap<SetId, Vec<Held>>);

impl KernelSets {
    fn of(&self, id: SetId) -> &[Held] {
        self.0.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// Everything that must happen together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// About one address in hash sets.
    Host {
        /// The address.
        address: IpAddr,
        /// The set to take it out of.
        remove: Option<SetId>,
        /// The set to put it into, and when it ends.
        add: Option<(SetId, Timestamp)>,
    },
    /// About intervals that overlap each other, or one that overlaps none.
    Knot {
        /// Taken out first.
        remove: Vec<Stretch>,
        /// Put in afterwards.
        add: Vec<Stretch>,
    },
}

/// The changes from one state to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to do, in any order; what is let through comes first.
    pub(crate) changes: Vec<Change>,
    /// How many elements each set will have, when everything was compared.
    pub(crate) wanted: HashMap<SetId, u64>,
    /// Ranges that the operator's set cannot hold, because it lacks the interval flag.
    pub(crate) unenforceable_ranges: usize,
}

impl Plan {
    /// Whether any change is about intervals.
    pub(crate) fn touches_intervals(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Knot { .. }))
    }

    /// Leaves out what only lifts bans: for as long as nobody knows whether what is wanted is all of it. What is
    /// allowed comes from the configuration, so that is known.
    pub(crate) fn keep_bans(&mut self, layout: &Layout) {
        let allows = |stretch: &Stretch| layout.target(stretch.set).purpose == Purpose::Allow;
        self.changes.retain(|change| match change {
            Change::Host { add, .. } => add.is_some(),
            Change::Knot { remove, add } => !add.is_empty() || remove.iter().any(allows),
        });
    }

    fn want(&mut self, set: SetId) {
        *self.wanted.entry(set).or_default() += 1;
    }
}

/// Compares everything the kernel holds with everything that is wanted.
pub(crate) fn reconcile(
    layout: &Layout,
    kernel: &KernelSets,
    wanted: &Snapshot,
    allow: &[(IpAddr, IpAddr)],
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let mut come = Vec::new();
    let mut allowed = Vec::new();
    for ip in [IpFamily::V4, IpFamily::V6] {
        match layout.part(ip) {
            FamilyLayout::Managed { allow: Some(set), .. } => {
                let of_family = allow.iter().filter(|(first, _)| family_of(*first) == ip);
                allowed.extend(of_family.map(|&(first, last)| Stretch {
                    set: *set,
                    first,
                    last,
                    until: None,
                }));
            }
            FamilyLayout::SetOnly(Some(set)) if layout.target(*set).dialect.interval => {
                come.extend(flatten(ip, *set, wanted));
            }
            _ => {}
        }
    }
    come.extend(wanted_ranges(layout, &wanted.spans(), now));
    for stretch in come.iter().chain(&allowed) {
        plan.want(stretch.set);
    }
    plan.unenforceable_ranges = unenforceable(layout, wanted);
    let held = |purpose: fn(Purpose) -> bool| {
        layout
            .targets()
            .filter(move |(_, target)| target.dialect.interval && purpose(target.purpose))
            .flat_map(|(set, _)| kernel.of(set).iter().map(move |held| (set, *held)))
    };
    intervals(layout, held(|purpose| purpose == Purpose::Allow), allowed, now, &mut plan);
    intervals(layout, held(|purpose| purpose != Purpose::Allow), come, now, &mut plan);
    hosts(layout, kernel, wanted, now, &mut plan);
    plan
}

/// Compares the newer snapshot with the one whose hosts are in force, and with the one whose intervals are, unless
/// these have to wait. Costs with the difference, except for an operator's interval set.
pub(crate) fn delta(
    layout: &Layout,
    hosts: &Snapshot,
    intervals: Option<&Snapshot>,
    newer: &Snapshot,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let diff = newer.diff(hosts);
    host_changes(layout, &diff, now, &mut plan);
    match intervals {
        None => {}
        // They nearly always come from the same snapshot.
        Some(older) if older.generation() == hosts.generation() => {
            interval_changes(layout, &diff, older, newer, now, &mut plan);
        }
        Some(older) => interval_changes(layout, &newer.diff(older), older, newer, now, &mut plan),
    }
    plan.unenforceable_ranges = unenforceable(layout, newer);
    plan
}

fn host_changes(layout: &Layout, diff: &Diff<'_>, now: Timestamp, plan: &mut Plan) {
    let mut placer = Placer::new(layout);
    for change in &diff.hosts {
        let before = host_place(layout, &mut placer, change.address, change.before);
        let after = host_place(layout, &mut placer, change.address, change.after);
        if before != after {
            let add = after.filter(|(_, until)| *until > now);
            push_host(plan, change.address, before.map(|(set, _)| set), add);
        }
    }
}

fn interval_changes(
    layout: &Layout,
    diff: &Diff<'_>,
    older: &Snapshot,
    newer: &Snapshot,
    now: Timestamp,
    plan: &mut Plan,
) {
    // (What goes may have ended; it may still have to be taken out.)
    let mut gone = wanted_ranges(layout, &diff.spans_gone, Timestamp::from_millis(i64::MIN));
    let mut come = wanted_ranges(layout, &diff.spans_come, now);
    for ip in [IpFamily::V4, IpFamily::V6] {
        if let FamilyLayout::SetOnly(Some(set)) = layout.part(ip)
            && layout.target(*set).dialect.interval
        {
            let touched = diff.hosts.iter().any(|change| family_of(change.address) == ip)
                || diff.spans_gone.iter().chain(&diff.spans_come).any(|span| family_of(span.first) == ip);
            if touched {
                gone.extend(flatten(ip, *set, older));
                come.extend(flatten(ip, *set, newer));
            }
        }
    }
    // What only changed its words (scenario, id) stays as it is.
    drop_common(&mut gone, &mut come);
    plan.changes.extend(knots(gone, come).map(|(remove, add)| Change::Knot { remove, add }));
}

fn push_host(plan: &mut Plan, address: IpAddr, remove: Option<SetId>, add: Option<(SetId, Timestamp)>) {
    if remove.is_some() || add.is_some() {
        plan.changes.push(Change::Host { address, remove, add });
    }
}

/// The hash set an address goes into, if it goes into one, and until when.
fn host_place<'d>(
    layout: &Layout,
    placer: &mut Placer<'_, 'd>,
    address: IpAddr,
    decision: Option<Decision<'d>>,
) -> Option<(SetId, Timestamp)> {
    let (ip, decision) = (family_of(address), decision?);
    let set = match layout.part(ip) {
        FamilyLayout::Managed { .. } => placer.sets(ip, &decision)?.hosts,
        FamilyLayout::SetOnly(Some(set)) if !layout.target(*set).dialect.interval => *set,
        FamilyLayout::SetOnly(_) | FamilyLayout::Disabled => return None,
    };
    Some((set, decision.until))
}

/// The spans that go into managed range sets.
fn wanted_ranges(layout: &Layout, spans: &[Span<'_>], now: Timestamp) -> Vec<Stretch> {
    let mut placer = Placer::new(layout);
    let mut wanted = Vec::with_capacity(spans.len());
    for span in spans.iter().filter(|span| span.decision.until > now) {
        let sets = placer.sets(family_of(span.first), &span.decision);
        wanted.extend(sets.map(|sets| Stretch {
            set: sets.ranges,
            first: span.first,
            last: span.last,
            until: Some(span.decision.until),
        }));
    }
    wanted
}

/// Ranges that an operator's hash set cannot hold.
fn unenforceable(layout: &Layout, wanted: &Snapshot) -> usize {
    let hash_only = |ip| matches!(layout.part(ip), FamilyLayout::SetOnly(Some(set)) if !layout.target(*set).dialect.interval);
    if !hash_only(IpFamily::V4) && !hash_only(IpFamily::V6) {
        return 0;
    }
    wanted.spans().iter().filter(|span| hash_only(family_of(span.first))).count()
}

/// Compares hash sets.
fn hosts(layout: &Layout, kernel: &KernelSets, wanted: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let sets = layout.targets().filter(|(_, target)| !target.dialect.interval);
    let held = sets.flat_map(|(set, _)| kernel.of(set).iter().map(move |held| (held.first, set, held.left)));
    let mut held: Vec<(IpAddr, SetId, Option<Duration>)> = held.collect();
    held.sort_unstable_by_key(|(address, set, _)| (*address, *set));
    held.dedup_by(|extra, one| {
        let twice = extra.0 == one.0;
        if twice {
            // In a second set of ours as well: one is enough, the others go.
            push_host(plan, extra.0, Some(extra.1), None);
        }
        twice
    });
    let mut stale = vec![true; held.len()];
    let mut placer = Placer::new(layout);
    for (address, decision) in wanted.hosts() {
        let Some((set, until)) = host_place(layout, &mut placer, address, Some(decision)) else { continue };
        if until <= now {
            continue;
        }
        plan.want(set);
        let found = held.binary_search_by_key(&address, |(held, ..)| *held).ok();
        let before = found.map(|at| {
            stale[at] = false;
            held[at]
        });
        let stands = before
            .is_some_and(|(_, place, left)| place == set && ends_alike(layout, set, left, Some(until), now));
        if !stands {
            push_host(plan, address, before.map(|(_, set, _)| set), Some((set, until)));
        }
    }
    for ((address, set, _), _) in held.into_iter().zip(stale).filter(|(_, stale)| *stale) {
        push_host(plan, address, Some(set), None);
    }
}

/// Compares interval sets.
fn intervals(
    layout: &Layout,
    held: impl Iterator<Item = (SetId, Held)>,
    wanted: Vec<Stretch>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let mut held: HashMap<(SetId, IpAddr, IpAddr), Option<Duration>> =
        held.map(|(set, held)| ((set, held.first, held.last), held.left)).collect();
    let mut come = wanted;
    come.retain(|stretch| {
        let key = (stretch.set, stretch.first, stretch.last);
        let stands =
            held.get(&key).is_some_and(|left| ends_alike(layout, stretch.set, *left, stretch.until, now));
        if stands {
            held.remove(&key);
        }
        !stands
    });
    let gone = held.into_keys().map(|(set, first, last)| Stretch { set, first, last, until: None }).collect();
    plan.changes.extend(knots(gone, come).map(|(remove, add)| Change::Knot { remove, add }));
}

/// Whether an element with so much time left ends when it should.
fn ends_alike(
    layout: &Layout,
    set: SetId,
    left: Option<Duration>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    match (left, until) {
        // Such a set has no timeouts; its elements end by our hand.
        _ if !layout.target(set).dialect.timeout => true,
        (None, None) => true,
        (Some(left), Some(until)) => left.abs_diff(until.saturating_duration_since(now)) <= TOLERANCE,
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests;
