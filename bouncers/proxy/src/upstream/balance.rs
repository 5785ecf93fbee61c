//! Chooses an upstream of a pool. Pure, except for its turn counters.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::config::Balance;

/// What a choice depends on.
pub(crate) trait Candidates {
    /// Whether the upstream may be chosen.
    fn is_eligible(&self, index: usize) -> bool;
    /// Requests in flight.
    fn in_flight(&self, index: usize) -> usize;
}

/// The weight of an upstream, and what identifies it over restarts and reloads.
#[derive(Debug, Clone, Copy)]
struct Share {
    weight: u16,
    seed: u64,
}

/// The method of a pool and its state.
#[derive(Debug)]
pub(crate) struct Balancer {
    balance: Balance,
    shares: Vec<Share>,
    /// Of smooth weighted round robin: the one with the largest value is next.
    turns: Mutex<Vec<i64>>,
    /// Where least connections begins, so that equals take turns.
    offset: AtomicUsize,
}

impl Balancer {
    /// The upstreams by name and weight.
    pub(crate) fn new<'a>(balance: Balance, servers: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let shares: Vec<_> = servers
            .map(|(name, weight)| Share { weight: weight.max(1), seed: hash(name.as_bytes()) })
            .collect();
        let turns = Mutex::new(vec![0; shares.len()]);
        Self { balance, shares, turns, offset: AtomicUsize::new(0) }
    }

    /// An eligible upstream, if there is one.
    pub(crate) fn choose(&self, client: Option<IpAddr>, candidates: &impl Candidates) -> Option<usize> {
        if self.shares.len() == 1 {
            return candidates.is_eligible(0).then_some(0);
        }
        match self.balance {
            Balance::RoundRobin => self.next_turn(candidates),
            Balance::LeastConnections => self.least_loaded(candidates),
            Balance::ClientAddress => self.rendezvous(client, candidates),
        }
    }

    /// Smooth weighted round robin, as nginx does it: heavy ones are spread over the round.
    fn next_turn(&self, candidates: &impl Candidates) -> Option<usize> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut total, mut best) = (0, None);
        for (index, share) in
            self.shares.iter().enumerate().filter(|&(index, _)| candidates.is_eligible(index))
        {
            turns[index] += i64::from(share.weight);
            total += i64::from(share.weight);
            if best.is_none_or(|best: usize| turns[index] > turns[best]) {
                best = Some(index);
            }
        }
        if let Some(best) = best {
            turns[best] -= total;
        }
        best
    }

    fn least_loaded(&self, candidates: &impl Candidates) -> Option<usize> {
        let count = self.shares.len();
        let offset = self.offset.fetch_add(1, Ordering::Relaxed);
        let load = |index: usize| candidates.in_flight(index) as u64 + 1;
        let weight = |index: usize| u64::from(self.shares[index].weight);
        let mut best: Option<usize> = None;
        for index in (0..count).map(|step| (offset.wrapping_add(step)) % count) {
            if candidates.is_eligible(index)
                && best.is_none_or(|best| load(index) * weight(best) < load(best) * weight(index))
            {
                best = Some(index);
            }
        }
        best
    }

    /// Weighted rendezvous hashing: when an upstream goes down, only its clients move.
    fn rendezvous(&self, client: Option<IpAddr>, candidates: &impl Candidates) -> Option<usize> {
        let client = match client {
            Some(IpAddr::V4(address)) => hash(&address.octets()),
            Some(IpAddr::V6(address)) => hash(&address.octets()),
            None => 0,
        };
        let score = |share: &Share| {
            // Evenly distributed in (0, 1).
            let random = ((mix(client ^ share.seed) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            f64::from(share.weight) / -random.ln()
        };
        let eligible = self.shares.iter().enumerate().filter(|&(index, _)| candidates.is_eligible(index));
        eligible.max_by(|(_, a), (_, b)| score(a).total_cmp(&score(b))).map(|(index, _)| index)
    }
}

/// FNV-1a and a finalizer: fixed over versions and platforms, so that all proxies of a site choose alike.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// The finalizer of SplitMix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests in flight; `None` for an upstream that is down.
    struct Servers(Vec<Option<usize>>);

    impl Candidates for Servers {
        fn is_eligible(&self, index: usize) -> bool {
            self.0[index].is_some()
        }

        fn in_flight(&self, index: usize) -> usize {
            self.0[index].unwrap()
        }
    }

    fn balancer(balance: Balance, weights: &[u16]) -> Balancer {
        let names: Vec<_> = (0..weights.len()).map(|index| format!("http://10.0.0.{index}")).collect();
        Balancer::new(balance, names.iter().map(String::as_str).zip(weights.iter().copied()))
    }

    #[test]
    fn round_robin_spreads_heavy_upstreams_over_the_round() {
        let balancer = balancer(Balance::RoundRobin, &[5, 1, 1]);
        let mut servers = Servers(vec![Some(0); 3]);
        let round = || -> Vec<_> { (0..7).map(|_| balancer.choose(None, &servers).unwrap()).collect() };
        assert_eq!((round(), round()), (vec![0, 0, 1, 0, 2, 0, 0], vec![0, 0, 1, 0, 2, 0, 0]));
        servers.0[0] = None;
        let both: Vec<_> = (0..4).map(|_| balancer.choose(None, &servers).unwrap()).collect();
        assert_eq!(both.iter().filter(|&&index| index == 1).count(), 2);
        assert_eq!(balancer.choose(None, &Servers(vec![None; 3])), None);
    }

    #[test]
    fn least_connections_counts_by_weight_and_lets_equals_take_turns() {
        let balancer = balancer(Balance::LeastConnections, &[2, 1, 1]);
        assert_eq!(balancer.choose(None, &Servers(vec![Some(6), Some(3), Some(2)])), Some(2));
        assert_eq!(balancer.choose(None, &Servers(vec![Some(4), Some(3), Some(3)])), Some(0));
        let equal = Servers(vec![None, Some(1), Some(1)]);
        let chosen: Vec<_> = (0..6).map(|_| balancer.choose(None, &equal).unwrap()).collect();
        assert!(chosen.contains(&1) && chosen.contains(&2));
    }

    #[test]
    fn a_client_stays_at_its_upstream_and_moves_only_when_that_is_down() {
        let balancer = balancer(Balance::ClientAddress, &[1, 1, 2]);
        let up = Servers(vec![Some(0); 3]);
        let down = Servers(vec![None, Some(0), Some(0)]);
        let mut counts = [0u32; 3];
        for client in 0..4000u32 {
            let client = Some(IpAddr::from(client.wrapping_mul(0x9e37_79b9).to_be_bytes()));
            let chosen = balancer.choose(client, &up).unwrap();
            counts[chosen] += 1;
            let then = balancer.choose(client, &down).unwrap();
            assert!(then == chosen || chosen == 0);
        }
        for (count, expected) in counts.into_iter().zip([1000, 1000, 2000]) {
            assert!(count.abs_diff(expected) < 150, "{counts:?}");
        }
    }
}
