//! Routes of allowlists, and allowlists in memory.

use axum::Router;

use crate::state::Lapi;

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
}

/// Allowlists in memory.
#[derive(Debug, Default)]
pub(crate) struct Allowlists {}
