//! The route of usage metrics.

use axum::Router;

use crate::state::Lapi;

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
}
