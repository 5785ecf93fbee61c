//! `GET /v1/decisions/stream`: everything, or what is new to a bouncer, answered from memory.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use palisade_active::{Cursor, Filter};

use super::body::StreamBody;
use crate::alerts::nothing;
use crate::auth::Bouncer;
use crate::error::ApiError;
use crate::query::Pairs;
use crate::state::Lapi;

/// The media type of a stream; the stock server names no character set here.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) async fn pull(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let request = Filter::for_stream(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    // In this order: a decision that comes between the two belongs to the next pull.
    let now = lapi.clock.now();
    let view = lapi.tail.view();
    let (last_pull, commit) = bouncer.pulled();
    let cursor = commit.zip(last_pull).map(|(commit, time)| Cursor { commit, time });
    let answer = view.answer(&request, cursor, now);
    let next = answer.next;
    let written = move || lapi.roster.pulled(&bouncer, next.time, next.commit);
    let body = axum::body::Body::new(StreamBody::new(answer, written));
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

/// Tells that the key is good, and nothing else.
pub(super) async fn pull_head(_: Bouncer) -> Response {
    nothing()
}
