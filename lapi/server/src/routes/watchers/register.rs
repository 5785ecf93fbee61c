//! `POST /v1/watchers`: registers a machine.

use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::StatusCode,
};
use palisade_lapi_config::AutoRegistration;
use palisade_service::registry::AuthType;
use palisade_store::{MAX_PASSWORD_BYTES, NewMachine, StoreError};
use palisade_wire::read_registration;
use tracing::info;

use crate::{
    auth::{ClientAddress, throttle::Attempt},
    body,
    error::ApiError,
    limits::{BodyLimit, MAX_PENDING_MACHINES},
    log_limits::REGISTRATIONS,
    state::Lapi,
};

#[utoipa::path(
    post, path = "/v1/watchers", tag = "machines",
    request_body = palisade_wire::Registration,
    responses((status = 201, description = "Registered; an operator must validate it"),
        (status = 202, description = "Registered and validated by its token"),
        (status = 400, description = "Malformed JSON", body = crate::error::ErrorBody),
        (status = 401, description = "Wrong token, or not from an allowed range", body = crate::error::ErrorBody),
        (status = 403, description = "The name is taken, or remote registration is disabled", body = crate::error::ErrorBody),
        (status = 422, description = "A field is missing or too short", body = crate::error::ErrorBody),
        (status = 429, description = "Too many attempts; retry after `Retry-After`", body = crate::error::ErrorBody))
)]
pub(crate) async fn register(State(lapi): State<Lapi>, request: Request) -> Result<StatusCode, ApiError> {
    let (mut parts, body) = request.into_parts();
    let client = ClientAddress::from_request_parts(&mut parts, &lapi).await?;
    if lapi.server.disable_remote_lapi_registration && !client.is_local() {
        return Err(ApiError::forbidden());
    }
    let body = body::read(&lapi, Request::from_parts(parts, body), BodyLimit::UNAUTHENTICATED).await;
    let (body, _place) = body.map_err(body::BodyFailure::into_error)?;
    let registration = read_registration(&body)?;
    let auto = lapi.server.auto_registration.as_ref();
    let joined = may_join(auto, &registration.registration_token, &client);
    if !matches!(joined, Ok(true)) {
        // Anyone may register without a token, so every such registration counts against the rate limit. A right token is
        // admitted however many wrong ones come from the same address.
        lapi.auth.check_throttle(&client, Attempt::Registration).inspect_err(|_| {
            lapi.metrics.throttled.inc();
        })?;
        lapi.auth.record_attempt(&client, Attempt::Registration);
    }
    let validated = joined?;
    if !validated && lapi.registry.pending_machines() >= MAX_PENDING_MACHINES {
        let text = format!(
            "{MAX_PENDING_MACHINES} machines wait for validation; delete some first (machines prune --not-validated-only)"
        );
        return Err(ApiError::message(StatusCode::FORBIDDEN, text));
    }
    let name = registration.machine_id;
    let taken = || ApiError::message(StatusCode::FORBIDDEN, format!("user '{name}': user already exist"));
    if registration.password.len() > MAX_PASSWORD_BYTES {
        return Err(ApiError::bad_request("unable to hash"));
    }
    if lapi.registry.machine(&name).is_some() {
        return Err(taken());
    }
    let hash = lapi.auth.passwords.hash(registration.password).await;
    let new = NewMachine {
        name: name.clone(),
        password: hash.ok_or_else(|| ApiError::bad_request("unable to hash"))?,
        auth_type: AuthType::Password.as_str().to_owned(),
        validated,
        ip: client.text.clone(),
    };
    match lapi.registry.add_machine(lapi.clock.now(), new).await {
        Ok(_) if validated => {
            info!(machine = name, client = %client.text, "machine registered and validated by its token");
            Ok(StatusCode::ACCEPTED)
        }
        Ok(_) => {
            if REGISTRATIONS.allows() {
                info!(machine = name, client = %client.text, "machine registered, pending validation");
            }
            Ok(StatusCode::CREATED)
        }
        Err(StoreError::Exists { .. }) => Err(taken()),
        Err(cause) => Err(ApiError::store(&cause, "unable to insert row")),
    }
}

/// Whether the machine is validated by its token. Pure.
fn may_join(auto: Option<&AutoRegistration>, token: &str, client: &ClientAddress) -> Result<bool, ApiError> {
    use subtle::ConstantTimeEq as _;

    let (Some(auto), Some(ip)) = (auto, client.ip) else { return Ok(false) };
    if token.is_empty() {
        return Ok(false);
    }
    if !bool::from(auto.token.as_bytes().ct_eq(token.as_bytes())) {
        return Err(ApiError::message(StatusCode::UNAUTHORIZED, "invalid token for auto registration"));
    }
    if !auto.allowed_ranges.contains(ip) {
        return Err(ApiError::message(
            StatusCode::UNAUTHORIZED,
            "IP not in allowed range for auto registration",
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use palisade_net::PrefixSet;

    use super::*;

    #[test]
    fn token_and_address_decide() {
        let token = "0123456789abcdef0123456789abcdef";
        let ranges: PrefixSet = ["192.0.2.0/24", "2001:db8::/32"]
            .map(|net| net.parse::<ipnet::IpNet>().unwrap())
            .into_iter()
            .collect();
        let auto = AutoRegistration { token: token.into(), allowed_ranges: ranges };
        let from = |ip: &str| ClientAddress { text: ip.into(), ip: ip.parse().ok(), socket: false };
        let text = |result: Result<bool, ApiError>| result.map_err(|error| error.to_string());
        let wrong = "401 invalid token for auto registration";
        let outside = "401 IP not in allowed range for auto registration";
        for (auto, token, ip, expected) in [
            (None, token, "192.0.2.1", Ok(false)),
            (Some(&auto), "", "192.0.2.1", Ok(false)),
            (Some(&auto), token, "", Ok(false)),
            (Some(&auto), token, "192.0.2.1", Ok(true)),
            (Some(&auto), token, "2001:db8::9", Ok(true)),
            (Some(&auto), token, "::ffff:192.0.2.9", Ok(true)),
            (Some(&auto), token, "198.51.100.1", Err(outside.to_owned())),
            (Some(&auto), "0123456789abcdef0123456789abcdeX", "192.0.2.1", Err(wrong.to_owned())),
            (Some(&auto), "short", "198.51.100.1", Err(wrong.to_owned())),
        ] {
            assert_eq!(text(may_join(auto, token, &from(ip))), expected, "{token} {ip}");
        }
    }
}
