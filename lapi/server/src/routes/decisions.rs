//! Routes of `/v1/decisions`: the stream, live queries and deletion.

mod body;
pub(crate) mod follow;
pub(crate) mod live;
mod schema;
pub(crate) mod stream;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::delete;
use palisade_model::Change;
use palisade_replica::Filter;
use palisade_store::{Ended, StoreError};
use palisade_wire::{EndedDecision, LIST_ENDED, MAX_ENDED};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::auth::Machine;
use crate::error::{ApiError, ErrorBody};
use crate::query::Pairs;
use crate::response::Deleted;
use crate::state::Lapi;

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new()
        .routes(routes!(live::query, live::query_head, remove_many))
        .routes(routes!(stream::pull, stream::pull_head))
        .route("/v1/decisions/stream", delete(remove_stream))
        .routes(routes!(remove))
}

/// The parameters that select decisions to delete.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read leniently")]
struct DeletionParams {
    /// Comma-separated scopes
    scopes: Option<String>,
    /// Alias of `scopes`
    scope: Option<String>,
    /// Exact origin
    origin: Option<String>,
    /// Exact scenario
    scenario: Option<String>,
    /// Exact value
    value: Option<String>,
    /// Exact type
    #[param(rename = "type")]
    kind: Option<String>,
    /// Decisions that cover this address
    ip: Option<String>,
    /// Decisions that cover this range
    range: Option<String>,
    /// `false`: decisions contained in the range instead
    contains: Option<bool>,
    /// One of these ids
    uuid: Option<Vec<String>>,
}

#[utoipa::path(
    delete, path = "/v1/decisions", tag = "decisions",
    params(DeletionParams),
    security(("machine" = [])),
    responses((status = 200, description = "Number of deleted decisions", body = Deleted),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn remove_many(
    _: Machine,
    State(lapi): State<Lapi>,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let filter = Filter::for_deletion(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    // Decisions that another process has just written must be deleted as well.
    lapi.replication.catch_up().await.map_err(unable_to_delete)?;
    let now = lapi.clock.now();
    let ids = lapi.replication.view().ids(&filter, now);
    if ids.is_empty() {
        return Ok(Deleted::answer(0));
    }
    let ended = lapi.store.end_decisions(now, &ids).await.map_err(unable_to_delete)?;
    Ok(lifted(&lapi, &headers, ended).await)
}

#[utoipa::path(
    delete, path = "/v1/decisions/{decision_id}", tag = "decisions",
    params(
        ("decision_id" = i64, Path, description = "The decision's id")),
    security(("machine" = [])),
    responses((status = 200, description = "The decision was deleted", body = Deleted),
        (status = 400, description = "Invalid id", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "No such decision", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn remove(
    _: Machine,
    State(lapi): State<Lapi>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id: i64 = id.parse().map_err(|_| ApiError::bad_request("decision_id must be valid integer"))?;
    match lapi.store.end_decision(lapi.clock.now(), id).await.map_err(unable_to_delete)? {
        Some(ended) => Ok(lifted(&lapi, &headers, ended).await),
        None => Err(ApiError::internal(format!("decision with id '{id}' doesn't exist: unable to delete"))),
    }
}

/// `stream` in the place of a decision id.
async fn remove_stream(_: Machine) -> ApiError {
    ApiError::bad_request("decision_id must be valid integer")
}

/// After decisions were ended: responds once the commit is applied, so that bouncers can see it.
async fn lifted(lapi: &Lapi, headers: &HeaderMap, ended: Ended) -> Response {
    let is_listed = headers.get("prefer").is_some_and(|wanted| wanted == LIST_ENDED);
    let changes = ended.commit.iter().flat_map(|(_, changes)| changes);
    let listed = changes.take(if is_listed { MAX_ENDED } else { 0 }).map(shown).collect();
    lapi.replication.apply_local(ended.commit.into_iter().collect()).await;
    Deleted::with(ended.count, listed)
}

fn shown(change: &Change) -> EndedDecision {
    let (Change::Put(row) | Change::Removed(row)) = change;
    EndedDecision {
        id: row.id,
        origin: row.origin.to_string(),
        scope: row.target.scope.as_str().to_owned(),
        kind: row.remediation.to_string(),
        value: row.target.value.text(),
    }
}

fn unable_to_delete(error: StoreError) -> ApiError {
    ApiError::store(&error, "unable to delete")
}
