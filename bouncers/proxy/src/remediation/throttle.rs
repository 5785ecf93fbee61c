//! Limits the rate of throttled clients.
//!
//! A client is an IPv4 address or an IPv6 /64. Each has a limiter of its own for each limit; how many there are is
//! bounded, and the ones used least go first, which gives their clients a new burst.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, QuantaClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use quick_cache::sync::Cache;

use crate::config::ThrottleConfig;

/// Clients whose rate is remembered, at most: about 20 MB. A client that is forgotten may send a burst again.
const MAX_CLIENTS: usize = 100_000;
/// The longest `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

type Limiter = RateLimiter<NotKeyed, InMemoryState, QuantaClock>;

/// The limiters of all throttled clients.
pub struct Throttle {
    limiters: Cache<Key, Arc<Limiter>>,
    clock: QuantaClock,
}

/// Whether a request is within the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttled {
    /// It is.
    Within,
    /// It is not; 429.
    Exceeded {
        /// Seconds for `Retry-After`, at least 1.
        retry_after: u64,
    },
}

/// A client under a limit. A route with another limit has other limiters; routes with the same share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    requests: u32,
    period: Duration,
    burst: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::with_room_for(MAX_CLIENTS)
    }
}

impl Throttle {
    fn with_room_for(clients: usize) -> Self {
        Self { limiters: Cache::new(clients), clock: QuantaClock::default() }
    }

    /// Counts a request of a throttled client.
    pub fn check(&self, limit: &ThrottleConfig, client: IpAddr) -> Throttled {
        let ThrottleConfig { requests, period, burst } = *limit;
        let key = Key { client: network_of(client), requests, period, burst };
        // Two requests at once may both make one; that the later one replaces the other costs one request of the burst.
        let limiter = self.limiters.get(&key).unwrap_or_else(|| {
            let limiter = Arc::new(RateLimiter::direct_with_clock(quota(limit), self.clock.clone()));
            self.limiters.insert(key, Arc::clone(&limiter));
            limiter
        });
        match limiter.check() {
            Ok(()) => Throttled::Within,
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now()).min(MAX_RETRY_AFTER);
                // Rounded up: a client that comes back at the second that it was given must not be too early.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Throttled::Exceeded { retry_after: seconds.max(1) }
            }
        }
    }
}

/// The address, or the /64 that it is in: a host has as many addresses in it as it likes.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

fn quota(limit: &ThrottleConfig) -> Quota {
    let one = NonZeroU32::MIN;
    let each = limit.period / limit.requests.max(1);
    // A period of zero would be no limit, which the checked configuration does not have.
    let quota = Quota::with_period(each).unwrap_or(Quota::per_second(one));
    quota.allow_burst(NonZeroU32::new(limit.burst).unwrap_or(one))
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("clients", &self.limiters.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, period: u64, burst: u32) -> ThrottleConfig {
        ThrottleConfig { requests, period: Duration::from_secs(period), burst }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_and_the_rest_is_told_when_to_come_back() {
        let throttle = Throttle::default();
        let limit = limit(1, 60, 3);
        for _ in 0..3 {
            assert_eq!(throttle.check(&limit, ip("192.0.2.7")), Throttled::Within);
        }
        let Throttled::Exceeded { retry_after } = throttle.check(&limit, ip("192.0.2.7")) else {
            panic!("a fourth request passes")
        };
        assert!((58..=60).contains(&retry_after), "{retry_after}");
        assert_eq!(throttle.check(&limit, ip("192.0.2.8")), Throttled::Within, "another client");
        let mapped = throttle.check(&limit, ip("::ffff:192.0.2.7"));
        assert_ne!(mapped, Throttled::Within, "the same client in another notation");
    }

    #[test]
    fn the_addresses_of_a_64_share_a_limit() {
        let throttle = Throttle::default();
        let limit = limit(1, 60, 1);
        assert_eq!(throttle.check(&limit, ip("2001:db8::1")), Throttled::Within);
        assert_ne!(throttle.check(&limit, ip("2001:db8::ffff:2")), Throttled::Within);
        assert_eq!(throttle.check(&limit, ip("2001:db8:0:1::1")), Throttled::Within);
    }

    #[test]
    fn retry_after_is_capped() {
        let throttle = Throttle::default();
        let limit = limit(1, 7 * 24 * 3600, 1);
        throttle.check(&limit, ip("192.0.2.7"));
        assert_eq!(throttle.check(&limit, ip("192.0.2.7")), Throttled::Exceeded { retry_after: 3600 });
    }

    #[test]
    fn ever_new_clients_do_not_fill_the_memory() {
        let throttle = Throttle::with_room_for(1000);
        let limit = limit(1, 60, 1);
        for number in 0..20_000u128 {
            let client = Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64);
            assert_eq!(throttle.check(&limit, client.into()), Throttled::Within);
        }
        assert!(throttle.limiters.len() <= 1100, "{}", throttle.limiters.len());
    }

    #[test]
    fn routes_with_other_limits_do_not_share_them() {
        let throttle = Throttle::default();
        assert_eq!(throttle.check(&limit(1, 60, 1), ip("192.0.2.7")), Throttled::Within);
        assert_eq!(throttle.check(&limit(1, 60, 2), ip("192.0.2.7")), Throttled::Within);
        assert_ne!(throttle.check(&limit(1, 60, 1), ip("192.0.2.7")), Throttled::Within);
    }
}
