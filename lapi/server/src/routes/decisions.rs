//! Routes of `/v1/decisions`: the stream, live queries and deletion.

mod body;
pub(crate) mod follow;
pub(crate) mod live;
mod schema;
pub(crate) mod stream;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{delete, get};
use palisade_replica::Filter;
use palisade_store::{Ended, StoreError};
use palisade_wire::ErrorBody;

use crate::auth::Machine;
use crate::error::ApiError;
use crate::query::Pairs;
use crate::response::Deleted;
use crate::state::Lapi;

pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
        .route("/decisions", get(live::query).head(live::query_head).delete(remove_many))
        .route("/decisions/stream", get(stream::pull).head(stream::pull_head).delete(remove_stream))
        .route("/decisions/{decision_id}", delete(remove))
}

#[utoipa::path(
    delete, path = "/v1/decisions", tag = "decisions",
    params(
        ("scopes" = Option<String>, Query, description = "Comma-separated scopes"), 
        ("scope" = Option<String>, Query, description = "Alias of `scopes`"), 
        ("origin" = Option<String>, Query, description = "Exact origin"), 
        ("scenario" = Option<String>, Query, description = "Exact scenario"), 
        ("value" = Option<String>, Query, description = "Exact value"), 
        ("type" = Option<String>, Query, description = "Exact type"), 
        ("ip" = Option<String>, Query, description = "Decisions that cover this address"), 
        ("range" = Option<String>, Query, description = "Decisions that cover this range"), 
        ("contains" = Option<bool>, Query, description = "`false`: decisions contained in the range instead"), 
        ("uuid" = Option<Vec<String>>, Query, description = "One of these ids")),
    security(("machine" = [])),
    responses((status = 200, description = "Number of deleted decisions", body = Deleted),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn remove_many(
    _: Machine,
    State(lapi): State<Lapi>,
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
    Ok(lifted(&lapi, ended).await)
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
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id: i64 = id.parse().map_err(|_| ApiError::bad_request("decision_id must be valid integer"))?;
    match lapi.store.end_decision(lapi.clock.now(), id).await.map_err(unable_to_delete)? {
        Some(ended) => Ok(lifted(&lapi, ended).await),
        None => Err(ApiError::internal(format!("decision with id '{id}' doesn't exist: unable to delete"))),
    }
}

/// `stream` in the place of a decision id.
async fn remove_stream(_: Machine) -> ApiError {
    ApiError::bad_request("decision_id must be valid integer")
}

/// After decisions were ended: responds once the commit is applied, so that bouncers can see it.
async fn lifted(lapi: &Lapi, ended: Ended) -> Response {
    lapi.replication.apply_local(ended.commit.into_iter().collect()).await;
    Deleted::answer(ended.count)
}

fn unable_to_delete(error: StoreError) -> ApiError {
    ApiError::store(&error, "unable to delete")
}
