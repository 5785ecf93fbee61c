//! The description of the API, generated from the code.

use axum::Router;

use crate::state::Lapi;

/// The routes, below `/`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
}
