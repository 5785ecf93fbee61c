//! Rate limit for failed logins and for registrations, per address and machine. Pure: the time is an argument.
//!
//! Each address has a token bucket for each machine whose password it fails to give, one for machines that do not exist,
//! and one for registrations. A bucket refills slowly. A failed login takes a token and a successful one does not, so a
//! thousand machines behind one address may all log in after a restart. With an empty bucket attempts of that kind are
//! refused, and others from that address are not: a machine must not be shut out by a neighbour behind the same NAT.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Size and refill rate of a bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) burst: u32,
    /// Time until one token is refilled.
    pub(crate) every: Duration,
}

/// For remote addresses.
pub(crate) const REMOTE: Allowance = Allowance { burst: 60, every: Duration::from_secs(2) };
/// For loopback, where a proxy may forward for many clients.
pub(crate) const LOCAL: Allowance = Allowance { burst: 600, every: Duration::from_millis(200) };

/// For failed logins of all machines of a remote address together.
pub(crate) const ANY_LOGIN: Allowance = Allowance { burst: 600, every: Duration::from_millis(200) };

/// For usage reports, in KiB: 10,000 machines that share a key and an address send 11 in a second, of one or two each.
pub(crate) const USAGE: Allowance = Allowance { burst: 8 * 1024, every: Duration::from_millis(50) };

/// At most this many buckets are kept; the least recently failed are dropped first.
const MAX_BUCKETS: usize = 16_384;

/// Buckets of the addresses that failed recently.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    buckets: HashMap<Key, Bucket>,
    hasher: RandomState,
}

/// An address and a hash of the attempt: names are of any length.
type Key = (IpAddr, u64);

/// What is attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Attempt<'a> {
    /// A login of an existing machine.
    Login(&'a str),
    /// A login that needs hashing, of any machine: bounds the work for an address that tries many names.
    AnyLogin,
    /// A login of a machine that does not exist.
    UnknownMachine,
    /// A registration without a right token.
    Registration,
    /// A KiB of usage reports of this bouncer or machine, from any address. All count: they are stored.
    UsageReport(&'a str),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
    allowance: Allowance,
}

impl Bucket {
    fn filled(mut self, now: Instant) -> Self {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() / self.allowance.every.as_secs_f64();
        self.tokens = (self.tokens + grown).min(f64::from(self.allowance.burst));
        self.at = now;
        self
    }

    fn is_full(&self) -> bool {
        self.tokens >= f64::from(self.allowance.burst)
    }
}

impl Throttle {
    /// Whether this address may try now.
    ///
    /// # Errors
    ///
    /// The time until the next token.
    pub(crate) fn check(&self, address: IpAddr, attempt: Attempt<'_>, now: Instant) -> Result<(), Duration> {
        let Some(bucket) = self.buckets.get(&self.key(address, attempt)).map(|bucket| bucket.filled(now))
        else {
            return Ok(());
        };
        if bucket.tokens >= 1.0 { Ok(()) } else { Err(bucket.allowance.every.mul_f64(1.0 - bucket.tokens)) }
    }

    fn key(&self, address: IpAddr, attempt: Attempt<'_>) -> Key {
        let address = match attempt {
            Attempt::UsageReport(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => prefix(address),
        };
        (address, self.hasher.hash_one(attempt))
    }

    pub(crate) fn take(&mut self, address: IpAddr, attempt: Attempt<'_>, tokens: u32, now: Instant) {
        let key = self.key(address, attempt);
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&key) {
            self.make_room(now);
        }
        let allowance = match attempt {
            Attempt::UsageReport(_) => USAGE,
            Attempt::AnyLogin => ANY_LOGIN,
            _ if key.0.is_loopback() => LOCAL,
            _ => REMOTE,
        };
        let fresh = Bucket { tokens: f64::from(allowance.burst), at: now, allowance };
        let bucket = self.buckets.entry(key).or_insert(fresh);
        *bucket = bucket.filled(now);
        bucket.tokens = (bucket.tokens - f64::from(tokens)).max(0.0);
    }

    /// Drops full buckets, and the older half when none is full.
    fn make_room(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| !bucket.filled(now).is_full());
        if self.buckets.len() >= MAX_BUCKETS {
            let mut ages: Vec<Instant> = self.buckets.values().map(|bucket| bucket.at).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            let mut spare = MAX_BUCKETS / 2;
            self.buckets
                .retain(|_, bucket| bucket.at > median || (bucket.at == median && take_one(&mut spare)));
        }
    }
}

