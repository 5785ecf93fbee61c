//! `GET /v1/refresh_token`, and the token that it and login return.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use palisade_daemon::listen::Peer;
use palisade_wire::{LoginAnswer, UnixMillis};

use crate::{
    auth::{bearer, fingerprint::Fingerprint, machine_of, token::TokenError},
    error::ApiError,
    response,
    state::Lapi,
};

/// A new token for a machine, as login and refresh return it.
pub(super) fn token_for(
    lapi: &Lapi,
    machine: &str,
    credentials: Fingerprint,
    login: UnixMillis,
) -> Result<Response, ApiError> {
    match lapi.auth.tokens.issue(machine, credentials, login, lapi.clock.now()) {
        Ok((token, end)) => Ok(response::json(&LoginAnswer { code: 200, expire: end.rfc3339(), token })),
        Err(cause) => {
            tracing::error!(error = &cause as &dyn std::error::Error, "cannot sign a token");
            Err(ApiError::unauthorized("failed to create JWT Token"))
        }
    }
}

/// `GET /v1/refresh_token`: a new token in exchange for one that was issued at most an hour ago, until a day after the
/// login.
#[utoipa::path(
    get, path = "/v1/refresh_token", tag = "machines",
    security(("machine" = [])),
    responses((status = 200, description = "A new token", body = LoginAnswer),
        (status = 401, description = "Missing or invalid token", body = crate::error::ErrorBody))
)]
pub(crate) async fn refresh(
    State(lapi): State<Lapi>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let refused = |cause: TokenError| ApiError::unauthorized(cause.to_string());
    let token = bearer(&headers).ok_or(TokenError::Missing).map_err(refused)?;
    let claims = lapi.auth.tokens.check_refreshable(token, lapi.clock.now()).map_err(refused)?;
    let machine = machine_of(&lapi, &claims, peer.as_deref()).await?;
    lapi.registry.activity.record_machine_seen(&machine, lapi.clock.now());
    token_for(&lapi, &machine.name, claims.credentials, UnixMillis(claims.login * 1000))
}
