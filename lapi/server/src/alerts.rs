//! Routes of alerts.

use axum::Router;

use crate::state::Lapi;

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
}
