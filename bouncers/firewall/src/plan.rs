//! Computes what has to change in the kernel's sets. Pure: the kernel's elements and the wanted decisions in, changes
//! out.
//!
//! A change is the unit of all or nothing: everything that concerns one address or prefix, or one group of intervals
//! that overlap each other, is one change. Changes are independent of each other, so they may be split over several
//! transactions, or one of them left out, without banning or admitting any other address. Gate cells come first when
//! they are added and last when they are removed, so that a gate never lacks what it guards.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::{Decision, Snapshot, Timestamp};

use crate::config::IpFamily;
use crate::exempt::{covers, merge};
use crate::gate::CellCounts;
use crate::intervals::{Interval, drop_common, flatten, overlap_groups, uncovered};
use crate::layout::{FamilyLayout, Layout, Placer, family_of, full_length};
use crate::local::LocalNetwork;
use crate::netlink::{Held, counter_print};
use crate::target::{Place, Purpose, SetId};

/// Difference between the end in the kernel and the wanted one that is left alone.
// Ends are rounded to seconds on the wire and to ticks in the kernel; repairing that would rewrite every element at
// each comparison.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Inaccuracy of a timeout through the kernel's ticks and the duration of a commit.
const ROUNDING: Duration = Duration::from_millis(100);

/// Prefixes of each kind that a plan names for the log.
const NAMED: usize = 10;

/// The elements of every set of a layout, by set.
#[derive(Debug, Default)]
pub(crate) struct KernelSets(pub(crate) HashMap<SetId, Vec<Held>>);

impl KernelSets {
    fn of(&self, id: SetId) -> &[Held] {
        self.0.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// A change that is made as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Cell {
        set: SetId,
        /// The first address of the cell.
        cell: IpAddr,
        /// Whether it is added or removed.
        add: bool,
    },
    /// An address or a range in hash sets.
    Element {
        net: IpNet,
        /// Where to remove it.
        remove: Option<Place>,
        /// Where to add it, and when it ends.
        add: Option<(Place, Timestamp)>,
    },
    /// Intervals that overlap each other, or one that overlaps none.
    Intervals {
        /// Removed first.
        remove: Vec<Interval>,
        /// Added afterwards.
        add: Vec<Interval>,
    },
}

/// The changes from one state to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// Decisions that come into force.
    pub(crate) added: usize,
    /// Decisions that end.
    pub(crate) deleted: usize,
    /// Ranges that the operator's set cannot hold, because it lacks the interval flag.
    pub(crate) unenforceable_ranges: usize,
    /// Some of the new ranges that are wider than may be enforced.
    pub(crate) too_wide: Vec<IpNet>,
    /// Some of the new bans that hit something this host depends on, and what that is.
    pub(crate) hits: Vec<(IpNet, String)>,
}

/// How many elements of a source are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    /// Single addresses.
    pub(crate) hosts: u64,
    /// Ranges; in an operator's interval set, intervals.
    pub(crate) ranges: u64,
}

/// What is left out of operators' sets: what is exempt, and what is in them without our mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Excluded {
    sets: HashMap<SetId, Vec<(IpAddr, IpAddr)>>,
    /// When the first element of the operator ends where one of ours is wanted.
    pub(crate) until: Option<Timestamp>,
    /// When the first of the operator's own intervals ends.
    pub(crate) first_end: Option<Timestamp>,
}

impl Excluded {
    fn of(&self, set: SetId) -> &[(IpAddr, IpAddr)] {
        self.sets.get(&set).map_or(&[], Vec::as_slice)
    }
}

/// The outcome of a comparison of everything.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// What differs.
    pub(crate) plan: Plan,
    /// How many elements lie in each cell of each gate, when all is as wanted.
    pub(crate) cells: CellCounts,
    /// How many elements are wanted, by source.
    pub(crate) wanted: Vec<Elements>,
    /// What is left out of operators' sets.
    pub(crate) excluded: Excluded,
    /// Elements in operators' sets without our mark.
    pub(crate) foreign: usize,
}

