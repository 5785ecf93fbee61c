//! `GET /v1/decisions`: what holds for an address now, answered from memory.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use palisade_active::{Filter, LiveAnswer};
use palisade_wire::ErrorBody;

use super::body::StreamBody;
use crate::alerts::empty_ok;
use crate::auth::Bouncer;
use crate::error::{ApiError, JSON};
use crate::openapi::StreamDecision;
use crate::query::Pairs;
use crate::state::Lapi;

#[utoipa::path(
    get, path = "/v1/decisions", tag = "decisions",
    params(
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
        ("simulated" = Option<String>, Query, description = "Anything but `false`: with simulated ones"), 
        ("limit" = Option<i64>, Query, description = "At most so many"), 
        ("offset" = Option<i64>, Query, description = "Without the first so many"), 
        ("id_gt" = Option<i64>, Query, description = "Only with a number above this")),
    security(("bouncer" = [])),
    responses((status = 200, description = "The decisions in force; `null` when there is none", body = Option<Vec<StreamDecision>>),
        (status = 403, description = "No key, or not a good one", body = ErrorBody),
        (status = 500, description = "A value that cannot be used, in words", body = ErrorBody))
)]
pub(crate) async fn query(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let (first, rest) = ask(&lapi, &bouncer, &query)?;
    lapi.registry.record_live_query(&bouncer, lapi.clock.now());
    let body = StreamBody::new(std::iter::once(first).chain(rest), || ());
    Ok(([(header::CONTENT_TYPE, JSON)], axum::body::Body::new(body)).into_response())
}

#[utoipa::path(
    head, path = "/v1/decisions", tag = "decisions",
    params(
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
        ("simulated" = Option<String>, Query, description = "Anything but `false`: with simulated ones"), 
        ("limit" = Option<i64>, Query, description = "At most so many"), 
        ("offset" = Option<i64>, Query, description = "Without the first so many"), 
        ("id_gt" = Option<i64>, Query, description = "Only with a number above this")),
    security(("bouncer" = [])),
    responses((status = 200, description = "The query can be answered"),
        (status = 403, description = "No key, or not a good one", body = ErrorBody),
        (status = 500, description = "A value that cannot be used, in words", body = ErrorBody))
)]
pub(crate) async fn query_head(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    ask(&lapi, &bouncer, &query)?;
    Ok(empty_ok())
}

/// The first piece of the answer, and what follows.
fn ask(lapi: &Lapi, bouncer: &Bouncer, query: &Pairs) -> Result<(Bytes, LiveAnswer), ApiError> {
    let filter = Filter::for_query(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    let view = lapi.replication.view();
    let mut answer = view.live(&filter, lapi.clock.now());
    let first = answer.next().unwrap_or_default();
    lapi.metrics.queried(&bouncer.name, first.as_ref() != b"null");
    Ok((first, answer))
}
