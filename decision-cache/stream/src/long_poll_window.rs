//! For how long the LAPI is asked to hold a request, and when to ask again after an answer. Pure.

use std::time::Duration;

use palisade_cache::Timestamp;

/// A request that dies younger than this did not die of being held.
const MIN_INTERRUPTED: Duration = Duration::from_secs(1);
/// Holding for less is not worth a request: the LAPI is asked at the interval instead.
const MIN_WAIT: Duration = Duration::from_secs(2);
/// When longer holds are tried again after some were ended on the way.
const RETRY_LONGER_AFTER: Duration = Duration::from_secs(600);
/// A held request that comes back empty sooner was not held.
const MIN_PARKED: Duration = Duration::from_millis(200);
/// How long such a LAPI is left in peace; up to half of it is added by chance.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// What is known of holding requests on the way to the LAPI.
#[derive(Debug)]
pub(crate) struct LongPollWindow {
    /// What the operator wants; zero for no push.
    configured: Duration,
    /// What the way bears.
    allowed: Duration,
    /// The same before it was shortened the last time.
    before: Duration,
    shortened: Option<Timestamp>,
    /// What the LAPI said it grants.
    granted: Option<Duration>,
}

impl LongPollWindow {
    pub(crate) fn new(configured: Duration) -> Self {
        Self { configured, allowed: configured, before: configured, shortened: None, granted: None }
    }

    /// For how long to ask to be held, in whole seconds; zero for not at all.
    pub(crate) fn ask(&mut self, now: Timestamp) -> Duration {
        if self.shortened.is_some_and(|at| now.saturating_duration_since(at) >= RETRY_LONGER_AFTER) {
            *self = Self { granted: self.granted, ..Self::new(self.configured) };
        }
        if !self.is_enabled() {
            return Duration::ZERO;
        }
        Duration::from_secs(self.granted.unwrap_or(self.allowed).min(self.allowed).as_secs())
    }

    /// After an answer to a request that asked for `wait` and took `took`: how long until the next request.
    pub(crate) fn answered(
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
            // It was asked and did not want to.
            interval
        } else if !wait.is_zero() && empty && took < MIN_PARKED {
            QUIET_PERIOD + QUIET_PERIOD.mul_f64(spread.clamp(0.0, 1.0) / 2.0)
        } else {
            Duration::ZERO
        }
    }

    /// A held request died after so long: the next is held for half the time, or for well below that.
    pub(crate) fn interrupted(&mut self, now: Timestamp, after: Duration) {
        if after >= MIN_INTERRUPTED {
            let shorter = (self.allowed / 2).min((after * 2 / 3).max(MIN_WAIT));
            (self.before, self.allowed) = (self.allowed, shorter);
            self.shortened = Some(now);
        }
    }

    /// Nobody was there: what had ended the hold was the LAPI itself, and nothing on the way.
    pub(crate) fn lapi_unreachable(&mut self) {
        self.allowed = self.allowed.max(self.before);
        if self.allowed == self.configured {
            self.shortened = None;
        }
    }

    /// The stay is with another LAPI, or with another kind.
    pub(crate) fn forget_grant(&mut self) {
        self.granted = None;
    }

    fn is_enabled(&self) -> bool {
        self.allowed >= MIN_WAIT
    }

    /// Whether the LAPI holds our requests.
    pub(crate) fn is_long_polling(&self) -> bool {
        self.is_enabled() && self.granted.is_some()
    }
}