impl Plan {
    /// Leaves out whatever only lifts bans.
    pub(crate) fn keep_bans(&mut self, layout: &Layout, exempt: &[(IpAddr, IpAddr)]) {
        // Used while not all decisions are known, or while rules in the kernel still use sets that are about to go.
        // Exempt addresses come from the configuration, which is known, so these bans are lifted at once.
        let is_exempt = |first, last| {
            let after = exempt.partition_point(|(from, _)| *from <= first);
            after.checked_sub(1).is_some_and(|at| last <= exempt[at].1)
        };
        let exempts = |interval: &Interval| {
            layout.target(interval.set).purpose == Purpose::Allow || is_exempt(interval.first, interval.last)
        };
        self.changes.retain_mut(|change| match change {
            Change::Cell { add, .. } => *add,
            Change::Element { net, add, .. } => add.is_some() || is_exempt(net.network(), net.broadcast()),
            // Changed as a whole: what the group adds overlaps what it removes.
            Change::Intervals { remove, .. } if remove.iter().any(exempts) => true,
            Change::Intervals { remove, add } => {
                // An interval that stays must not be overlapped, so only the parts beside it are added.
                *add = uncovered(add, remove);
                remove.clear();
                !add.is_empty()
            }
        });
    }

    /// Whether an interval is added to a set whose elements time out.
    pub(crate) fn adds_ending_intervals(&self, layout: &Layout) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Intervals { add, .. } => {
                add.iter().any(|one| !layout.target(one.set).dialect.grace().is_zero())
            }
            Change::Cell { .. } | Change::Element { .. } => false,
        })
    }

    /// Counts a decision that comes into force, and records what to warn of.
    pub(crate) fn note_new(&mut self, layout: &Layout, local: &LocalNetwork, net: IpNet) {
        if layout.is_too_wide(net) {
            // A list may hold thousands; the log names a few.
            if self.too_wide.len() < NAMED {
                self.too_wide.push(net);
            }
            return;
        }
        self.added += 1;
        if self.hits.len() < NAMED {
            self.hits.extend(local.hit_by(net).map(|hit| (net, hit)));
        }
    }

    fn element(&mut self, net: IpNet, remove: Option<Place>, add: Option<(Place, Timestamp)>) {
        if remove.is_some() || add.is_some() {
            self.changes.push(Change::Element { net, remove, add });
        }
    }

    fn intervals(&mut self, gone: Vec<Interval>, come: Vec<Interval>) {
        let groups = overlap_groups(gone, come);
        self.changes.extend(groups.map(|(remove, add)| Change::Intervals { remove, add }));
    }

    /// Puts added cells before all other changes, and removed cells behind.
    fn frame(&mut self, cells: impl Iterator<Item = (SetId, IpAddr, bool)>) {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (set, cell, add) in cells {
            if add { &mut first } else { &mut last }.push(Change::Cell { set, cell, add });
        }
        // A plan may be split over several transactions. In between, an element without its cell would not be looked
        // up, while a cell without elements only costs a look-up.
        if !first.is_empty() {
            first.append(&mut self.changes);
            self.changes = first;
        }
        self.changes.append(&mut last);
    }
}

/// Compares everything the kernel holds with everything that is wanted. `exempt` is sorted and disjoint.
pub(crate) fn reconcile(
    layout: &Layout,
    kernel: &KernelSets,
    wanted: &Snapshot,
    exempt: &[(IpAddr, IpAddr)],
    now: Timestamp,
) -> Comparison {
    let mut out =
        Comparison { wanted: vec![Elements::default(); layout.sources().count()], ..Default::default() };
    exclude_foreign(layout, kernel, wanted, exempt, now, &mut out);
    let mut comes = Vec::new();
    let mut allowed = Vec::new();
    for ip in [IpFamily::V4, IpFamily::V6] {
        match layout.part(ip) {
            FamilyLayout::Managed(managed) => {
                let of_family = exempt.iter().filter(|(first, _)| family_of(*first) == ip);
                allowed.extend(of_family.flat_map(|&(first, last)| {
                    managed.allow.map(|set| Interval { set, first, last, until: None })
                }));
            }
            FamilyLayout::SetOnly(Some(place)) if layout.target(place.set).dialect.interval => {
                let mut laid = flatten(layout, ip, place.set, wanted, out.excluded.of(place.set));
                // Decisions that have ended stay in the snapshot until the cache drops them.
                laid.retain(|interval| interval.until.is_none_or(|until| until > now));
                out.wanted[usize::from(place.source.0)].ranges = laid.len() as u64;
                comes.extend(laid);
            }
            FamilyLayout::SetOnly(_) | FamilyLayout::Disabled => {}
        }
    }
    let held = |of: Purpose| {
        let sets =
            layout.targets().filter(move |(_, target)| target.purpose == of && target.dialect.interval);
        let held = sets.flat_map(|(set, _)| kernel.of(set).iter().map(move |held| (set, *held)));
        held.filter(move |(_, held)| of == Purpose::Allow || layout.is_ours(held))
    };
    compare_intervals(layout, held(Purpose::Allow), allowed, now, &mut out.plan);
    compare_intervals(layout, held(Purpose::Everything), comes, now, &mut out.plan);
    compare_elements(layout, kernel, wanted, now, &mut out);
    compare_cells(layout, kernel, &out.cells, &mut out.plan);
    out.plan.unenforceable_ranges = unenforceable(layout, wanted);
    out
}

