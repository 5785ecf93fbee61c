//! Intervals of addresses on their way into interval sets: made disjoint, and tied into independent knots.

use std::collections::HashSet;
use std::net::IpAddr;

use palisade_cache::{Snapshot, Timestamp};

use crate::config::IpFamily;
use crate::layout::{SetId, family_of};
use crate::netlink::{following, preceding};

/// An interval in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stretch {
    /// Its set.
    pub(crate) set: SetId,
    /// First address.
    pub(crate) first: IpAddr,
    /// Last address.
    pub(crate) last: IpAddr,
    /// When it ends; `None` stays until it is taken out.
    pub(crate) until: Option<Timestamp>,
}

/// Ties what goes and what comes into knots: within a knot intervals overlap each other, directly or through
/// others; between knots none do. What goes must leave before what comes, but only within a knot.
pub(crate) fn knots(
    gone: Vec<Stretch>,
    come: Vec<Stretch>,
) -> impl Iterator<Item = (Vec<Stretch>, Vec<Stretch>)> {
    let mut all: Vec<(Stretch, bool)> =
        gone.into_iter().map(|stretch| (stretch, false)).chain(come.into_iter().map(|s| (s, true))).collect();
    all.sort_by_key(|(stretch, comes)| (stretch.first, stretch.last, *comes));
    let mut all = all.into_iter().peekable();
    std::iter::from_fn(move || {
        let (mut remove, mut add) = (Vec::new(), Vec::new());
        let (first, comes) = all.next()?;
        let mut reach = first.last;
        if comes { &mut add } else { &mut remove }.push(first);
        // (Every IPv6 address sorts after every IPv4 address, so families never tie.)
        while let Some((stretch, comes)) = all.next_if(|(next, _)| next.first <= reach) {
            reach = reach.max(stretch.last);
            if comes { &mut add } else { &mut remove }.push(stretch);
        }
        Some((remove, add))
    })
}

/// Takes out of both lists what is in both.
pub(crate) fn drop_common(gone: &mut Vec<Stretch>, come: &mut Vec<Stretch>) {
    if gone.is_empty() || come.is_empty() {
        return;
    }
    let coming: HashSet<Stretch> = come.iter().copied().collect();
    let common: HashSet<Stretch> = gone.iter().copied().filter(|stretch| coming.contains(stretch)).collect();
    if !common.is_empty() {
        gone.retain(|stretch| !common.contains(stretch));
        come.retain(|stretch| !common.contains(stretch));
    }
}

/// Hosts and ranges of a family laid into one interval set. A host inside a range gets a stretch of its own only
/// when it outlives the range there; neighbours that end together become one.
///
/// Depends on nothing but the snapshot, so that what was put in can be told again when it has to go.
pub(crate) fn flatten(ip: IpFamily, set: SetId, snapshot: &Snapshot) -> Vec<Stretch> {
    let hosts = snapshot.hosts().into_iter().map(|(address, decision)| (address, decision.until));
    let spans = snapshot.spans().into_iter().map(|span| (span.first, span.last, span.decision.until));
    let hosts = hosts.filter(|(address, _)| family_of(*address) == ip).collect();
    let spans = spans.filter(|(first, ..)| family_of(*first) == ip).collect();
    let laid = lay(hosts, spans).into_iter();
    laid.map(|(first, last, until)| Stretch { set, first, last, until: Some(until) }).collect()
}

type Laid = (IpAddr, IpAddr, Timestamp);

fn lay(mut hosts: Vec<(IpAddr, Timestamp)>, mut spans: Vec<Laid>) -> Vec<Laid> {
    hosts.sort_unstable();
    spans.sort_unstable();
    let mut out: Vec<Laid> = Vec::with_capacity(hosts.len() + spans.len());
    let mut hosts = hosts.into_iter().peekable();
    for (first, last, until) in spans {
        while let Some((host, end)) = hosts.next_if(|(host, _)| *host < first) {
            push(&mut out, (host, host, end));
        }
        let mut from = Some(first);
        while let Some((host, end)) = hosts.next_if(|(host, _)| *host <= last) {
            if end > until {
                if let (Some(from), Some(before)) = (from, preceding(host))
                    && from <= before
                {
                    push(&mut out, (from, before, until));
                }
                push(&mut out, (host, host, end));
                from = following(host);
            }
        }
        if let Some(from) = from
            && from <= last
        {
            push(&mut out, (from, last, until));
        }
    }
    for (host, end) in hosts {
        push(&mut out, (host, host, end));
    }
    out
}

