//! Routes of decisions: the stream, live queries, deletion.

mod body;
mod live;
mod stream;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{delete, get};
use palisade_active::Filter;
use palisade_store::{Ended, StoreError};

use crate::alerts::Deleted;
use crate::auth::Machine;
use crate::error::ApiError;
use crate::query::Pairs;
use crate::state::Lapi;

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
        .route("/decisions", get(live::query).head(live::query_head).delete(remove_many))
        .route("/decisions/stream", get(stream::pull).head(stream::pull_head))
        .route("/decisions/{decision_id}", delete(remove))
}

async fn remove_many(_: Machine, State(lapi): State<Lapi>, query: Pairs) -> Result<Response, ApiError> {
    let filter = Filter::for_deletion(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    // What was decided a moment ago by other hands is to be lifted as well.
    lapi.catch_up().await.map_err(unable_to_delete)?;
    let now = lapi.clock.now();
    let ids = lapi.tail.view().ids(&filter, now);
    if ids.is_empty() {
        return Ok(Deleted::answer(0));
    }
    let ended = lapi.store.end_decisions(now, &ids).await.map_err(unable_to_delete)?;
    Ok(lapi.lifted(ended).await)
}

async fn remove(_: Machine, State(lapi): State<Lapi>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id: i64 = id.parse().map_err(|_| ApiError::bad_request("decision_id must be valid integer"))?;
    match lapi.store.end_decision(lapi.clock.now(), id).await.map_err(unable_to_delete)? {
        Some(ended) => Ok(lapi.lifted(ended).await),
        None => Err(ApiError::internal(format!("decision with id '{id}' doesn't exist: unable to delete"))),
    }
}

impl Lapi {
    /// Decisions were ended: the answer goes out once bouncers can be told.
    async fn lifted(&self, ended: Ended) -> Response {
        self.tail.applied(ended.commit.into_iter().collect()).await;
        Deleted::answer(ended.count)
    }
}

fn unable_to_delete(error: StoreError) -> ApiError {
    ApiError::store(&error, "unable to delete")
}