/// Computes the difference to a newer snapshot, and brings `cells` up to date.
pub(crate) fn delta<'d>(
    layout: &Layout,
    older: &'d Snapshot,
    newer: &'d Snapshot,
    (excluded, local): (&Excluded, &LocalNetwork),
    cells: &mut CellCounts,
    now: Timestamp,
) -> Plan {
    // Costs in proportion to the difference, except for an operator's interval set, which is laid out anew.
    let mut plan = Plan::default();
    let mut placer = Placer::new(layout);
    let (mut entered, mut left) = (Vec::new(), Vec::new());
    let mut touched = [false; 2];
    for change in newer.diff(older) {
        let net = change.net;
        touched[usize::from(net.addr().is_ipv6())] = true;
        match (change.before, change.after) {
            (None, Some(_)) => plan.note_new(layout, local, net),
            (Some(_), None) if !layout.is_too_wide(net) => plan.deleted += 1,
            _ => {}
        }
        let mut place = |decision: Option<Decision<'d>>| {
            let decision = decision?;
            let place = placer.place(net, &decision)?;
            // What is excluded was never added, so it must not be removed either: the element is the operator's.
            (!covers(excluded.of(place.set), net.addr())).then_some((place, decision.until))
        };
        let (before, after) = (place(change.before), place(change.after));
        // Cells are counted for expired decisions too. Both snapshots may hold one, and the counts must not depend on
        // the time of the call.
        match (before, after) {
            (None, Some(_)) => entered.extend(layout.cells(net)),
            (Some(_), None) => left.extend(layout.cells(net)),
            _ => {}
        }
        // Scenario and id are not in the kernel. A change of the place or of the end is a removal and an addition.
        if before != after {
            plan.element(net, before.map(|(place, _)| place), after.filter(|(_, until)| *until > now));
        }
    }
    for (at, ip) in [IpFamily::V4, IpFamily::V6].into_iter().enumerate() {
        if let FamilyLayout::SetOnly(Some(place)) = layout.part(ip)
            && layout.target(place.set).dialect.interval
            && touched[at]
        {
            let flat = |snapshot| flatten(layout, ip, place.set, snapshot, excluded.of(place.set));
            let (mut gone, mut come) = (flat(older), flat(newer));
            come.retain(|interval| interval.until.is_none_or(|until| until > now));
            // What only changed its scenario or id stays: rewriting it would cost with the whole set.
            drop_common(&mut gone, &mut come);
            plan.intervals(gone, come);
        }
    }
    // Entered before left: a cell that one element leaves and another enters stays, and is in neither list.
    let first: Vec<_> = entered.into_iter().filter(|(set, cell)| cells.enter(*set, *cell)).collect();
    let last: Vec<_> = left.into_iter().filter(|(set, cell)| cells.leave(*set, *cell)).collect();
    let first = first.into_iter().map(|(set, cell)| (set, cell, true));
    plan.frame(first.chain(last.into_iter().map(|(set, cell)| (set, cell, false))));
    plan.unenforceable_ranges = unenforceable(layout, newer);
    plan
}

impl Layout {
    /// Whether an element of an operator's set is ours to change.
    fn is_ours(&self, held: &Held) -> bool {
        held.marked || self.is_exclusive(family_of(held.first))
    }
}