fn push(out: &mut Vec<Laid>, (first, last, until): Laid) {
    match out.last_mut() {
        Some(before) if before.2 == until && following(before.1) == Some(first) => before.1 = last,
        _ => out.push((first, last, until)),
    }
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
    fn a_host_that_outlives_its_range_gets_its_own_stretch() {
        let laid = lay(vec![(ip(5), at(9)), (ip(7), at(1)), (ip(20), at(3))], vec![(ip(0), ip(9), at(4))]);
        let expected =
            [(ip(0), ip(4), at(4)), (ip(5), ip(5), at(9)), (ip(6), ip(9), at(4)), (ip(20), ip(20), at(3))];
        assert_eq!(laid, expected);
    }

    #[test]
    fn the_last_address_is_no_edge_case() {
        let laid = lay(vec![(ip(u32::MAX), at(9))], vec![(ip(u32::MAX - 1), ip(u32::MAX), at(4))]);
        assert_eq!(laid, [(ip(u32::MAX - 1), ip(u32::MAX - 1), at(4)), (ip(u32::MAX), ip(u32::MAX), at(9))]);
    }

    proptest! {
        #[test]
        fn laid_out_is_disjoint_and_ends_with_the_longest(
            hosts in proptest::collection::btree_map(0_u32..40, 1_i64..6, 0..12),
            cuts in proptest::collection::btree_map(0_u32..40, (0_u32..8, 1_i64..6), 0..8),
        ) {
            // Disjoint spans, as the cover gives them.
            let (mut spans, mut reach) = (Vec::new(), 0);
            for (first, (width, until)) in cuts {
                if first >= reach {
                    spans.push((ip(first), ip(first + width), at(until)));
                    reach = first + width + 1;
                }
            }
            let mut model = BTreeMap::new();
            for (first, last, until) in &spans {
                for n in 0..64 {
                    if (*first..=*last).contains(&ip(n)) {
                        model.insert(n, *until);
                    }
                }
            }
            for (host, until) in &hosts {
                let end = model.entry(*host).or_insert(at(*until));
                *end = (*end).max(at(*until));
            }
            let laid = lay(hosts.iter().map(|(host, until)| (ip(*host), at(*until))).collect(), spans);
            prop_assert!(laid.iter().all(|(first, last, _)| first <= last));
            prop_assert!(laid.windows(2).all(|pair| pair[0].1 < pair[1].0));
            let mut covered = BTreeMap::new();
            for (first, last, until) in laid {
                for n in (0..64).filter(|n| (first..=last).contains(&ip(*n))) {
                    covered.insert(n, until);
                }
            }
            prop_assert_eq!(covered, model);
        }

        #[test]
        fn knots_are_complete_and_independent(
            gone in proptest::collection::vec((0_u32..60, 0_u32..6), 0..10),
            come in proptest::collection::vec((0_u32..60, 0_u32..6), 0..10),
        ) {
            let stretch = |(first, width): &(u32, u32)| Stretch {
                set: SetId(0), first: ip(*first), last: ip(first + width), until: None,
            };
            let (gone, come): (Vec<_>, Vec<_>) =
                (gone.iter().map(stretch).collect(), come.iter().map(stretch).collect());
            let tied: Vec<_> = knots(gone.clone(), come.clone()).collect();
            prop_assert_eq!(tied.iter().map(|(remove, _)| remove.len()).sum::<usize>(), gone.len());
            prop_assert_eq!(tied.iter().map(|(_, add)| add.len()).sum::<usize>(), come.len());
            let bounds: Vec<_> = tied.iter().map(|(remove, add)| {
                let all = || remove.iter().chain(add);
                (all().map(|s| s.first).min(), all().map(|s| s.last).max())
            }).collect();
            prop_assert!(bounds.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
