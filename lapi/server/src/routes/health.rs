//! `/health`, for load balancers.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use serde_json::json;

use crate::{response, state::Lapi};

pub(crate) fn routes() -> Router<Lapi> {
    Router::new().route("/health", get(health))
}

/// Always `up`, as in the stock server. The database is not checked: streams are served while it is unavailable.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses((status = 200, description = "Always"))
)]
pub(crate) async fn health() -> impl IntoResponse {
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    (headers, response::json(&json!({"status": "up"})))
}