/// Finds the parts that must be left out of operators' sets: what is exempt, and what the operator's own elements
/// cover.
fn exclude_foreign(
    layout: &Layout,
    kernel: &KernelSets,
    wanted: &Snapshot,
    exempt: &[(IpAddr, IpAddr)],
    now: Timestamp,
    out: &mut Comparison,
) {
    for ip in [IpFamily::V4, IpFamily::V6] {
        let FamilyLayout::SetOnly(Some(place)) = layout.part(ip) else { continue };
        let exempt = exempt.iter().filter(|(first, _)| family_of(*first) == ip).copied();
        let foreign = || kernel.of(place.set).iter().filter(|held| !layout.is_ours(held));
        // The kernel refuses an interval over an existing one, and an element of the operator must not become ours,
        // since ours are removed at the stop.
        let mut excluded: Vec<_> = exempt.chain(foreign().map(|held| (held.first, held.last))).collect();
        out.foreign += foreign().count();
        if let Some(left) = foreign().filter_map(|held| held.left).min() {
            if layout.target(place.set).dialect.interval {
                let end = now.saturating_add(left);
                out.excluded.first_end = out.excluded.first_end.into_iter().chain([end]).min();
            }
            let banned = flatten(layout, ip, place.set, wanted, &[]);
            // Only an end where a decision wants an element needs another comparison.
            let stands_in = |held: &&Held| {
                let near = banned.partition_point(|interval| interval.last < held.first);
                banned.get(near).is_some_and(|interval| interval.first <= held.last)
            };
            let soonest = foreign().filter(stands_in).filter_map(|held| held.left).min();
            let soonest = soonest.map(|left| now.saturating_add(left));
            out.excluded.until = out.excluded.until.into_iter().chain(soonest).min();
        }
        merge(&mut excluded);
        out.excluded.sets.insert(place.set, excluded);
    }
}

/// The number of ranges that operators' hash sets cannot hold.
fn unenforceable(layout: &Layout, wanted: &Snapshot) -> usize {
    let hash_only = |ip| matches!(layout.part(ip), FamilyLayout::SetOnly(Some(place)) if !layout.target(place.set).dialect.interval);
    let families = [IpFamily::V4, IpFamily::V6].into_iter().filter(|ip| hash_only(*ip));
    let counts = families.flat_map(|ip| wanted.range_lengths(ip == IpFamily::V6));
    counts.map(|(_, count)| count as usize).sum()
}

/// Compares hash sets of addresses and ranges.
fn compare_elements(
    layout: &Layout,
    kernel: &KernelSets,
    wanted: &Snapshot,
    now: Timestamp,
    out: &mut Comparison,
) {
    /// An element in the kernel: its key (prefix length and first address) and its set.
    type InKernel = (u8, IpAddr, SetId, Held);
    let sets = layout.targets().filter_map(|(set, target)| match target.purpose {
        Purpose::Ranges(length) => Some((set, length)),
        Purpose::Hosts => Some((set, full_length(target.ip))),
        Purpose::Everything if !target.dialect.interval => Some((set, full_length(target.ip))),
        Purpose::Everything
        | Purpose::Gate(_)
        | Purpose::InnerGate(_)
        | Purpose::FrontGate(_)
        | Purpose::Allow => None,
    });
    let is_operators = |set: SetId| layout.target(set).purpose == Purpose::Everything;
    let held = sets.flat_map(|(set, length)| {
        let ours = kernel.of(set).iter().filter(move |held| !is_operators(set) || layout.is_ours(held));
        ours.map(move |held| (length, held.first, set, *held))
    });
    let mut held: Vec<InKernel> = held.collect();
    // A sorted list and a binary search per decision need less memory than a hash table, which matters for a list of a
    // million.
    held.sort_unstable_by_key(|(length, address, set, _)| (*length, *address, *set));
    let plan = &mut out.plan;
    held.dedup_by(|extra, one| {
        let twice = (extra.0, extra.1) == (one.0, one.1);
        // While the kernel enlarges a hash table, a dump may show an element twice. It is still one: removing the
        // second would remove it.
        if twice && extra.2 != one.2 {
            // It is in a second set of ours as well: one is enough, the others are removed.
            plan.element(net_of(extra.0, extra.1), Some(place_in_kernel(layout, extra.2, &extra.3)), None);
        }
        twice
    });
    let mut stale = vec![true; held.len()];
    let mut placer = Placer::new(layout);
    let hosts = wanted.hosts().map(|(address, decision)| (IpNet::from(address), decision));
    for (net, decision) in hosts.chain(wanted.ranges()) {
        let Some(place) = placer.place(net, &decision) else { continue };
        if covers(out.excluded.of(place.set), net.addr()) {
            continue;
        }
        for (set, cell) in layout.cells(net) {
            out.cells.enter(set, cell);
        }
        // Its cell was counted above, as in `delta`; but an element for it would live for a millisecond.
        if decision.until <= now {
            continue;
        }
        let elements = &mut out.wanted[usize::from(place.source.0)];
        *(if net.prefix_len() == net.max_prefix_len() {
            &mut elements.hosts
        } else {
            &mut elements.ranges
        }) += 1;
        let key = (net.prefix_len(), net.network());
        let found = held.binary_search_by_key(&key, |(length, address, ..)| (*length, *address)).ok();
        let before = found.map(|at| {
            stale[at] = false;
            &held[at]
        });
        // An element of an earlier process that is as wanted is adopted, so that a restart changes nothing in the
        // kernel.
        let up_to_date = before.is_some_and(|(.., set, held)| {
            let target = layout.target(place.set);
            let counter = layout.counter(place.source);
            *set == place.set
                && (!target.dialect.counters || held.counter == counter_print(counter.as_bytes()))
                && ends_alike(layout, *set, held.left, Some(decision.until), now)
        });
        if !up_to_date {
            let remove = before.map(|(.., set, held)| place_in_kernel(layout, *set, held));
            out.plan.element(net, remove, Some((place, decision.until)));
        }
    }
    for ((length, address, set, held), _) in held.iter().zip(stale).filter(|(_, stale)| *stale) {
        out.plan.element(net_of(*length, *address), Some(place_in_kernel(layout, *set, held)), None);
    }
}

