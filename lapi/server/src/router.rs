//! What a path and a method mean.

use axum::Router;

use crate::{alerts, allowlists, decisions, openapi, state::Lapi, usage};

/// The whole LAPI as a service.
pub fn router(lapi: Lapi) -> Router {
    let v1 = Router::new()
        .merge(alerts::routes())
        .merge(decisions::routes())
        .merge(allowlists::routes())
        .merge(usage::routes());
    Router::new().nest("/v1", v1).merge(openapi::routes()).with_state(lapi)
}
