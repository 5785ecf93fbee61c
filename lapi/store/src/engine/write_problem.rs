//! Why nothing can be written, for health checks and metrics; logged when it begins and ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::StoreError;

/// At most one line in this time: a full disk may take small writes and refuse large ones.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Shared by the clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteProblem(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    text: Option<String>,
    /// Whether the beginning has been logged.
    is_logged: bool,
    logged_at: Option<Instant>,
}

impl WriteProblem {
    /// The text of the error, while writes fail.
    pub(crate) fn text(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    pub(crate) fn set(&self, error: &StoreError) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.text = Some(error.to_string());
        let is_due = state.logged_at.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        if !state.is_logged && is_due {
            (state.is_logged, state.logged_at) = (true, Some(Instant::now()));
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the database cannot be written: writes are refused until it can; decisions are served from memory"
            );
        }
    }

    pub(super) fn clear(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.text.take().is_some() && std::mem::take(&mut state.is_logged) {
            tracing::info!("the database can be written again");
        }
    }
}