fn take_one(left: &mut usize) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// One IPv6 subscriber usually has a whole /64.
fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from(u128::from(six) & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESS: Attempt<'_> = Attempt::Login("m");

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn failures_empty_the_bucket_and_time_fills_it() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..REMOTE.burst {
            assert!(throttle.check(ip("192.0.2.1"), GUESS, start).is_ok());
            throttle.take(ip("192.0.2.1"), GUESS, 1, start);
        }
        assert_eq!(throttle.check(ip("192.0.2.1"), GUESS, start), Err(REMOTE.every));
        assert!(throttle.check(ip("192.0.2.2"), GUESS, start).is_ok(), "other addresses are not affected");
        for other in [Attempt::Login("n"), Attempt::UnknownMachine, Attempt::Registration] {
            assert!(throttle.check(ip("192.0.2.1"), other, start).is_ok(), "{other:?} is not affected");
        }
        assert_eq!(
            throttle.check(ip("::ffff:192.0.2.1"), GUESS, start),
            Err(REMOTE.every),
            "the same in IPv6's clothes"
        );
        assert!(throttle.check(ip("192.0.2.1"), GUESS, start + REMOTE.every).is_ok());
        throttle.take(ip("192.0.2.1"), GUESS, 1, start + REMOTE.every);
        assert!(throttle.check(ip("192.0.2.1"), GUESS, start + REMOTE.every).is_err());
        assert!(throttle.check(ip("192.0.2.1"), GUESS, start + REMOTE.every * 1000).is_ok());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_and_loopback_is_generous() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..REMOTE.burst {
            throttle.take(ip(&format!("2001:db8::{number:x}")), GUESS, 1, now);
            throttle.take(ip("127.0.0.1"), GUESS, 1, now);
        }
        assert!(throttle.check(ip("2001:db8::ffff"), GUESS, now).is_err());
        assert!(throttle.check(ip("2001:db8:0:1::1"), GUESS, now).is_ok());
        assert!(throttle.check(ip("127.0.0.1"), GUESS, now).is_ok());
    }

    #[test]
    fn usage_reports_cost_their_length_from_any_address() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let report = Attempt::UsageReport("fw");
        throttle.take(ip("192.0.2.1"), report, USAGE.burst - 1, now);
        assert!(throttle.check(ip("192.0.2.1"), report, now).is_ok());
        throttle.take(ip("192.0.2.2"), report, 512, now);
        assert_eq!(throttle.check(ip("192.0.2.3"), report, now), Err(USAGE.every));
        assert!(throttle.check(ip("192.0.2.1"), Attempt::UsageReport("other"), now).is_ok());
        assert!(throttle.check(ip("192.0.2.1"), report, now + USAGE.every).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_the_latest_failures_are_kept() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let hour = u32::try_from(MAX_BUCKETS).unwrap() * 3;
        for number in 0..hour {
            throttle.take(
                IpAddr::from(number.to_be_bytes()),
                GUESS,
                1,
                start + Duration::from_micros(u64::from(number)),
            );
        }
        assert!(throttle.buckets.len() <= MAX_BUCKETS);
        let latest = throttle.key(IpAddr::from((hour - 1).to_be_bytes()), GUESS);
        assert!(throttle.buckets.contains_key(&latest));
        // Failures that all carry the same timestamp do not defeat the bound.
        for number in 0..hour {
            throttle.take(IpAddr::from((number | 0x8000_0000).to_be_bytes()), GUESS, 1, start);
        }
        assert!(throttle.buckets.len() <= MAX_BUCKETS);
    }
}
