//! `GET /v1/refresh_token`, and the token that it and login return.

use axum::{extract::State, http::HeaderMap, response::Response};
use palisade_wire::LoginAnswer;

use crate::{
    auth::{bearer, require_valid_machine, token::TokenError},
    error::ApiError,
    response,
    state::Lapi,
};

/// A new token for a machine, as login and refresh return it.
pub(super) fn token_for(lapi: &Lapi, machine: &str) -> Result<Response, ApiError> {
    match lapi.auth.tokens.issue(machine, lapi.clock.now()) {
        Ok((token, end)) => Ok(response::json(&LoginAnswer { code: 200, expire: end.rfc3339(), token })),
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
