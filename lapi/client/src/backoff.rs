//! Retry delays. Computes delays only; nothing here sleeps.

use std::time::Duration;

use fastrand::Rng;

/// While failures have lasted for less than this, in waited time, delays are at most [`EARLY_LONGEST`]: most failures
/// are restarts, or keys being corrected.
pub const EARLY: Duration = Duration::from_secs(300);
/// The longest delay in that first period, unless the LAPI asks for more.
pub const EARLY_LONGEST: Duration = Duration::from_secs(10);

/// How delays grow from failure to failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The first delay.
    pub first: Duration,
    /// The longest delay, unless the error itself asks for more.
    pub longest: Duration,
    /// The growth factor from one delay to the next.
    pub factor: f64,
    /// The random part of a delay, from 0 to 1, so that many clients do not retry in step.
    pub jitter: f64,
}

impl RetryPolicy {
    /// For a client that otherwise sends a request every `interval`. The first retry is after 200 to 400 ms; delays
    /// then grow by half up to the interval (at least half a second, at most five minutes), each up to doubled at
    /// random. In the first minutes delays are at most 10 s. A thousand clients that lost their LAPI at the same
    /// instant thus come back spread out, and all within about the time it was unavailable.
    pub fn for_interval(interval: Duration) -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: interval.clamp(Duration::from_millis(500), Duration::from_secs(300)),
            factor: 1.5,
            jitter: 1.0,
        }
    }
}

/// Counts consecutive failures and computes the next delay.
///
/// ```
/// use std::time::Duration;
/// use palisade_client::{Backoff, RetryPolicy};
///
/// let mut backoff = Backoff::with_seed(RetryPolicy::for_interval(Duration::from_secs(10)), 1);
/// let first = backoff.next(Duration::ZERO);
/// assert!(first >= Duration::from_millis(200) && first <= Duration::from_millis(400));
/// assert!(backoff.next(Duration::ZERO) >= Duration::from_millis(300));
/// // `Retry-After` is honoured.
/// assert!(backoff.next(Duration::from_secs(60)) >= Duration::from_secs(60));
/// backoff.reset();
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
    /// Total delay since the first failure.
    // Counted from delays and not from a clock, so that nothing here reads one.
    waited: Duration,
    chance: Rng,
}

