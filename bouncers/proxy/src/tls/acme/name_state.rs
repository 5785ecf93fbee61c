//! What is known about a name: its certificate, failed attempts, and when the next order is due.

use std::fmt;
use std::sync::Arc;

use tracing::warn;

use super::order;
use super::schedule::{Attempts, renewal_time};
use super::storage::{Kind, Storage};
use crate::tls::certificate::Certificate;
use crate::tls::file_certificate::timestamp;

/// After the start, the directory's suggestions are asked for within this many seconds.
const FIRST_SUGGESTION: i64 = 3600;

/// What is known about a name.
#[derive(Debug, Clone)]
pub(super) struct NameState {
    pub(super) name: String,
    /// The one obtained last; `None` while only a placeholder is presented.
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) attempts: Attempts,
    /// When the directory suggests to renew.
    pub(super) suggestion: Option<i64>,
    /// When it is asked for that again.
    pub(super) next_suggestion: i64,
}

/// What `status` shows of a name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AcmeStatus {
    /// The name.
    pub name: String,
    /// End of the certificate's validity, RFC 3339; `None` while there is only a placeholder.
    pub expires: Option<String>,
    /// When the next order is made, RFC 3339; `None` for at once.
    pub next_attempt: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
}

impl fmt::Display for AcmeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expires {
            Some(expires) => write!(f, "valid until {expires}")?,
            None => f.write_str("no certificate yet")?,
        }
        match &self.next_attempt {
            Some(next) => write!(f, ", next order {next}")?,
            None => f.write_str(", next order at once")?,
        }
        match &self.last_error {
            Some(error) => write!(f, "; {} failures, the last one: {error}", self.failures),
            None => Ok(()),
        }
    }
}

/// What is to be done for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Order,
    Suggestion,
}

impl NameState {
    /// As the files have it. A certificate that cannot be read is obtained again.
    pub(super) fn load(name: &str, storage: &Storage, now: i64) -> Self {
        let certificate = match storage.read(Kind::Certificate(name)) {
            Ok(None) => None,
            Ok(Some(text)) => order::parse(&text).map_err(|reason| unusable(name, storage, &reason)).ok(),
            Err(cause) => {
                unusable(name, storage, &cause.to_string());
                None
            }
        };
        let attempts = storage.read(Kind::Attempts(name)).ok().flatten();
        let attempts: Attempts =
            attempts.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut attempts = attempts.after_restart(fastrand::f64());
        // A clock that was ahead when the file was written must not hold up orders for ever.
        if attempts.last > now {
            attempts = Attempts::default();
        }
        Self {
            name: name.to_owned(),
            certificate: certificate.map(Arc::new),
            attempts,
            suggestion: None,
            next_suggestion: now + fastrand::i64(0..FIRST_SUGGESTION),
        }
    }

    pub(super) fn after_reload(mut self) -> Self {
        self.attempts.after_reload();
        self
    }

    /// When the next order is due, in seconds since 1970.
    pub(super) fn due(&self) -> i64 {
        let renewal = match &self.certificate {
            Some(certificate) => renewal_time(certificate.validity, self.suggestion),
            None => 0,
        };
        renewal.max(self.attempts.not_before)
    }

    /// What is to be done next, and when.
    pub(super) fn next(&self) -> (Task, i64) {
        match self.certificate {
            Some(_) if self.next_suggestion < self.due() => (Task::Suggestion, self.next_suggestion),
            _ => (Task::Order, self.due()),
        }
    }

    pub(super) fn is_valid(&self, now: i64) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| now < certificate.validity.until)
    }

    pub(super) fn status(&self) -> AcmeStatus {
        AcmeStatus {
            name: self.name.clone(),
            expires: self.certificate.as_ref().map(|certificate| timestamp(certificate.validity.until)),
            next_attempt: (self.due() != 0).then(|| timestamp(self.due())),
            failures: self.attempts.failed.saturating_add(self.attempts.unreachable),
            last_error: self.attempts.error.clone(),
        }
    }
}

fn unusable(name: &str, storage: &Storage, reason: &str) {
    let file = storage.path(Kind::Certificate(name));
    warn!(name, file = %file.display(), reason, "a certificate obtained by ACME cannot be used; it is obtained again");
}
