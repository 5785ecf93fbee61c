//! `POST /v1/watchers/login`. Checks are made in the stock server's order and fail with its texts.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use palisade_daemon::{listen::Peer, logs::LogLimit};
use palisade_service::registry::{AuthType, Machine};
use palisade_store::{MachineUpdate, NewMachine, has_other_cost};
use palisade_wire::{BodyError, read_certificate_login, read_login};
use tracing::{debug, info, warn};

use super::token::token_for;
use crate::{
    about,
    auth::{ClientAddress, certificate::Role, fingerprint, throttle::Attempt},
    body::{self, BodyFailure},
    error::ApiError,
    limits::{BodyLimit, BodyPlace, MAX_AGENT_TEXT},
    log_limits::{AGENTS, LOGINS, UNKNOWN_LOGINS},
    state::Lapi,
};

/// The text for a wrong password, as for any other failure of password authentication.
const WRONG_CREDENTIALS: &str = "incorrect Username or Password";
/// The longest list of scenarios that is stored, in bytes.
const MAX_SCENARIOS: usize = 100_000;

#[utoipa::path(
    post, path = "/v1/watchers/login", tag = "machines",
    request_body = palisade_wire::Login,
    responses((status = 200, description = "A token, valid for one hour", body = palisade_wire::LoginAnswer),
        (status = 401, description = "Unknown machine, wrong password, or not validated yet", body = crate::error::ErrorBody),
        (status = 429, description = "Too many attempts; retry after `Retry-After`", body = crate::error::ErrorBody))
)]
pub(crate) async fn login(State(lapi): State<Lapi>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let client = ClientAddress::from_request_parts(&mut parts, &lapi).await?;
    let peer = parts.extensions.get::<Peer>().cloned();
    // Of the head, nothing else is kept while the body is read.
    let (version, is_asked) = (version(&parts.headers), about::is_asked(&parts.headers));
    let (body, _place) = read_body(&lapi, Request::from_parts(parts, body)).await?;
    let result = match peer.as_ref().filter(|peer| !peer.certificates.is_empty()) {
        Some(peer) => with_certificate(&lapi, peer, &client, &body).await,
        None => with_password(&lapi, &client, &body).await,
    };
    let (machine, scenarios) = result.inspect_err(|refusal| {
        // Lines in proportion to what is verified: a refused flood is counted, not logged.
        if refusal.is_throttled() {
            lapi.metrics.throttled.inc();
        } else if log_limit(refusal.text()).allows() {
            info!(client = %client.text, "login refused: {}", refusal.text());
        }
    })?;
    if let Some(peer) = &peer {
        peer.authenticated();
    }
    let update = MachineUpdate {
        scenarios: (!scenarios.is_empty()).then(|| join_scenarios(&scenarios)),
        ip: Some(client.text.clone()),
        version: version.clone(),
        last_seen: Some(lapi.clock.now()),
        ..MachineUpdate::default()
    };
    lapi.registry.activity.record_machine(&machine, update);
    lapi.registry.activity.save_first_machine(lapi.clock.now(), &machine).await;
    if version.is_none() {
        if AGENTS.allows() {
            warn!(machine = machine.name, client = %client.text, "login refused: bad user agent; it must be name/version");
        }
        return Err(ApiError::unauthorized(WRONG_CREDENTIALS));
    }
    let credentials = fingerprint(&machine, peer.as_ref());
    let credentials = credentials.ok_or_else(|| ApiError::unauthorized(WRONG_CREDENTIALS))?;
    let mut response = token_for(&lapi, &machine.name, credentials, lapi.clock.now())?;
    if is_asked {
        about::add_state(&lapi, &mut response).await;
    }
    Ok(response)
}

/// Lines about machines that exist have a limit of their own: a flood of others must not hide guesses of their passwords.
fn log_limit(refusal: &str) -> &'static LogLimit {
    match refusal {
        WRONG_CREDENTIALS => &LOGINS,
        text if text.starts_with("machine ") => &LOGINS,
        _ => &UNKNOWN_LOGINS,
    }
}

/// A bad body is a failed login, except where the stock server's decompression middleware answers first.
async fn read_body(lapi: &Lapi, request: Request) -> Result<(Bytes, BodyPlace), ApiError> {
    body::read(lapi, request, BodyLimit::UNAUTHENTICATED).await.map_err(|failure| match failure {
        BodyFailure::NotGzip | BodyFailure::Coding | BodyFailure::Silent | BodyFailure::Crowded => {
            failure.into_error()
        }
        other => ApiError::unauthorized(format!("missing: {other}")),
    })
}

