//! Ejects an upstream after consecutive failures of requests, for a pause that doubles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest pause, as a multiple of the first.
const MAX_PAUSE_FACTOR: u32 = 10;

/// Whether a request may use an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Normal,
    /// The one request after a pause, whose result decides.
    Trial,
    Refused,
}

/// What changed with a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    None,
    Ejected(Duration),
    Returned,
}

#[derive(Debug, Default)]
struct State {
    /// Consecutive ones.
    failures: u32,
    /// Consecutive ones, each after a pause twice as long.
    ejections: u32,
    ejected_until: Option<Instant>,
    trial_running: bool,
}

/// Consecutive failures of one upstream.
#[derive(Debug)]
pub(crate) struct PassiveHealth {
    max_failures: u32,
    pause: Duration,
    /// Whether the state is anything but clean. Requests to a healthy upstream look at this alone.
    suspect: AtomicBool,
    state: Mutex<State>,
}

impl PassiveHealth {
    pub(crate) fn new(max_failures: u32, pause: Duration) -> Self {
        Self { max_failures, pause, suspect: AtomicBool::new(false), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether [`PassiveHealth::admit`] would refuse now.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        if !self.suspect.load(Ordering::Relaxed) {
            return false;
        }
        let state = self.lock();
        state.ejected_until.is_some_and(|until| now < until || state.trial_running)
    }

    /// Whether it is ejected, or on trial.
    pub(crate) fn is_ejected(&self) -> bool {
        self.suspect.load(Ordering::Relaxed) && self.lock().ejected_until.is_some()
    }

    /// A trial must be ended by [`PassiveHealth::succeeded`], [`PassiveHealth::failed`] or
    /// [`PassiveHealth::abandoned`].
    pub(crate) fn admit(&self, now: Instant) -> Admission {
        if !self.suspect.load(Ordering::Relaxed) {
            return Admission::Normal;
        }
        let mut state = self.lock();
        match state.ejected_until {
            None => Admission::Normal,
            Some(until) if now < until || state.trial_running => Admission::Refused,
            Some(_) => {
                state.trial_running = true;
                Admission::Trial
            }
        }
    }

    pub(crate) fn succeeded(&self, admission: Admission) -> Transition {
        if !self.suspect.load(Ordering::Relaxed) {
            return Transition::None;
        }
        let mut state = self.lock();
        // A request from before the ejection says nothing about the time after it.
        if state.ejected_until.is_some() && admission != Admission::Trial {
            return Transition::None;
        }
        *state = State::default();
        self.suspect.store(false, Ordering::Relaxed);
        if admission == Admission::Trial { Transition::Returned } else { Transition::None }
    }

    pub(crate) fn failed(&self, admission: Admission, now: Instant) -> Transition {
        if self.max_failures == 0 {
            return Transition::None;
        }
        let mut state = self.lock();
        self.suspect.store(true, Ordering::Relaxed);
        state.failures = state.failures.saturating_add(1);
        let ejects = match state.ejected_until {
            Some(_) => admission == Admission::Trial,
            None => state.failures >= self.max_failures,
        };
        if !ejects {
            return Transition::None;
        }
        let factor =
            1u32.checked_shl(state.ejections).map_or(MAX_PAUSE_FACTOR, |factor| factor.min(MAX_PAUSE_FACTOR));
        let pause = self.pause * factor;
        state.ejections = state.ejections.saturating_add(1);
        state.ejected_until = Some(now + pause);
        state.trial_running = false;
        Transition::Ejected(pause)
    }

    /// A request ended without saying anything about the upstream: the client went away, for example.
    pub(crate) fn abandoned(&self, admission: Admission) {
        if admission == Admission::Trial {
            self.lock().trial_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn consecutive_failures_eject_for_a_pause_that_doubles_up_to_ten_times() {
        let health = PassiveHealth::new(2, PAUSE);
        let mut now = Instant::now();
        assert_eq!(health.failed(Admission::Normal, now), Transition::None);
        assert_eq!(health.succeeded(Admission::Normal), Transition::None);
        assert_eq!(health.failed(Admission::Normal, now), Transition::None);
        assert_eq!(health.failed(Admission::Normal, now), Transition::Ejected(PAUSE));
        for factor in [2, 4, 8, 10, 10] {
            assert_eq!(health.admit(now), Admission::Refused);
            assert!(health.refuses(now));
            now += PAUSE * 10;
            assert!(!health.refuses(now));
            assert_eq!(health.admit(now), Admission::Trial);
            assert_eq!(health.admit(now), Admission::Refused, "one trial at a time");
            assert_eq!(health.failed(Admission::Trial, now), Transition::Ejected(PAUSE * factor));
        }
        now += PAUSE * 10;
        assert_eq!(health.admit(now), Admission::Trial);
        assert_eq!(health.succeeded(Admission::Trial), Transition::Returned);
        assert_eq!(health.admit(now), Admission::Normal);
        assert_eq!(health.failed(Admission::Normal, now), Transition::None, "the count starts anew");
    }

    #[test]
    fn results_of_requests_from_before_the_ejection_do_not_count() {
        let health = PassiveHealth::new(1, PAUSE);
        let now = Instant::now();
        assert_eq!(health.failed(Admission::Normal, now), Transition::Ejected(PAUSE));
        assert_eq!(health.failed(Admission::Normal, now), Transition::None);
        assert_eq!(health.succeeded(Admission::Normal), Transition::None);
        assert_eq!(health.admit(now), Admission::Refused);
    }

    #[test]
    fn an_abandoned_trial_makes_room_for_another() {
        let health = PassiveHealth::new(1, PAUSE);
        let now = Instant::now();
        health.failed(Admission::Normal, now);
        assert_eq!(health.admit(now + PAUSE), Admission::Trial);
        health.abandoned(Admission::Trial);
        assert_eq!(health.admit(now + PAUSE), Admission::Trial);
    }

    #[test]
    fn zero_failures_never_eject() {
        let health = PassiveHealth::new(0, PAUSE);
        for _ in 0..100 {
            assert_eq!(health.failed(Admission::Normal, Instant::now()), Transition::None);
        }
    }
}
