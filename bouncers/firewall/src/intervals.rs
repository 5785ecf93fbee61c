//! Prepares intervals of addresses for interval sets: makes them disjoint, and puts them into independent groups. Pure.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::IpAddr;

use palisade_cache::{Snapshot, Timestamp};

use crate::config::IpFamily;
use crate::exempt::merge;
use crate::layout::{Layout, family_of};
use crate::netlink::{following, preceding};
use crate::target::SetId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Interval {
    pub(crate) set: SetId,
    pub(crate) first: IpAddr,
    pub(crate) last: IpAddr,
    /// When it ends; `None`: it stays until it is removed.
    pub(crate) until: Option<Timestamp>,
}

/// Puts removed and added intervals into groups: within a group they overlap, directly or through others; between
/// groups none do.
pub(crate) fn overlap_groups(
    gone: Vec<Interval>,
    come: Vec<Interval>,
) -> impl Iterator<Item = (Vec<Interval>, Vec<Interval>)> {
    // The kernel refuses an interval that overlaps an existing one, so removals must precede additions, but only within
    // a group. Each group can fail, or go into another transaction, by itself.
    let gone = gone.into_iter().map(|interval| (interval, false));
    let mut all: Vec<(Interval, bool)> = gone.chain(come.into_iter().map(|one| (one, true))).collect();
    all.sort_by_key(|(interval, comes)| (interval.first, interval.last, *comes));
    let mut all = all.into_iter().peekable();
    std::iter::from_fn(move || {
        let (mut remove, mut add) = (Vec::new(), Vec::new());
        let (first, comes) = all.next()?;
        let mut reach = first.last;
        if comes { &mut add } else { &mut remove }.push(first);
        // `IpAddr` orders every IPv6 address after every IPv4 address, so families never share a group.
        while let Some((interval, comes)) = all.next_if(|(next, _)| next.first <= reach) {
            reach = reach.max(interval.last);
            if comes { &mut add } else { &mut remove }.push(interval);
        }
        Some((remove, add))
    })
}

/// Removes from both lists what is in both.
pub(crate) fn drop_common(gone: &mut Vec<Interval>, come: &mut Vec<Interval>) {
    if gone.is_empty() || come.is_empty() {
        return;
    }
    let coming: HashSet<Interval> = come.iter().copied().collect();
    let common: HashSet<Interval> = gone.iter().copied().filter(|one| coming.contains(one)).collect();
    if !common.is_empty() {
        gone.retain(|interval| !common.contains(interval));
        come.retain(|interval| !common.contains(interval));
    }
}

/// Lays hosts and ranges of a family into one interval set, without what is `excluded` (sorted and disjoint). Each
/// interval ends with the last decision over it, so the set is exact without another change; neighbours that end
/// together are one.
pub(crate) fn flatten(
    layout: &Layout,
    ip: IpFamily,
    set: SetId,
    snapshot: &Snapshot,
    excluded: &[(IpAddr, IpAddr)],
) -> Vec<Interval> {
    // A pure function of its arguments: the intervals of an older snapshot are computed again when they have to be
    // removed, and must come out the same. So nothing here may depend on the time.
    let hosts = snapshot.hosts().map(|(address, decision)| (address, address, decision.until));
    let ranges = snapshot.ranges().filter(|(net, _)| !layout.is_too_wide(*net));
    let ranges = ranges.map(|(net, decision)| (net.network(), net.broadcast(), decision.until));
    let prefixes = hosts.chain(ranges).filter(|(first, ..)| family_of(*first) == ip).collect();
    let laid = subtract(lay(prefixes), excluded).into_iter();
    laid.map(|(first, last, until)| Interval { set, first, last, until: Some(until) }).collect()
}

type Laid = (IpAddr, IpAddr, Timestamp);

/// Lays prefixes into disjoint intervals with the latest end over each.
fn lay(mut prefixes: Vec<Laid>) -> Vec<Laid> {
    // Prefixes nest or are apart, so one sort and a stack are enough; outer ones come first.
    prefixes.sort_unstable_by_key(|(first, last, _)| (*first, Reverse(*last)));
    let mut out: Vec<Laid> = Vec::with_capacity(prefixes.len());
    // The prefixes around the current address, outermost first, and the latest end of each with those around it.
    let mut around: Vec<(IpAddr, Timestamp)> = Vec::new();
    // The first address that is not laid yet; `None` past the last one there is.
    let mut from = None;
    let close = |out: &mut Vec<Laid>, from: &mut Option<IpAddr>, last: IpAddr, until| {
        if let Some(first) = *from
            && first <= last
        {
            push(out, (first, last, until));
            *from = following(last);
        }
    };
    for (first, last, until) in prefixes {
        while let Some((reach, until)) = around.pop_if(|(reach, _)| *reach < first) {
            close(&mut out, &mut from, reach, until);
        }
        if let (Some((_, until)), Some(before)) = (around.last(), preceding(first)) {
            close(&mut out, &mut from, before, *until);
        }
        // An inner prefix that ends before the one around it does not end the ban of its addresses.
        let latest = around.last().map_or(until, |(_, around)| until.max(*around));
        around.push((last, latest));
        from = Some(first);
    }
    while let Some((reach, until)) = around.pop() {
        close(&mut out, &mut from, reach, until);
    }
    out
}

fn push(out: &mut Vec<Laid>, (first, last, until): Laid) {
    match out.last_mut() {
        // Fewer elements in the kernel; and a range within one that ends at the same time needs none.
        Some(before) if before.2 == until && following(before.1) == Some(first) => before.1 = last,
        _ => out.push((first, last, until)),
    }
}

