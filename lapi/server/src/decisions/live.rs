//! `GET /v1/decisions`: what holds for an address now, answered from memory.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use palisade_active::{Filter, LiveAnswer};

use super::body::StreamBody;
use crate::alerts::nothing;
use crate::auth::Bouncer;
use crate::error::{ApiError, JSON};
use crate::query::Pairs;
use crate::state::Lapi;

pub(super) async fn query(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let (first, rest) = ask(&lapi, &bouncer, &query)?;
    // Whoever streams has a cursor, whose time must not move past what it has not been told.
    if bouncer.pulled().1.is_none() {
        lapi.roster.asked(&bouncer, lapi.clock.now());
    }
    let body = StreamBody::new(std::iter::once(first).chain(rest), || ());
    Ok(([(header::CONTENT_TYPE, JSON)], axum::body::Body::new(body)).into_response())
}

pub(super) async fn query_head(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    ask(&lapi, &bouncer, &query)?;
    Ok(nothing())
}

/// The first piece of the answer, and what follows.
fn ask(lapi: &Lapi, bouncer: &Bouncer, query: &Pairs) -> Result<(Bytes, LiveAnswer), ApiError> {
    let filter = Filter::for_query(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    let view = lapi.tail.view();
    let mut answer = view.live(&filter, lapi.clock.now());
    let first = answer.next().unwrap_or_default();
    lapi.metrics.queried(&bouncer.name, first.as_ref() != b"null");
    Ok((first, answer))
}
