//! Routes of `/v1/alerts`.

mod schema;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use palisade_store::{AlertQuery, Deleted as DeletedAlerts, StoreError};
use palisade_wire::Alert;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::schema::PostedAlert;
use crate::auth::{Machine, TrustedAddress};
use crate::body::Body;
use crate::error::{ApiError, ErrorBody};
use crate::offload::offload;
use crate::query::Pairs;
use crate::response::{Deleted, empty_ok, json};
use crate::state::Lapi;

/// Responses with more decisions and events than this are serialised on a blocking thread.
const OFFLOAD_ABOVE: usize = 500;

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new()
        .routes(routes!(list, list_head, add, remove_many))
        .routes(routes!(one, one_head, remove))
}

/// The parameters that select alerts.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read leniently")]
struct AlertParams {
    /// Scope of the source
    scope: Option<String>,
    /// Value of the source
    value: Option<String>,
    /// Scenario of the alert or of a decision
    scenario: Option<String>,
    /// Decisions that cover this address
    ip: Option<String>,
    /// Decisions that cover this range
    range: Option<String>,
    /// `false`: decisions contained in the range instead
    contains: Option<bool>,
    /// Started at most this long ago, such as `4h`
    since: Option<String>,
    /// Started at least this long ago
    until: Option<String>,
    /// Created at least this long ago
    created_before: Option<String>,
    /// Has a decision of this type
    decision_type: Option<String>,
    /// Has a decision of this origin
    origin: Option<String>,
    /// `false`: exclude community lists
    include_capi: Option<bool>,
    /// `true`: with a decision in force; `false`: without any decision
    has_active_decision: Option<bool>,
    /// Kind of alert
    kind: Option<String>,
    /// `false`: exclude simulated alerts
    simulated: Option<bool>,
    /// Maximum number, 100 by default; 0 for all
    limit: Option<u64>,
    /// `ASC` or `DESC`
    sort: Option<String>,
    /// `false`: omit decisions
    with_decisions: Option<bool>,
}

#[utoipa::path(
    post, path = "/v1/alerts", tag = "alerts",
    request_body = Vec<PostedAlert>,
    security(("machine" = [])),
    responses((status = 201, description = "The alerts' ids; fewer when some were not stored", body = Vec<String>),
        (status = 400, description = "Malformed JSON", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn add(
    machine: Machine,
    State(lapi): State<Lapi>,
    Body(body, _place): Body,
) -> Result<Response, ApiError> {
    let ids = lapi.ingest.ingest(&machine.name, body).await?;
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    Ok((StatusCode::CREATED, json(&ids)).into_response())
}

#[utoipa::path(
    get, path = "/v1/alerts", tag = "alerts",
    params(AlertParams),
    security(("machine" = [])),
    responses((status = 200, description = "The alerts; `null` when there is none", body = Option<Vec<Alert>>),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn list(_: Machine, State(lapi): State<Lapi>, query: Pairs) -> Result<Response, ApiError> {
    let alerts = find_alerts(&lapi, &query).await?;
    if alerts.is_empty() {
        return Ok(json(&()));
    }
    let size: usize = alerts.iter().map(|alert| 1 + alert.decisions.len() + alert.events.len()).sum();
    if size > OFFLOAD_ABOVE { offload(move || Ok(json(&alerts))).await } else { Ok(json(&alerts)) }
}

#[utoipa::path(
    head, path = "/v1/alerts", tag = "alerts",
    params(AlertParams),
    security(("machine" = [])),
    responses((status = 200, description = "The query is valid"),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn list_head(
    _: Machine,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    find_alerts(&lapi, &query).await?;
    Ok(empty_ok())
}

#[utoipa::path(
    get, path = "/v1/alerts/{alert_id}", tag = "alerts",
    params(
        ("alert_id" = i64, Path, description = "The alert's id")),
    security(("machine" = [])),
    responses((status = 200, description = "The alert", body = Alert),
        (status = 400, description = "Invalid id", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 404, description = "No such alert", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn one(
    _: Machine,
    State(lapi): State<Lapi>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let alert = find_alert(&lapi, &id).await?;
    if alert.decisions.len() > OFFLOAD_ABOVE {
        offload(move || Ok(json(&alert))).await
    } else {
        Ok(json(&alert))
    }
}

#[utoipa::path(
    head, path = "/v1/alerts/{alert_id}", tag = "alerts",
    params(
        ("alert_id" = i64, Path, description = "The alert's id")),
    security(("machine" = [])),
    responses((status = 200, description = "The alert exists"),
        (status = 400, description = "Invalid id", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 404, description = "No such alert", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn one_head(
    _: Machine,
    State(lapi): State<Lapi>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    find_alert(&lapi, &id).await?;
    Ok(empty_ok())
}

#[utoipa::path(
    delete, path = "/v1/alerts", tag = "alerts",
    params(AlertParams),
    security(("machine" = [])),
    responses((status = 200, description = "Number of deleted alerts", body = Deleted),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 403, description = "The client's address is not in `trusted_ips`", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn remove_many(
    _: Machine,
    _: TrustedAddress,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let query = AlertQuery::parse(&query.0, true).map_err(|error| ApiError::internal(error.to_string()))?;
    let deleted = lapi.store.delete_alerts(lapi.clock.now(), &query).await.map_err(unable_to_delete)?;
    Ok(removed(&lapi, deleted).await)
}

#[utoipa::path(
    delete, path = "/v1/alerts/{alert_id}", tag = "alerts",
    params(
        ("alert_id" = i64, Path, description = "The alert's id")),
    security(("machine" = [])),
    responses((status = 200, description = "The alert was deleted", body = Deleted),
        (status = 400, description = "Invalid id", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 403, description = "The client's address is not in `trusted_ips`", body = ErrorBody),
        (status = 500, description = "No such alert", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn remove(
    _: Machine,
    _: TrustedAddress,
    State(lapi): State<Lapi>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = alert_id(&id)?;
    let deleted = lapi.store.delete_alert(lapi.clock.now(), id).await.map_err(unable_to_delete)?;
    if deleted.count == 0 {
        return Err(ApiError::internal("ent: alert not found"));
    }
    Ok(removed(&lapi, deleted).await)
}

async fn find_alerts(lapi: &Lapi, query: &Pairs) -> Result<Vec<Alert>, ApiError> {
    let query = AlertQuery::parse(&query.0, false).map_err(|error| ApiError::internal(error.to_string()))?;
    lapi.store.alerts(&query, lapi.clock.now()).await.map_err(unable_to_query)
}

async fn find_alert(lapi: &Lapi, id: &str) -> Result<Alert, ApiError> {
    let found = lapi.store.alert(alert_id(id)?, lapi.clock.now()).await.map_err(unable_to_query)?;
    found.ok_or_else(|| ApiError::message(StatusCode::NOT_FOUND, "object not found"))
}

/// After alerts were deleted: applies the commits, so that bouncers see the ends, and recounts the alerts.
async fn removed(lapi: &Lapi, deleted: DeletedAlerts) -> Response {
    lapi.replication.apply_local(deleted.commits).await;
    if deleted.count > 0 {
        lapi.alert_counts.recount_or_warn().await;
    }
    Deleted::answer(deleted.count)
}

fn alert_id(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request("alert_id must be valid integer"))
}

fn unable_to_query(error: StoreError) -> ApiError {
    ApiError::store(&error, "unable to query")
}

fn unable_to_delete(error: StoreError) -> ApiError {
    ApiError::store(&error, "unable to delete")
}
