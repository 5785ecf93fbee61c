//! `GET /v1/decisions/stream`: everything, or what is new to a bouncer, answered from memory.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use palisade_active::{Cursor, Filter};
use palisade_wire::ErrorBody;

use super::body::StreamBody;
use crate::alerts::nothing;
use crate::auth::Bouncer;
use crate::error::ApiError;
use crate::openapi::DecisionStream;
use crate::query::Pairs;
use crate::state::Lapi;

/// The media type of a stream; the stock server names no character set here.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[utoipa::path(
    get, path = "/v1/decisions/stream", tag = "decisions",
    params(
        ("startup" = Option<String>, Query, description = "`true`: everything, not only what changed"), 
        ("dedup" = Option<bool>, Query, description = "`false`: every decision, not only the longest of each value"), 
        ("scopes" = Option<String>, Query, description = "Comma-separated scopes"), 
        ("scope" = Option<String>, Query, description = "The same"), 
        ("origins" = Option<String>, Query, description = "Comma-separated origins"), 
        ("scenarios_containing" = Option<String>, Query, description = "Comma-separated words of which the scenario has one"), 
        ("scenarios_not_containing" = Option<String>, Query, description = "Comma-separated words of which the scenario has none"), 
        ("value" = Option<String>, Query, description = "Exact value"), 
        ("type" = Option<String>, Query, description = "Exact type"), 
        ("ip" = Option<String>, Query, description = "Decisions that cover this address"), 
        ("range" = Option<String>, Query, description = "Decisions that cover this range"), 
        ("contains" = Option<bool>, Query, description = "`false`: decisions inside the range instead"), 
        ("simulated" = Option<String>, Query, description = "Anything but `false`: with simulated ones")),
    security(("bouncer" = [])),
    responses((status = 200, description = "What is new to the bouncer and what no longer holds", body = DecisionStream),
        (status = 403, description = "No key, or not a good one", body = ErrorBody),
        (status = 500, description = "A value that cannot be used, in words", body = ErrorBody))
)]
pub(crate) async fn pull(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let request = Filter::for_stream(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    // In this order: a decision that comes between the two belongs to the next pull.
    let now = lapi.clock.now();
    let view = lapi.tail.view();
    let cursor = bouncer.pulled().map(|(commit, time)| Cursor { commit, time });
    let answer = view.answer(&request, cursor, now);
    let next = answer.next;
    let written = move || lapi.roster.pulled(&bouncer, next.time, next.commit);
    let body = axum::body::Body::new(StreamBody::new(answer, written));
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

/// Tells that the key is good, and nothing else.
#[utoipa::path(
    head, path = "/v1/decisions/stream", tag = "decisions",
    security(("bouncer" = [])),
    responses((status = 200, description = "The key is good"),
        (status = 403, description = "No key, or not a good one", body = ErrorBody))
)]
pub(crate) async fn pull_head(_: Bouncer) -> Response {
    nothing()
}
