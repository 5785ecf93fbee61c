//! Routes of machines ("watchers"): registration, login, refresh, heartbeat, deletion.

pub(crate) mod login;
pub(crate) mod register;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{delete, get, post},
};
use palisade_store::StoreError;
use palisade_wire::LoginAnswer;

use crate::{
    auth::{Machine, bearer, require_valid_machine, token::TokenError},
    error::{self, ApiError},
    state::Lapi,
};

pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
        .route("/watchers", post(register::register))
        .route("/watchers/login", post(login::login))
        .route("/watchers/self", delete(leave))
        .route("/refresh_token", get(refresh))
        .route("/heartbeat", get(heartbeat))
}

/// A new token for a machine, as login and refresh return it.
fn token_for(lapi: &Lapi, machine: &str) -> Result<Response, ApiError> {
    match lapi.auth.tokens.issue(machine, lapi.clock.now()) {
        Ok((token, end)) => Ok(error::json(&LoginAnswer { code: 200, expire: end.rfc3339(), token })),
        Err(cause) => {
            tracing::error!(error = &cause as &dyn std::error::Error, "cannot sign a token");
            Err(ApiError::unauthorized("failed to create JWT Token"))
        }
    }
}

/// `GET /v1/refresh_token`: a new token in exchange for one that was issued at most an hour ago.
#[utoipa::path(
    get, path = "/v1/refresh_token", tag = "machines",
    security(("machine" = [])),
    responses((status = 200, description = "A new token", body = LoginAnswer),
        (status = 401, description = "Missing or invalid token", body = palisade_wire::ErrorBody))
)]
pub(crate) async fn refresh(State(lapi): State<Lapi>, headers: HeaderMap) -> Result<Response, ApiError> {
    let refused = |cause: TokenError| ApiError::unauthorized(cause.to_string());
    let token = bearer(&headers).ok_or(TokenError::Missing).map_err(refused)?;
    let claims = lapi.auth.tokens.check_refreshable(token, lapi.clock.now()).map_err(refused)?;
    let machine = require_valid_machine(&lapi, &claims.id).await?;
    token_for(&lapi, &machine.name)
}

/// `GET /v1/heartbeat`.
#[utoipa::path(
    get, path = "/v1/heartbeat", tag = "machines",
    security(("machine" = [])),
    responses((status = 200, description = "Recorded"),
        (status = 401, description = "Missing or invalid token", body = palisade_wire::ErrorBody))
)]
pub(crate) async fn heartbeat(State(lapi): State<Lapi>, machine: Machine) -> StatusCode {
    lapi.registry.activity.record_heartbeat(&machine, lapi.clock.now());
    StatusCode::OK
}

/// `DELETE /v1/watchers/self`.
#[utoipa::path(
    delete, path = "/v1/watchers/self", tag = "machines",
    security(("machine" = [])),
    responses((status = 204, description = "Deleted"),
        (status = 401, description = "Missing or invalid token", body = palisade_wire::ErrorBody),
        (status = 500, description = "The machine does not exist", body = palisade_wire::ErrorBody))
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
