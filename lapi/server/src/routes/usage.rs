//! The route of usage metrics.

use axum::extract::State;
use axum::http::StatusCode;
use palisade_store::{BouncerUpdate, MachineUpdate, UsageKind, UsageRow};
use palisade_wire::{
    LogProcessor, OsInfo, RemediationComponent, UsageReport, UsageSender, read_usage_metrics,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::auth::{ClientAddress, MachineOrBouncer, throttle::Attempt};
use crate::body::UsageBody;
use crate::error::{ApiError, ErrorBody};
use crate::state::Lapi;

/// A usage report: one entry, in the list of its sender's kind.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read leniently")]
struct UsagePost {
    /// From a bouncer.
    remediation_components: Option<Vec<RemediationComponent>>,
    /// From a log processor.
    log_processors: Option<Vec<LogProcessor>>,
}

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new().routes(routes!(take))
}

#[utoipa::path(
    post, path = "/v1/usage-metrics", tag = "usage",
    request_body = UsagePost,
    security(("machine" = []), ("bouncer" = [])),
    responses((status = 201, description = "Stored"),
        (status = 400, description = "Malformed JSON", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 403, description = "Missing or invalid key", body = ErrorBody),
        (status = 422, description = "A field is missing or too long", body = ErrorBody),
        (status = 429, description = "Too many reports; retry after `Retry-After`", body = ErrorBody),
        (status = 503, description = "The database is unavailable; retry after `Retry-After`", body = ErrorBody))
)]
pub(crate) async fn take(
    from: MachineOrBouncer,
    client: ClientAddress,
    State(lapi): State<Lapi>,
    UsageBody(body, _place): UsageBody,
) -> Result<StatusCode, ApiError> {
    let (kind, sender, producer) = match &from {
        MachineOrBouncer::Machine(machine) => (UsageKind::LogProcessor, UsageSender::Machine, &machine.name),
        MachineOrBouncer::Bouncer(bouncer) => {
            (UsageKind::RemediationComponent, UsageSender::Bouncer, &bouncer.name)
        }
    };
    let attempt = Attempt::UsageReport(producer);
    lapi.auth.check_throttle(&client, attempt).inspect_err(|_| {
        lapi.metrics.throttled.inc();
    })?;
    lapi.auth.record(&client, attempt, u32::try_from(body.len().div_ceil(1024)).unwrap_or(u32::MAX));
    let report = read_usage_metrics(&body, sender)?;
    let row = UsageRow {
        kind,
        producer: producer.clone(),
        received_at: lapi.clock.now(),
        payload: report.payload(),
    };
    // The report describes the authenticated sender, whatever name it contains. Both writes share a transaction, and the
    // sender's values are listed once the report is answered.
    let (activity, now) = (&lapi.registry.activity, lapi.clock.now());
    let stored = match (report, &from) {
        (UsageReport::RemediationComponent(report), MachineOrBouncer::Bouncer(bouncer)) => {
            activity.record_bouncer(bouncer, bouncer_update(report));
            tokio::join!(lapi.store.add_usage(row), activity.save_bouncer(now, bouncer)).0
        }
        (UsageReport::LogProcessor(report), MachineOrBouncer::Machine(machine)) => {
            activity.record_machine(machine, machine_update(report));
            tokio::join!(lapi.store.add_usage(row), activity.save_machine(now, machine)).0
        }
        _ => lapi.store.add_usage(row).await,
    };
    stored.map_err(|error| ApiError::store(&error, "unable to insert row"))?;
    Ok(StatusCode::CREATED)
}

fn bouncer_update(report: RemediationComponent) -> BouncerUpdate {
    BouncerUpdate {
        version: Some(report.version),
        os: Some(columns(report.os)),
        feature_flags: Some(report.feature_flags.join(",")),
        ..BouncerUpdate::default()
    }
}

fn machine_update(report: LogProcessor) -> MachineUpdate {
    MachineUpdate {
        version: Some(report.version),
        os: Some(columns(report.os)),
        feature_flags: Some(report.feature_flags.join(",")),
        hub_state: serde_json::to_string(&report.hub_items).ok(),
        datasources: serde_json::to_string(&report.datasources).ok(),
        ..MachineUpdate::default()
    }
}

/// Name, family and version; empty when the report has none.
fn columns(os: Option<OsInfo>) -> (String, String, String) {
    os.map(|os| (os.name, os.family, os.version)).unwrap_or_default()
}
