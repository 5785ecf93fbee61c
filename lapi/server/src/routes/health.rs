//! `/health`, for load balancers.

use axum::{http::header, response::IntoResponse};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{response, state::Lapi};

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new().routes(routes!(health))
}

/// Always `up`, as in the stock server. The database is not checked: streams are served while it is unavailable.
/// The body.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what is written by hand")]
struct Health {
    /// `up`
    status: String,
}

#[utoipa::path(
    get, path = "/health", tag = "health",
    responses((status = 200, description = "Always", body = Health))
)]
pub(crate) async fn health() -> impl IntoResponse {
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    (headers, response::json(&json!({"status": "up"})))
}
