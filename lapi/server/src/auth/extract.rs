//! Extractors that authenticate a request: an address, a machine's token, a bouncer's key or certificate.

use std::{ops::Deref, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
};
use palisade_daemon::listen::Peer;
use palisade_service::registry::{self, Refusal};
use palisade_store::{BouncerUpdate, hash_key};
use palisade_wire::UnixMillis;
use tracing::{error, info, warn};

use super::{address::ClientAddress, certificate::Role, token::TokenError, token_machine::machine_of};
use crate::{
    error::ApiError,
    limits::MAX_AGENT_TEXT,
    log_limits::{AGENTS, BOUNCERS},
    router::label::RouteLabel,
    state::Lapi,
};

impl FromRequestParts<Lapi> for ClientAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        Ok(Self::of(parts.extensions.get::<Peer>(), &parts.headers, &lapi.server.trusted_proxies))
    }
}

/// A client that may delete alerts: in `trusted_ips`, on this host, or on the unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustedAddress(pub(crate) ClientAddress);

impl FromRequestParts<Lapi> for TrustedAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let client = ClientAddress::from_request_parts(parts, lapi).await?;
        if client.is_local() || client.ip.is_some_and(|ip| lapi.server.trusted_ips.contains(ip)) {
            return Ok(Self(client));
        }
        info!(client = %client.text, "alert deletion refused: the address is not in api.server.trusted_ips");
        let text =
            format!("access forbidden from this IP ({}): it is not in api.server.trusted_ips", client.text);
        Err(ApiError::message(StatusCode::FORBIDDEN, text))
    }
}

/// A request from a machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine(pub(crate) Arc<registry::Machine>);

/// A request from a bouncer.
#[derive(Debug, Clone)]
pub(crate) struct Bouncer(pub(crate) Arc<registry::Bouncer>);

/// A request from a machine or a bouncer.
#[derive(Debug, Clone)]
pub(crate) enum MachineOrBouncer {
    Machine(Machine),
    Bouncer(Bouncer),
}

impl Deref for Machine {
    type Target = registry::Machine;

    fn deref(&self) -> &registry::Machine {
        &self.0
    }
}

impl Deref for Bouncer {
    type Target = registry::Bouncer;

    fn deref(&self) -> &registry::Bouncer {
        &self.0
    }
}

impl FromRequestParts<Lapi> for Machine {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let machine = Self::authenticate(parts, lapi).await?;
        let (route, method) = RouteLabel::of(parts);
        lapi.metrics.machine(&machine.name, route, method);
        Ok(machine)
    }
}

impl Machine {
    async fn authenticate(parts: &Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let refused = |cause: TokenError| ApiError::unauthorized(cause.to_string());
        let token = bearer(&parts.headers).ok_or(TokenError::Missing).map_err(refused)?;
        let claims = lapi.auth.tokens.check(token, lapi.clock.now()).map_err(refused)?;
        let machine = machine_of(lapi, &claims, parts.extensions.get::<Peer>()).await?;
        lapi.registry.activity.record_machine_seen(&machine, lapi.clock.now());
        record_authenticated(parts);
        Ok(Self(machine))
    }
}

fn record_authenticated(parts: &Parts) {
    if let Some(peer) = parts.extensions.get::<Peer>() {
        peer.authenticated();
    }
}

/// The token of a request, from the `Authorization` header, else from the cookie.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) =
        header.and_then(|text| text.strip_prefix("Bearer ")).filter(|token| !token.is_empty())
    {
        return Some(token);
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("jwt="))
        .filter(|token| !token.is_empty())
}

impl FromRequestParts<Lapi> for Bouncer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let bouncer = Self::authenticate(parts, lapi).await?;
        let (route, method) = RouteLabel::of(parts);
        lapi.metrics.bouncer(&bouncer.name, route, method);
        Ok(bouncer)
    }
}

