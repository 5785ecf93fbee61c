//! For how long the LAPI is asked to hold a request, and when to ask again after an answer. Pure.

use std::time::Duration;

use palisade_cache::Timestamp;

/// A request that dies younger than this did not die of being held.
const HELD: Duration = Duration::from_secs(1);
/// Holding for less is not worth a request: the LAPI is asked at the interval instead.
const SHORTEST: Duration = Duration::from_secs(2);
/// When longer holds are tried again after some were ended on the way.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// A held request that comes back empty sooner was not held.
const AT_ONCE: Duration = Duration::from_millis(200);
/// How long such a LAPI is left in peace; up to half of it is added by chance.
const PEACE: Duration = Duration::from_secs(1);

/// What is known of holding requests on the way to the LAPI.
#[derive(Debug)]
pub(crate) struct Hold {
    /// What the operator wants; zero for no push.
    wanted: Duration,
    /// What the way bears.
    bearable: Duration,
    /// The same before it was shortened the last time.
    before: Duration,
    shortened: Option<Timestamp>,
    /// What the LAPI said it grants.
    granted: Option<Duration>,
}

impl Hold {
    pub(crate) fn new(wanted: Duration) -> Self {
        Self { wanted, bearable: wanted, before: wanted, shortened: None, granted: None }
    }

    /// For how long to ask to be held, in whole seconds; zero for not at all.
    pub(crate) fn ask(&mut self, now: Timestamp) -> Duration {
        if self.shortened.is_some_and(|at| now.saturating_duration_since(at) >= TRY_AGAIN) {
            *self = Self { granted: self.granted, ..Self::new(self.wanted) };
        }
        if !self.is_on() {
            return Duration::ZERO;
        }
        Duration::from_secs(self.granted.unwrap_or(self.bearable).min(self.bearable).as_secs())
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
        if !self.is_on() {
            interval
        } else if granted.is_none() && !wait.is_zero() {
            // It was asked and did not want to.
            interval
        } else if !wait.is_zero() && empty && took < AT_ONCE {
            PEACE + PEACE.mul_f64(spread.clamp(0.0, 1.0) / 2.0)
        } else {
            Duration::ZERO
        }
    }

    /// A held request died after so long: the next is held for half the time, or for well below that.
    pub(crate) fn broke(&mut self, now: Timestamp, after: Duration) {
        if after >= HELD {
            let shorter = (self.bearable / 2).min((after * 2 / 3).max(SHORTEST));
            (self.before, self.bearable) = (self.bearable, shorter);
            self.shortened = Some(now);
        }
    }

    /// Nobody was there: what had ended the hold was the LAPI itself, and nothing on the way.
    pub(crate) fn nobody_there(&mut self) {
        self.bearable = self.bearable.max(self.before);
        if self.bearable == self.wanted {
            self.shortened = None;
        }
    }

    /// The stay is with another LAPI, or with another kind.
    pub(crate) fn forget_grant(&mut self) {
        self.granted = None;
    }

    fn is_on(&self) -> bool {
        self.bearable >= SHORTEST
    }

    /// Whether the LAPI holds our requests.
    pub(crate) fn is_granted(&self) -> bool {
        self.is_on() && self.granted.is_some()
    }
}