/// The place of an element in the kernel.
fn place_in_kernel(layout: &Layout, set: SetId, held: &Held) -> Place {
    let by_counter = |id| held.counter != 0 && counter_print(layout.counter(id).as_bytes()) == held.counter;
    let mut sources = layout.sources();
    let source = sources.find(|(id, source)| source.hosts == set || by_counter(*id));
    // A source that is unknown now has no counter in the layout. Any one does: a deletion names the key only.
    Place { set, source: source.map_or(crate::target::SourceId(0), |(id, _)| id) }
}

fn net_of(length: u8, address: IpAddr) -> IpNet {
    IpNet::new(address, length).unwrap_or_else(|_| IpNet::from(address))
}

fn compare_cells(layout: &Layout, kernel: &KernelSets, wanted: &CellCounts, plan: &mut Plan) {
    let gates = layout.targets().filter(|(_, target)| target.purpose.is_gate());
    let held: std::collections::HashSet<(SetId, IpAddr)> =
        gates.flat_map(|(set, _)| kernel.of(set).iter().map(move |held| (set, held.first))).collect();
    let missing = wanted.iter().filter(|cell| !held.contains(cell)).map(|(set, cell)| (set, cell, true));
    let stale = held.iter().filter(|(set, cell)| !wanted.holds(*set, *cell));
    plan.frame(missing.chain(stale.map(|(set, cell)| (*set, *cell, false))));
}

fn compare_intervals(
    layout: &Layout,
    held: impl Iterator<Item = (SetId, Held)>,
    wanted: Vec<Interval>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let mut held: HashMap<(SetId, IpAddr, IpAddr), Option<Duration>> =
        held.map(|(set, held)| ((set, held.first, held.last), held.left)).collect();
    let mut come = wanted;
    come.retain(|interval| {
        let key = (interval.set, interval.first, interval.last);
        let up_to_date =
            held.get(&key).is_some_and(|left| ends_alike(layout, interval.set, *left, interval.until, now));
        if up_to_date {
            held.remove(&key);
        }
        !up_to_date
    });
    // A removal names both bounds; the end does not matter.
    let gone =
        held.into_keys().map(|(set, first, last)| Interval { set, first, last, until: None }).collect();
    plan.intervals(gone, come);
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
        // Without timeouts there is no end to compare: we remove its elements ourselves.
        _ if !layout.target(set).dialect.timeout => true,
        (None, None) => true,
        (Some(left), Some(until)) => {
            let wanted = until.saturating_duration_since(now) + layout.target(set).dialect.grace();
            // An element about to end too early is rewritten for a smaller difference: the next comparison may come
            // after its end.
            let too_soon = left < 2 * TOLERANCE && left + ROUNDING < wanted;
            !too_soon && left.abs_diff(wanted) <= TOLERANCE
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests;