/// The parts of intervals of one set that none of `others` covers.
pub(crate) fn uncovered(intervals: &[Interval], others: &[Interval]) -> Vec<Interval> {
    let mut covered: Vec<_> = others.iter().map(|other| (other.first, other.last)).collect();
    merge(&mut covered);
    let parts = intervals.iter().flat_map(|interval| {
        let whole = vec![(interval.first, interval.last, interval.until)];
        subtract(whole, &covered).into_iter().map(|(first, last, until)| Interval {
            first,
            last,
            until,
            ..*interval
        })
    });
    parts.collect()
}

/// Removes `excluded` (sorted and disjoint) from sorted intervals.
fn subtract<T: Copy>(
    laid: Vec<(IpAddr, IpAddr, T)>,
    excluded: &[(IpAddr, IpAddr)],
) -> Vec<(IpAddr, IpAddr, T)> {
    if excluded.is_empty() {
        return laid;
    }
    let mut out = Vec::with_capacity(laid.len());
    for (first, last, until) in laid {
        let mut from = Some(first);
        let near = excluded.partition_point(|(_, end)| *end < first);
        for (start, end) in excluded[near..].iter().take_while(|(start, _)| *start <= last) {
            if let (Some(first), Some(before)) = (from, preceding(*start))
                && first <= before
            {
                out.push((first, before, until));
            }
            from = following(*end);
        }
        if let Some(first) = from.filter(|first| *first <= last) {
            out.push((first, last, until));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    fn at(n: i64) -> Timestamp {
        Timestamp::from_millis(n)
    }

    #[test]
    fn a_host_that_outlives_its_range_gets_its_own_interval() {
        let laid = lay(vec![
            (ip(5), ip(5), at(9)),
            (ip(7), ip(7), at(1)),
            (ip(20), ip(20), at(3)),
            (ip(0), ip(9), at(4)),
        ]);
        let expected =
            [(ip(0), ip(4), at(4)), (ip(5), ip(5), at(9)), (ip(6), ip(9), at(4)), (ip(20), ip(20), at(3))];
        assert_eq!(laid, expected);
    }

    #[test]
    fn the_last_address_is_no_edge_case() {
        let last = u32::MAX;
        let laid = lay(vec![(ip(last), ip(last), at(9)), (ip(last - 1), ip(last), at(4))]);
        assert_eq!(laid, [(ip(last - 1), ip(last - 1), at(4)), (ip(last), ip(last), at(9))]);
        assert_eq!(subtract(laid.clone(), &[(ip(last), ip(last))]), laid[..1]);
        assert_eq!(subtract(laid, &[(ip(0), ip(last))]), []);
    }

    proptest! {
        #[test]
        fn laid_out_is_disjoint_ends_with_the_longest_and_leaves_out_what_is_excluded(
            prefixes in proptest::collection::vec((0_u32..64, 0_u32..7, 1_i64..6), 0..20),
            excluded in proptest::collection::btree_map(0_u32..64, 0_u32..6, 0..5),
        ) {
            let prefixes: Vec<Laid> = prefixes.into_iter().map(|(start, bits, until)| {
                let first = start >> bits << bits;
                (ip(first), ip(first + (1 << bits) - 1), at(until))
            }).collect();
            let (mut apart, mut reach) = (Vec::new(), 0);
            for (first, width) in excluded {
                if first >= reach {
                    apart.push((ip(first), ip(first + width)));
                    reach = first + width + 1;
                }
            }
            let mut model = BTreeMap::new();
            for (first, last, until) in &prefixes {
                for n in (0..128).filter(|n| (*first..=*last).contains(&ip(*n))) {
                    let end = model.entry(n).or_insert(*until);
                    *end = (*end).max(*until);
                }
            }
            model.retain(|n, _| !apart.iter().any(|(first, last)| (*first..=*last).contains(&ip(*n))));
            let laid = subtract(lay(prefixes), &apart);
            prop_assert!(laid.iter().all(|(first, last, _)| first <= last));
            prop_assert!(laid.windows(2).all(|pair| pair[0].1 < pair[1].0));
            let mut covered = BTreeMap::new();
            for (first, last, until) in laid {
                for n in (0..128).filter(|n| (first..=last).contains(&ip(*n))) {
                    covered.insert(n, until);
                }
            }
            prop_assert_eq!(covered, model);
        }

        #[test]
        fn groups_are_complete_and_independent(
            gone in proptest::collection::vec((0_u32..60, 0_u32..6), 0..10),
            come in proptest::collection::vec((0_u32..60, 0_u32..6), 0..10),
        ) {
            let interval = |(first, width): &(u32, u32)| Interval {
                set: SetId(0), first: ip(*first), last: ip(first + width), until: None,
            };
            let (gone, come): (Vec<_>, Vec<_>) =
                (gone.iter().map(interval).collect(), come.iter().map(interval).collect());
            let groups: Vec<_> = overlap_groups(gone.clone(), come.clone()).collect();
            prop_assert_eq!(groups.iter().map(|(remove, _)| remove.len()).sum::<usize>(), gone.len());
            prop_assert_eq!(groups.iter().map(|(_, add)| add.len()).sum::<usize>(), come.len());
            let bounds: Vec<_> = groups.iter().map(|(remove, add)| {
                let all = || remove.iter().chain(add);
                (all().map(|s| s.first).min(), all().map(|s| s.last).max())
            }).collect();
            prop_assert!(bounds.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
