//! `GET /v1/decisions`: decisions in force for an address, answered from memory.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use palisade_replica::{Filter, LiveAnswer};
use utoipa::IntoParams;

use super::body::StreamBody;
use super::schema::{SelectionParams, StreamDecision};
use crate::auth::Bouncer;
use crate::error::{ApiError, ErrorBody};
use crate::query::Pairs;
use crate::response::{JSON, LONGEST_WHOLE, empty_ok};
use crate::state::Lapi;

/// The parameters that select a page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read leniently")]
struct PageParams {
    /// Maximum number
    limit: Option<i64>,
    /// Number of decisions to skip
    offset: Option<i64>,
    /// Only ids above this
    id_gt: Option<i64>,
}

#[utoipa::path(
    get, path = "/v1/decisions", tag = "decisions",
    params(SelectionParams, PageParams),
    security(("bouncer" = [])),
    responses((status = 200, description = "The decisions in force; `null` when there is none", body = Option<Vec<StreamDecision>>),
        (status = 403, description = "Missing or invalid key", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody))
)]
pub(crate) async fn query(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let (first, rest) = query_live(&lapi, &bouncer, &query)?;
    let (activity, now) = (&lapi.registry.activity, lapi.clock.now());
    activity.record_live_query(&bouncer, now);
    activity.save_first_bouncer(now, &bouncer).await;
    // A first chunk that is so short is the last one.
    let body = if first.len() <= LONGEST_WHOLE {
        Body::from(first)
    } else {
        Body::new(StreamBody::new(std::iter::once(first).chain(rest), || ()))
    };
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

#[utoipa::path(
    head, path = "/v1/decisions", tag = "decisions",
    params(SelectionParams, PageParams),
    security(("bouncer" = [])),
    responses((status = 200, description = "The query is valid"),
        (status = 403, description = "Missing or invalid key", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody))
)]
pub(crate) async fn query_head(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    query_live(&lapi, &bouncer, &query)?;
    Ok(empty_ok())
}

/// The first chunk of the response, which tells whether it is empty, and the rest.
fn query_live(lapi: &Lapi, bouncer: &Bouncer, query: &Pairs) -> Result<(Bytes, LiveAnswer), ApiError> {
    let filter = Filter::for_query(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    let view = lapi.replication.view();
    let mut answer = view.live(&filter, lapi.clock.now());
    let first = answer.next().unwrap_or_default();
    lapi.metrics.queried(&bouncer.name, first.as_ref() != b"null");
    Ok((first, answer))
}
