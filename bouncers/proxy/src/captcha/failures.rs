//! Counts failures of the provider, and logs each kind once until it works again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::{error, info};

/// Why a provider cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No answer within the deadline.
    Timeout,
    /// No connection, or it broke.
    Unreachable,
    /// An error of the server, or a redirect.
    Status,
    /// The answer is no JSON of the expected form.
    NotJson,
    /// The answer is too large.
    TooLarge,
    /// It refuses our keys.
    Misconfigured,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Unreachable, Self::Status, Self::NotJson, Self::TooLarge, Self::Misconfigured];

    /// For metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::NotJson => "not_json",
            Self::TooLarge => "too_large",
            Self::Misconfigured => "misconfigured",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Timeout => "it did not answer in time; raise `timeout`, or check the way to it",
            Self::Unreachable => "it cannot be reached; check name resolution, firewall and its certificate",
            Self::Status => "it answers with an error of its own",
            Self::NotJson => "its answer has another form; check `verify_url`",
            Self::TooLarge => "its answer is too large; check `verify_url`",
            Self::Misconfigured => "it refuses the keys; check `site_key` and `secret_key`",
        }
    }
}

/// Failures of one provider.
#[derive(Debug)]
pub(super) struct Failures {
    provider: String,
    counts: [AtomicU64; FailureKind::ALL.len()],
    is_logged: [AtomicBool; FailureKind::ALL.len()],
}

impl Failures {
    pub(super) fn new(provider: &str) -> Self {
        Self { provider: provider.to_owned(), counts: Default::default(), is_logged: Default::default() }
    }

    pub(super) fn record(&self, kind: FailureKind) {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        if !self.is_logged[kind as usize].swap(true, Ordering::Relaxed) {
            error!(
                provider = self.provider,
                kind = kind.name(),
                reason = kind.advice(),
                "the captcha provider cannot verify solutions"
            );
        }
    }

    /// The provider answered.
    pub(super) fn recovered(&self) {
        // Not `any` on swaps: all flags are to be cleared.
        let failed = self.is_logged.iter().filter(|logged| logged.swap(false, Ordering::Relaxed)).count();
        if failed > 0 {
            info!(provider = self.provider, "the captcha provider verifies solutions again");
        }
    }

    /// Failures by kind since the start.
    pub(super) fn counts(&self) -> [(FailureKind, u64); FailureKind::ALL.len()] {
        FailureKind::ALL.map(|kind| (kind, self.counts[kind as usize].load(Ordering::Relaxed)))
    }
}
