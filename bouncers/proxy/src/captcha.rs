//! Shows captchas, verifies their solutions, and signs proofs of them.
//!
//! ```text
//! request ─► proof in cookie? ─ valid ─► application
//!               │ none
//!               ├─ page request ─► page with a signed task (token) ─► browser solves it
//!               │                                                        │ POST to a reserved path
//!               └─ other ─► 403          303 back, with a proof ◄── verified: own hash, or the service
//! ```
//!
//! Nothing is stored for a client that does not solve its task. A proof is a signed cookie: only that it was issued is
//! checked, so that proxies with the same keys accept each other's.

mod attempts;
mod binding;
mod cookie;
mod error;
mod failures;
mod flow;
mod form;
mod keys;
mod proof;
mod provider;
mod script;
mod target;
mod task;
mod used;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use self::attempts::Attempts;
pub use self::cookie::{COOKIE_NAME, SECURE_COOKIE_NAME, strip_cookie};
pub use self::error::CaptchaError;
pub use self::failures::FailureKind;
use self::flow::Counters;
pub use self::flow::{CaptchaRequest, Outcome};
pub use self::form::MAX_FORM;
use self::keys::Keys;
pub use self::keys::MIN_KEY_BYTES;
use self::provider::Service;
pub(crate) use self::script::script_url;
pub use self::target::safe_target;
use self::used::UsedTasks;
pub use self::work::{MAX_DIFFICULTY, MIN_DIFFICULTY};
use crate::config::{CaptchaConfig, CaptchaProvider};

/// Where solutions are posted. Never reaches an application.
pub const SOLUTION_PATH: &str = "/.well-known/palisade/captcha";
/// The script of captcha pages.
pub const SCRIPT_PATH: &str = "/.well-known/palisade/captcha.js";

/// Whether a path is the captcha's own, on every host: the request goes to [`Captcha::handle`], or without a captcha
/// decision to [`Captcha::handle_lifted`], and never to an application.
pub fn is_reserved(path: &str) -> bool {
    path == SOLUTION_PATH || path == SCRIPT_PATH
}

/// The captcha of a configuration.
#[derive(Debug)]
pub struct Captcha {
    config: CaptchaConfig,
    keys: Keys,
    /// `None` for the proof of work.
    service: Option<Service>,
    memory: Arc<Memory>,
}

/// What outlives a reload of the configuration.
#[derive(Debug)]
struct Memory {
    used: UsedTasks,
    attempts: Attempts,
    counters: Counters,
    /// When `used` was empty; seconds since 1970.
    started: u64,
}

/// What happened since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptchaCounts {
    /// Pages with a task.
    pub shown: u64,
    /// Accepted solutions.
    pub solved: u64,
    /// Wrong, late or repeated solutions.
    pub refused: u64,
    /// Failures of the provider, by kind.
    pub failures: Vec<(FailureKind, u64)>,
}

impl Captcha {
    /// Sets the captcha up. Without configured keys they are generated, and kept in `state_dir`; without that
    /// directory, proofs end with the program.
    ///
    /// # Errors
    /// When keys cannot be read or written, or a value is out of its range.
    pub fn new(config: &CaptchaConfig, state_dir: Option<&Path>) -> Result<Self, CaptchaError> {
        Self::new_at(config, state_dir, Timestamp::now())
    }

    /// The same at a given time.
    ///
    /// # Errors
    /// As [`Captcha::new`].
    pub fn new_at(
        config: &CaptchaConfig,
        state_dir: Option<&Path>,
        now: Timestamp,
    ) -> Result<Self, CaptchaError> {
        if let CaptchaProvider::ProofOfWork { difficulty } = config.provider
            && !(MIN_DIFFICULTY..=MAX_DIFFICULTY).contains(&difficulty)
        {
            return Err(CaptchaError::Difficulty {
                difficulty,
                minimum: MIN_DIFFICULTY,
                maximum: MAX_DIFFICULTY,
            });
        }
        let started = u64::try_from(now.as_second()).unwrap_or(0);
        Ok(Self {
            keys: Keys::load(&config.signing_keys, state_dir, started)?,
            service: Service::new(config)?,
            config: config.clone(),
            memory: Arc::new(Memory {
                used: UsedTasks::default(),
                attempts: Attempts::default(),
                counters: Counters::default(),
                started,
            }),
        })
    }

    /// Goes on with what the captcha of the previous configuration knows: solved tasks, attempts and counts.
    #[must_use]
    pub fn succeeding(mut self, previous: Option<&Self>) -> Self {
        if let Some(previous) = previous {
            self.memory = Arc::clone(&previous.memory);
        }
        self
    }

    /// What happened since the start.
    pub fn counts(&self) -> CaptchaCounts {
        let counters = &self.memory.counters;
        CaptchaCounts {
            shown: counters.shown.load(Ordering::Relaxed),
            solved: counters.solved.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            failures: self
                .service
                .as_ref()
                .map_or_else(Vec::new, |service| service.failures.counts().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
