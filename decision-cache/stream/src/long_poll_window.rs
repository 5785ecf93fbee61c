//! How long requests ask to be parked, and when to send the next one. Pure.

use std::time::Duration;

use palisade_cache::Timestamp;

/// A request that fails sooner did not fail because it was parked.
const MIN_INTERRUPTED: Duration = Duration::from_secs(1);
/// Shorter waits are not worth a request: the LAPI is polled at the interval instead.
const MIN_WAIT: Duration = Duration::from_secs(2);
/// When longer waits are tried again after requests were interrupted on the way.
const RETRY_LONGER_AFTER: Duration = Duration::from_secs(600);
/// A long poll that returns empty sooner was not parked.
const MIN_PARKED: Duration = Duration::from_millis(200);
/// The delay after such a response; up to half of it is added at random.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// The longest wait that works between this client and the LAPI.
#[derive(Debug)]
pub(crate) struct LongPollWindow {
    /// The configured wait; zero disables long polling.
    configured: Duration,
    /// The wait that has worked so far.
    allowed: Duration,
    /// The same before it was last shortened.
    before: Duration,
    shortened: Option<Timestamp>,
    /// What the LAPI offers.
    granted: Option<Duration>,
}

impl LongPollWindow {
    pub(crate) fn new(configured: Duration) -> Self {
        Self { configured, allowed: configured, before: configured, shortened: None, granted: None }
    }

    /// How long to ask to be parked, in whole seconds; zero for not at all.
    pub(crate) fn next_wait(&mut self, now: Timestamp) -> Duration {
        if self.shortened.is_some_and(|at| now.saturating_duration_since(at) >= RETRY_LONGER_AFTER) {
            // The cause may have been a proxy that has been reconfigured. If not, the window shrinks again within a
            // few requests.
            *self = Self { granted: self.granted, ..Self::new(self.configured) };
        }
        if !self.is_enabled() {
            return Duration::ZERO;
        }
        Duration::from_secs(self.granted.unwrap_or(self.allowed).min(self.allowed).as_secs())
    }

    /// After a response to a request with `wait` that took `took`: the delay before the next request.
    pub(crate) fn on_response(
        &mut self,
        wait: Duration,
        took: Duration,
        empty: bool,
        granted: Option<Duration>,
        interval: Duration,
        spread: f64,
    ) -> Duration {
        self.granted = granted;
        if !self.is_enabled() {
            interval
        } else if granted.is_none() && !wait.is_zero() {
            // The LAPI was asked to park the request and did not offer to.
            interval
        } else if !wait.is_zero() && empty && took < MIN_PARKED {
            // The LAPI or a proxy answered at once instead of parking. Without a delay this would be a busy loop; the
            // random part keeps many clients from returning together.
            QUIET_PERIOD + QUIET_PERIOD.mul_f64(spread.clamp(0.0, 1.0) / 2.0)
        } else {
            Duration::ZERO
        }
    }

    /// A parked request failed after this time: the next one asks for half the time, or for well below that.
    pub(crate) fn interrupted(&mut self, now: Timestamp, after: Duration) {
        if after >= MIN_INTERRUPTED {
            // Below the time after which it was interrupted, so that one failure is usually enough to find a proxy's
            // timeout.
            let shorter = (self.allowed / 2).min((after * 2 / 3).max(MIN_WAIT));
            (self.before, self.allowed) = (self.allowed, shorter);
            self.shortened = Some(now);
        }
    }

    /// The LAPI was unreachable: it, and nothing in between, interrupted the last request.
    pub(crate) fn lapi_unreachable(&mut self) {
        // Undoes one shortening only: earlier ones may have had a cause on the way.
        self.allowed = self.allowed.max(self.before);
        if self.allowed == self.configured {
            self.shortened = None;
        }
    }

    /// Another LAPI, or another kind, is used now.
    pub(crate) fn clear_grant(&mut self) {
        self.granted = None;
    }

    fn is_enabled(&self) -> bool {
        self.allowed >= MIN_WAIT
    }

    /// Whether the LAPI parks requests.
    pub(crate) fn is_long_polling(&self) -> bool {
        self.is_enabled() && self.granted.is_some()
    }
}
