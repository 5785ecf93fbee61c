//! Waits for conditions, never for a time.

use std::time::{Duration, Instant};

use crate::outcome::{Failure, Outcome};

/// The deadline for a condition: long enough for a loaded two-core machine, since a passing test never waits for it.
/// `PALISADE_PATIENCE` (a factor, such as `3`) extends it.
pub fn default_timeout() -> Duration {
    let factor =
        std::env::var("PALISADE_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0_f64);
    Duration::from_secs(40).mul_f64(factor.clamp(0.1, 100.0))
}

/// A condition that can be polled.
pub trait Holds {
    /// `Ok(true)` if it holds; an error is kept as evidence and polling continues.
    ///
    /// # Errors
    /// Why the condition could not be evaluated this time.
    fn holds(self) -> Outcome<bool>;
}

impl Holds for bool {
    fn holds(self) -> Outcome<bool> {
        Ok(self)
    }
}

impl Holds for Outcome<bool> {
    fn holds(self) -> Self {
        self
    }
}

/// Polls until `condition` holds and returns how long that took.
///
/// # Errors
/// When it does not hold within [`default_timeout`].
pub fn eventually<H: Holds>(what: &str, condition: impl FnMut() -> H) -> Outcome<Duration> {
    eventually_within(default_timeout(), what, condition)
}

/// Polls until `condition` holds, at most for `deadline`, and returns how long that took.
///
/// # Errors
/// When it does not hold in time; the text names `what`, the deadline and the last error.
pub fn eventually_within<H: Holds>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> H,
) -> Outcome<Duration> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let answer = condition().holds();
        let waited = start.elapsed();
        match answer {
            Ok(true) => return Ok(waited),
            _ if waited < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(false) => return Err(Failure::new(format!("waited {waited:.1?} in vain: {what}"))),
            Err(why) => return Err(Failure::new(format!("waited {waited:.1?} in vain: {what}: {why}"))),
        }
    }
}

/// Checks that `condition` keeps holding for the whole of `span`; for guarantees that something does *not* happen,
/// where there is no event to wait for.
///
/// # Errors
/// As soon as it does not hold.
pub fn throughout<H: Holds>(span: Duration, what: &str, mut condition: impl FnMut() -> H) -> Outcome {
    let start = Instant::now();
    while start.elapsed() < span {
        if !condition().holds()? {
            return Err(Failure::new(format!("after {:.1?} it no longer held: {what}", start.elapsed())));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Sleeps between two actions of a longer test; never to wait for a condition.
pub fn pace(span: Duration) {
    std::thread::sleep(span);
}
