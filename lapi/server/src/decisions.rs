//! Routes of decisions: the stream, live queries, deletion.

use axum::Router;

use crate::state::Lapi;

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
}
