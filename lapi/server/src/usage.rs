//! The route of usage metrics.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use palisade_store::{BouncerUpdate, MachineUpdate, StoreError, UsageKind, UsageRow};
use palisade_wire::{
    ErrorBody, OsInfo, UsageError, UsageMetrics, UsageReport, UsageSender, read_usage_metrics,
};

use crate::auth::Either;
use crate::body::Body;
use crate::error::ApiError;
use crate::state::Lapi;

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new().route("/usage-metrics", post(take))
}

#[utoipa::path(
    post, path = "/v1/usage-metrics", tag = "usage",
    request_body = UsageMetrics,
    security(("machine" = []), ("bouncer" = [])),
    responses((status = 201, description = "Taken"),
        (status = 400, description = "Not the JSON that is expected", body = ErrorBody),
        (status = 401, description = "No token, or not a good one", body = ErrorBody),
        (status = 403, description = "No key, or not a good one", body = ErrorBody),
        (status = 422, description = "Something is missing or too long", body = ErrorBody),
        (status = 503, description = "The database is away; ask again after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn take(
    from: Either,
    State(lapi): State<Lapi>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let (kind, sender, id, producer) = match &from {
        Either::Machine(machine) => {
            (UsageKind::LogProcessor, UsageSender::Machine, machine.id, machine.name.clone())
        }
        Either::Bouncer(bouncer) => {
            (UsageKind::RemediationComponent, UsageSender::Bouncer, bouncer.id, bouncer.name.clone())
        }
    };
    let report = read_usage_metrics(&body, sender).map_err(refused)?;
    let now = lapi.clock.now();
    let payload = report.payload();
    lapi.store.add_usage(UsageRow { kind, producer, received_at: now, payload }).await.map_err(failed)?;
    // What it says of itself belongs to whoever authenticated, whatever the report calls it.
    match report {
        UsageReport::RemediationComponent(report) if kind == UsageKind::RemediationComponent => {
            let update = BouncerUpdate {
                id,
                version: Some(report.version),
                os: Some(columns(report.os)),
                feature_flags: Some(report.feature_flags.join(",")),
                ..BouncerUpdate::default()
            };
            lapi.store.update_bouncers(now, vec![update]).await.map_err(failed)?;
        }
        UsageReport::LogProcessor(report) if kind == UsageKind::LogProcessor => {
            let update = MachineUpdate {
                id,
                version: Some(report.version),
                os: Some(columns(report.os)),
                feature_flags: Some(report.feature_flags.join(",")),
                hub_state: serde_json::to_string(&report.hub_items).ok(),
                datasources: serde_json::to_string(&report.datasources).ok(),
                ..MachineUpdate::default()
            };
            lapi.store.update_machines(now, vec![update]).await.map_err(failed)?;
        }
        _ => {}
    }
    Ok(StatusCode::CREATED)
}

/// Name, family and version; blank when the report does not say.
fn columns(os: Option<OsInfo>) -> (String, String, String) {
    os.map(|os| (os.name, os.family, os.version)).unwrap_or_default()
}

fn refused(error: UsageError) -> ApiError {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    ApiError::message(status, error.text)
}

fn failed(error: StoreError) -> ApiError {
    ApiError::store(&error, "unable to insert row")
}
