//! Routes of machines ("watchers"): registration, login, refresh, heartbeat, deletion.

pub(crate) mod login;
pub(crate) mod register;
#[cfg(test)]
mod tests;
pub(crate) mod token;

use axum::{extract::State, http::StatusCode};
use palisade_store::StoreError;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{auth::Machine, error::ApiError, state::Lapi};

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(leave))
        .routes(routes!(token::refresh))
        .routes(routes!(heartbeat))
}

/// `GET /v1/heartbeat`.
#[utoipa::path(
    get, path = "/v1/heartbeat", tag = "machines",
    security(("machine" = [])),
    responses((status = 200, description = "Recorded"),
        (status = 401, description = "Missing or invalid token", body = crate::error::ErrorBody))
)]
pub(crate) async fn heartbeat(State(lapi): State<Lapi>, machine: Machine) -> StatusCode {
    let (activity, now) = (&lapi.registry.activity, lapi.clock.now());
    activity.record_heartbeat(&machine, now);
    activity.save_first_machine(now, &machine).await;
    StatusCode::OK
}

/// `DELETE /v1/watchers/self`.
#[utoipa::path(
    delete, path = "/v1/watchers/self", tag = "machines",
    security(("machine" = [])),
    responses((status = 204, description = "Deleted"),
        (status = 401, description = "Missing or invalid token", body = crate::error::ErrorBody),
        (status = 500, description = "The machine does not exist", body = crate::error::ErrorBody))
)]
pub(crate) async fn leave(State(lapi): State<Lapi>, machine: Machine) -> Result<StatusCode, ApiError> {
    match lapi.registry.delete_machine(&machine.name).await {
        Ok(()) => {
            tracing::info!(machine = machine.name, "machine has deleted itself");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(StoreError::NotFound { .. }) => {
            Err(ApiError::internal(format!("'{}' does not exist", machine.name)))
        }
        Err(cause) => Err(ApiError::store(&cause, "unable to delete")),
    }
}
