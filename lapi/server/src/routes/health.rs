//! `/health`, for load balancers.

use axum::{extract::State, http::header, response::IntoResponse};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{response, state::Lapi};

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new().routes(routes!(health))
}

/// The body.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what is written by hand")]
struct Health {
    /// `up`
    status: String,
    /// `read-only` while the database cannot be written, else absent.
    database: Option<String>,
}

/// Always `up`, as in the stock server: streams are served while the database is unavailable. While nothing can be written
/// to it, `database` is `read-only`.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses((status = 200, description = "Always", body = Health))
)]
pub(crate) async fn health(State(lapi): State<Lapi>) -> impl IntoResponse {
    let headers = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    let mut health = json!({"status": "up"});
    if lapi.store.write_problem().is_some() {
        health["database"] = json!("read-only");
    }
    (headers, response::json(&health))
}
