//! What a failed attempt leaves behind, whichever protocol it used.

use std::time::Duration;

use super::error::{BoxError, ErrorKind};
use super::retry::{Progress, RequestBody};

/// How long an upstream may take to answer `Expect: 100-continue`.
pub(crate) const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure<B> {
    pub(crate) kind: ErrorKind,
    pub(crate) source: Option<BoxError>,
    pub(crate) progress: Progress,
    /// The connection had been idle and was closed meanwhile: the next attempt uses a new one.
    pub(crate) stale: bool,
    /// It says something about the upstream's health.
    pub(crate) counts: bool,
    /// The body for another attempt; `None` when too much of it was used.
    pub(crate) body: Option<RequestBody<B>>,
}