impl Backoff {
    /// Without failures.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0, waited: Duration::ZERO, chance: Rng::new() }
    }

    /// The same with a fixed seed.
    pub fn with_seed(policy: RetryPolicy, seed: u64) -> Self {
        Self { policy, failures: 0, waited: Duration::ZERO, chance: Rng::with_seed(seed) }
    }

    /// The number of consecutive failures.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure and returns the delay, at least `shortest` (see
    /// [`PullError::shortest_retry`](crate::PullError::shortest_retry)).
    pub fn next(&mut self, shortest: Duration) -> Duration {
        self.next_for(shortest, Duration::ZERO)
    }

    /// The same for failures that frequent retries do not resolve: after [`EARLY`], delays are also at least `settled`
    /// (see [`PullError::settled_retry`](crate::PullError::settled_retry)).
    pub fn next_for(&mut self, shortest: Duration, settled: Duration) -> Duration {
        let jitter = self.policy.jitter.clamp(0.0, 1.0);
        let early = self.waited < EARLY;
        // Leaves room for the random part.
        let early_longest = EARLY_LONGEST.as_secs_f64() / (1.0 + jitter);
        let longest = self.policy.longest.as_secs_f64();
        let longest = if early { longest.min(early_longest) } else { longest.max(settled.as_secs_f64()) };
        // At the default factor 1.5^64 exceeds every limit, so higher exponents change nothing.
        let exponent = i32::try_from(self.failures.min(64)).unwrap_or(64);
        self.failures = self.failures.saturating_add(1);
        let grown = self.policy.first.as_secs_f64() * self.policy.factor.max(1.0).powi(exponent);
        let least = if early { shortest } else { shortest.max(settled) };
        let base = grown.min(longest).max(least.as_secs_f64());
        // The random part only lengthens a delay: `shortest` is what the LAPI asked for. It is at least a second wide,
        // because all clients may have been given the same time.
        let width = base.min(longest).max(shortest.as_secs_f64().min(1.0));
        let wait = base + width * jitter * self.chance.f64();
        // Infinite or too large only with an extreme policy.
        let wait = Duration::try_from_secs_f64(wait).unwrap_or(self.policy.longest).max(shortest);
        self.waited = self.waited.saturating_add(wait);
        wait
    }

    /// Resets the failures after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.waited = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_interval_and_start_again_after_a_success() {
        let interval = Duration::from_secs(10);
        let mut backoff = Backoff::with_seed(RetryPolicy::for_interval(interval), 7);
        let (mut expected, mut waited) = (0.2, 0.0);
        for _ in 0..200 {
            let wait = backoff.next(Duration::ZERO).as_secs_f64();
            // Half as long in the first minutes.
            let longest = if waited < EARLY.as_secs_f64() { 5.0 } else { 10.0 };
            let expected_now = f64::min(expected, longest);
            assert!(wait >= expected_now && wait <= expected_now * 2.0 + 1e-9, "{wait} for {expected_now}");
            expected *= 1.5;
            waited += wait;
        }
        assert_eq!(backoff.failures(), 200);
        backoff.reset();
        assert!(backoff.next(Duration::ZERO) <= Duration::from_millis(400));
    }

    #[test]
    fn an_error_may_ask_for_more_than_the_policy() {
        let mut backoff = Backoff::new(RetryPolicy::for_interval(Duration::from_millis(10)));
        for _ in 0..20 {
            let delay = backoff.next(Duration::from_secs(60)).as_secs_f64();
            assert!((60.0..=61.0).contains(&delay), "{delay}");
            assert!(backoff.next(Duration::ZERO) <= Duration::from_secs(1));
        }
    }

    /// Whatever the interval and the trouble.
    #[test]
    fn tries_are_close_together_in_the_first_minutes_of_trouble() {
        for (interval, shortest, settled) in [(10, 0, 0), (10, 2, 60), (1, 2, 60), (600, 0, 0), (600, 5, 60)]
        {
            for seed in 0..50 {
                let policy = RetryPolicy::for_interval(Duration::from_secs(interval));
                let mut backoff = Backoff::with_seed(policy, seed);
                let mut next =
                    || backoff.next_for(Duration::from_secs(shortest), Duration::from_secs(settled));
                let (mut waited, mut tries) = (Duration::ZERO, 0);
                while waited < EARLY {
                    let wait = next();
                    assert!(wait <= EARLY_LONGEST, "{wait:?} after {waited:?}");
                    (waited, tries) = (waited + wait, tries + 1);
                    assert!(waited > Duration::from_secs(30) || tries > 2 || wait < Duration::from_secs(10));
                }
                let later = next();
                assert!(later >= Duration::from_secs(settled), "{later:?}");
            }
        }
        let mut backoff = Backoff::with_seed(RetryPolicy::for_interval(Duration::from_secs(10)), 1);
        let three: Duration = (0..3).map(|_| backoff.next_for(Duration::from_secs(2), Duration::ZERO)).sum();
        assert!(three <= Duration::from_secs(12), "a key that is added again is tried soon: {three:?}");
        assert!(backoff.next(Duration::from_secs(17)) >= Duration::from_secs(17), "Retry-After");
    }

    #[test]
    fn a_senseless_policy_does_not_panic() {
        let policy = RetryPolicy {
            first: Duration::MAX,
            longest: Duration::MAX,
            factor: f64::NAN,
            jitter: f64::INFINITY,
        };
        let mut backoff = Backoff::new(policy);
        for _ in 0..100 {
            backoff.next_for(Duration::MAX, Duration::MAX);
        }
    }

    #[test]
    fn a_fleet_does_not_ask_in_step() {
        let wait = |seed| {
            Backoff::with_seed(RetryPolicy::for_interval(Duration::from_secs(10)), seed).next(Duration::ZERO)
        };
        let waits: std::collections::HashSet<Duration> = (0..50).map(wait).collect();
        assert!(waits.len() > 40);
    }

    /// A restarting LAPI sends all clients away with the same `Retry-After`: no tenth of a second after it may bring
    /// back more than twice its share.
    #[test]
    fn many_clients_with_the_same_retry_after_are_spread() {
        let mut tenths = [0; 10];
        for seed in 0..1000 {
            let policy = RetryPolicy::for_interval(Duration::from_secs(10));
            let wait = Backoff::with_seed(policy, seed).next(Duration::from_secs(1)).as_secs_f64();
            assert!((1.0..=2.0).contains(&wait), "{wait}");
            tenths[(((wait - 1.0) * 10.0) as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| *count < 200), "{tenths:?}");
    }
}
