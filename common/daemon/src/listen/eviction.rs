//! Chooses which connections are closed when a new one finds the connection limit reached. Pure.
//!
//! Connections are counted by client group, an address or an IPv6 /64, and the group with most of them loses its oldest
//! one first. So a client that holds hundreds of connections closes its own, and many honest clients behind one address
//! lose only what has been waiting longer than everything else of that address.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// What shares of connections are counted by: an IPv4 address, an IPv6 /64, or the unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientGroup(Option<IpAddr>);

impl ClientGroup {
    /// The group of a client; `None` is the unix socket.
    pub fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            // One IPv6 subscriber usually has a whole /64.
            IpAddr::V6(six) if !six.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from(u128::from(six) & !u128::from(u64::MAX)))
            }
            other => other,
        }))
    }

    /// The group of a peer.
    pub(super) fn of_peer(peer: SocketAddr) -> Self {
        Self::of(Some(peer.ip()))
    }

    /// The address, without the host part in IPv6.
    pub fn address(self) -> Option<IpAddr> {
        self.0
    }
}

/// Which connections are closed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Waits for its client, which has shown no credentials.
    Stranger,
    /// Waits for its client, which has.
    Idle,
    /// A request is being answered.
    Busy,
}

/// An open connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) number: u64,
    pub(super) group: ClientGroup,
    pub(super) rank: Rank,
    /// Since when the server has been waiting for the client.
    pub(super) since: u64,
    /// Its requests: those of an HTTP/2 connection count like connections.
    pub(super) weight: u32,
}

/// Up to `most` connections to close for new ones, the first one first.
///
/// Those of authenticated clients are only closed where one group holds more than half of everything, and only for
/// clients of other groups.
pub(super) fn choose(candidates: Vec<Candidate>, newcomer: ClientGroup, most: usize) -> Vec<u64> {
    let all: u64 = candidates.iter().map(|one| u64::from(one.weight)).sum();
    let mut groups: HashMap<ClientGroup, (u64, Vec<Candidate>)> = HashMap::new();
    let mut idle: HashMap<ClientGroup, (u64, Vec<Candidate>)> = HashMap::new();
    for one in candidates {
        let total = idle.entry(one.group).or_default();
        total.0 += u64::from(one.weight);
        match one.rank {
            Rank::Stranger => {
                let strangers = groups.entry(one.group).or_default();
                strangers.0 += u64::from(one.weight);
                strangers.1.push(one);
            }
            Rank::Idle => total.1.push(one),
            Rank::Busy => {}
        }
    }
    if groups.is_empty() {
        idle.retain(|group, (weight, _)| *weight * 2 > all && *group != newcomer);
        groups = idle;
    }
    take_oldest_of_largest(groups, most)
}

fn take_oldest_of_largest(groups: HashMap<ClientGroup, (u64, Vec<Candidate>)>, most: usize) -> Vec<u64> {
    let mut heap = BinaryHeap::new();
    let mut members: HashMap<ClientGroup, Vec<Candidate>> = HashMap::new();
    for (group, (weight, mut list)) in groups {
        list.sort_unstable_by_key(|one| Reverse(one.since));
        if let Some(oldest) = list.last() {
            heap.push((weight, Reverse(oldest.since), group));
            members.insert(group, list);
        }
    }
    let mut chosen = Vec::new();
    while chosen.len() < most
        && let Some((weight, _, group)) = heap.pop()
    {
        let Some(list) = members.get_mut(&group) else { continue };
        let Some(oldest) = list.pop() else { continue };
        chosen.push(oldest.number);
        if let Some(next) = list.last() {
            heap.push((weight.saturating_sub(u64::from(oldest.weight)), Reverse(next.since), group));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> ClientGroup {
        ClientGroup::of(Some(text.parse().unwrap()))
    }

    fn one(number: u64, from: &str, rank: Rank, since: u64) -> Candidate {
        Candidate { number, group: group(from), rank, since, weight: 1 }
    }

    #[test]
    fn the_oldest_of_the_largest_group_goes_first() {
        let (greedy, honest, other) = ("192.0.2.1", "198.51.100.1", "203.0.113.1");
        let open = vec![
            one(1, honest, Rank::Stranger, 1),
            one(2, greedy, Rank::Stranger, 5),
            one(3, greedy, Rank::Stranger, 4),
            one(4, greedy, Rank::Stranger, 6),
            one(5, greedy, Rank::Busy, 2),
            one(6, other, Rank::Idle, 1),
        ];
        assert_eq!(choose(open.clone(), group(other), 2), [3, 2]);
        // Equal groups: the oldest of all.
        assert_eq!(choose(open, group(other), 9), [3, 2, 1, 4]);
    }

    #[test]
    fn streams_count_like_connections() {
        let mut many = one(1, "192.0.2.1", Rank::Stranger, 9);
        many.weight = 100;
        let open =
            vec![many, one(2, "198.51.100.1", Rank::Stranger, 1), one(3, "198.51.100.1", Rank::Stranger, 2)];
        assert_eq!(choose(open, group("203.0.113.1"), 1), [1]);
    }

    #[test]
    fn authenticated_clients_lose_what_is_above_half_and_only_to_others() {
        let (fleet, other) = ("192.0.2.1", "198.51.100.1");
        let open = vec![
            one(1, fleet, Rank::Idle, 3),
            one(2, fleet, Rank::Idle, 2),
            one(3, fleet, Rank::Busy, 1),
            one(4, other, Rank::Idle, 1),
        ];
        assert_eq!(choose(open.clone(), group("203.0.113.1"), 1), [2]);
        assert_eq!(choose(open.clone(), group(fleet), 1), [0; 0]);
        assert_eq!(
            choose(open[1..].iter().copied().take(1).chain([open[3]]).collect(), group("203.0.113.1"), 1),
            [0; 0]
        );
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_group() {
        assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:1"));
        assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
        assert_ne!(group("::1"), group("::2"));
        assert_eq!(ClientGroup::of(None).address(), None);
    }
}