impl Bouncer {
    async fn authenticate(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let client = ClientAddress::from_request_parts(parts, lapi).await?;
        let now = lapi.clock.now();
        let peer = parts.extensions.get::<Peer>().cloned();
        let found = match peer.filter(|peer| !peer.certificates.is_empty()) {
            Some(peer) => by_certificate(lapi, &peer, &client, now).await?,
            None => {
                let key = parts.headers.get("x-api-key").map(|value| value.as_bytes());
                let Some(key) = key.filter(|key| !key.is_empty()) else {
                    return Err(ApiError::forbidden());
                };
                let key = hash_key(key);
                if parts.method == Method::HEAD {
                    lapi.registry.bouncer_by_key(&key).await
                } else {
                    lapi.registry.bouncer_at(now, &key, &client.text).await
                }
            }
        };
        let bouncer = found.map_err(|refusal| refused(&refusal, &client))?;
        if parts.method != Method::HEAD {
            note_agent(lapi, &bouncer, &parts.headers);
        }
        lapi.registry.activity.record_bouncer_seen(&bouncer, now);
        record_authenticated(parts);
        Ok(Self(bouncer))
    }
}

async fn by_certificate(
    lapi: &Lapi,
    peer: &Peer,
    client: &ClientAddress,
    now: UnixMillis,
) -> Result<Result<Arc<registry::Bouncer>, Refusal>, ApiError> {
    match lapi.auth.certificates.load().admit(Role::Bouncer, peer, now) {
        Ok(name) => {
            let name = format!("{name}@{}", client.text);
            Ok(lapi.registry.bouncer_with_certificate(now, &name, &client.text).await)
        }
        Err(cause) => {
            if BOUNCERS.allows() {
                warn!(client = %client.text, "bouncer refused: {cause}");
            }
            Err(ApiError::forbidden())
        }
    }
}

fn refused(refusal: &Refusal, client: &ClientAddress) -> ApiError {
    match refusal {
        Refusal::Unknown => {
            if BOUNCERS.allows() {
                info!(client = %client.text, "bouncer refused: its key is unknown");
            }
            ApiError::forbidden()
        }
        Refusal::NameTaken(_) => {
            if BOUNCERS.allows() {
                error!(client = %client.text, "bouncer refused: {refusal}");
            }
            ApiError::forbidden()
        }
        Refusal::Store(cause) => ApiError::store(cause, "unable to query"),
    }
}

/// The client's User-Agent, split.
pub(crate) struct Agent {
    /// The part before the slash.
    pub(crate) kind: String,
    /// The part after the slash.
    pub(crate) version: String,
    /// Whether the User-Agent does not have exactly one slash.
    odd: bool,
}

impl Agent {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let agent = agent.as_deref().unwrap_or_default();
        let (kind, version, odd) = match agent.split_once('/') {
            Some((kind, version)) if !version.contains('/') => (kind, version, false),
            _ => (agent, "N/A", true),
        };
        let keep = |text: &str| text.chars().take(MAX_AGENT_TEXT).collect();
        Self { kind: keep(kind), version: keep(version), odd }
    }
}

/// Records the bouncer's User-Agent when it has changed.
fn note_agent(lapi: &Lapi, bouncer: &registry::Bouncer, headers: &HeaderMap) {
    let Agent { kind, version, odd } = Agent::of(headers);
    if bouncer.is_agent(&kind, &version) {
        return;
    }
    if odd && AGENTS.allows() {
        let agent = kind.as_str();
        warn!(bouncer = bouncer.name, agent, "bad user agent; it should be of the form name/version");
    }
    let update = BouncerUpdate { kind: Some(kind), version: Some(version), ..BouncerUpdate::default() };
    lapi.registry.activity.record_bouncer(bouncer, update);
}

impl FromRequestParts<Lapi> for MachineOrBouncer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let key = header("x-api-key").is_some_and(|key| !key.is_empty());
        let token = header("authorization").is_some_and(|token| !token.is_empty());
        let machine = header("user-agent").is_some_and(|agent| agent.starts_with("crowdsec/"));
        // Not counted by client: as in the stock server, those counters are about alerts and decisions.
        if !key && (token || machine) {
            Machine::authenticate(parts, lapi).await.map(Self::Machine)
        } else {
            Bouncer::authenticate(parts, lapi).await.map(Self::Bouncer)
        }
    }
}