async fn with_password(
    lapi: &Lapi,
    client: &ClientAddress,
    body: &[u8],
) -> Result<(Arc<Machine>, Vec<String>), ApiError> {
    let login = read_login(body).map_err(|cause| {
        ApiError::unauthorized(match cause {
            BodyError::Malformed(text) => format!("missing: {text}"),
            invalid => invalid.to_string(),
        })
    })?;
    let name = &login.machine_id;
    let found = lapi.registry.machine_matching(name, |machine| machine.validated).await;
    let Some(machine) = found.map_err(|cause| ApiError::store(&cause, "unable to query"))? else {
        lapi.auth.check_throttle(client, Attempt::UnknownMachine)?;
        lapi.auth.record_attempt(client, Attempt::UnknownMachine);
        return Err(ApiError::unauthorized("ent: machine not found"));
    };
    if machine.auth != AuthType::Password {
        let kind = machine.auth.as_str();
        return Err(ApiError::unauthorized(format!(
            "machine {name} attempted to auth with password but it is configured to use {kind}"
        )));
    }
    if !machine.validated {
        return Err(ApiError::unauthorized(format!("machine {name} not validated")));
    }
    if !lapi.auth.passwords.is_verified(&login.password, &machine.password) {
        verify(lapi, client, &machine, login.password.clone()).await?;
    }
    let machine = with_current_cost(lapi, machine, login.password).await;
    Ok((machine, login.scenarios))
}

/// Hashes the password and compares it, unless too many were wrong.
async fn verify(
    lapi: &Lapi,
    client: &ClientAddress,
    machine: &Arc<Machine>,
    password: String,
) -> Result<(), ApiError> {
    let attempt = Attempt::Login(&machine.name);
    lapi.auth.check_throttle(client, attempt)?;
    lapi.auth.check_throttle(client, Attempt::AnyLogin)?;
    // When a burst of guesses is queued, those that are due after the bucket has emptied are not verified.
    let (still, from, guessed) = (lapi.clone(), client.clone(), Arc::clone(machine));
    let turn = move || still.auth.check_throttle(&from, Attempt::Login(&guessed.name)).is_ok();
    match lapi.auth.passwords.verify(password, machine.password.clone(), turn).await {
        Some(true) => Ok(()),
        Some(false) => {
            lapi.auth.record_attempt(client, attempt);
            lapi.auth.record_attempt(client, Attempt::AnyLogin);
            Err(ApiError::unauthorized(WRONG_CREDENTIALS))
        }
        None => {
            let refused = lapi.auth.check_throttle(client, attempt).err();
            Err(refused.unwrap_or_else(|| ApiError::slow_down(1, "too many attempts")))
        }
    }
}

/// The machine, its password hashed anew if that was done with another cost. When the store fails, the old hash stays.
async fn with_current_cost(lapi: &Lapi, machine: Arc<Machine>, password: String) -> Arc<Machine> {
    if !has_other_cost(&machine.password) {
        return machine;
    }
    let Some(hash) = lapi.auth.passwords.hash(password).await else { return machine };
    match lapi.registry.replace_password(lapi.clock.now(), &machine, hash).await {
        Ok(renewed) => renewed,
        Err(cause) => {
            debug!(
                machine = machine.name,
                error = &cause as &dyn std::error::Error,
                "the password keeps its hash"
            );
            machine
        }
    }
}

async fn with_certificate(
    lapi: &Lapi,
    peer: &Peer,
    client: &ClientAddress,
    body: &[u8],
) -> Result<(Arc<Machine>, Vec<String>), ApiError> {
    let now = lapi.clock.now();
    let admitted = lapi.auth.certificates.load().admit(Role::Machine, peer, now);
    let name = admitted.map_err(|cause| ApiError::unauthorized(cause.to_string()))?;
    let name = format!("{name}@{}", client.text);
    let found = lapi.registry.machine_matching(&name, |_| true).await;
    let machine = match found.map_err(|cause| ApiError::store(&cause, "unable to query"))? {
        Some(machine) if machine.auth == AuthType::Tls => machine,
        Some(machine) => {
            let kind = machine.auth.as_str();
            return Err(ApiError::unauthorized(format!(
                "machine {name} attempted to auth with TLS cert but it is configured to use {kind}"
            )));
        }
        None => {
            info!(machine = name, "adding a machine at its first login with a certificate");
            let new = NewMachine {
                name: name.clone(),
                password: String::new(),
                auth_type: AuthType::Tls.as_str().to_owned(),
                validated: true,
                ip: client.text.clone(),
            };
            match lapi.registry.add_machine(now, new).await {
                Ok(machine) => machine,
                // A concurrent login has added the machine.
                Err(palisade_store::StoreError::Exists { .. }) => lapi
                    .registry
                    .machine_matching(&name, |_| true)
                    .await
                    .ok()
                    .flatten()
                    .filter(|machine| machine.auth == AuthType::Tls)
                    .ok_or_else(|| ApiError::unauthorized(WRONG_CREDENTIALS))?,
                Err(cause) => return Err(ApiError::store(&cause, "unable to insert row")),
            }
        }
    };
    let scenarios = read_certificate_login(body).map_err(|cause| {
        ApiError::unauthorized(format!("missing scenarios list in login request for TLS auth: {cause}"))
    })?;
    Ok((machine, scenarios))
}

/// The version in a User-Agent with exactly one slash.
fn version(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    let (_, version) = agent.split_once('/')?;
    (!version.contains('/')).then(|| version.chars().take(MAX_AGENT_TEXT).collect())
}

fn join_scenarios(scenarios: &[String]) -> String {
    let mut text = String::new();
    for scenario in scenarios {
        if text.len() + scenario.len() + 1 > MAX_SCENARIOS {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(scenario);
    }
    text
}
