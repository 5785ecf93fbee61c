//! Handlers' arguments that say who asks.

use std::{ops::Deref, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{error::ApiError, roster, state::Lapi};

/// The machine that asks.
#[derive(Debug, Clone)]
pub struct Machine(pub Arc<roster::Machine>);

/// The bouncer that asks.
#[derive(Debug, Clone)]
pub struct Bouncer(pub Arc<roster::Bouncer>);

/// A machine or a bouncer.
#[derive(Debug, Clone)]
pub enum Either {
    /// A machine.
    Machine(Machine),
    /// A bouncer.
    Bouncer(Bouncer),
}

impl Deref for Machine {
    type Target = roster::Machine;

    fn deref(&self) -> &roster::Machine {
        &self.0
    }
}

impl Deref for Bouncer {
    type Target = roster::Bouncer;

    fn deref(&self) -> &roster::Bouncer {
        &self.0
    }
}

impl FromRequestParts<Lapi> for Machine {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, _: &Lapi) -> Result<Self, ApiError> {
        Err(ApiError::unauthorized("cookie token is empty"))
    }
}

impl FromRequestParts<Lapi> for Bouncer {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, _: &Lapi) -> Result<Self, ApiError> {
        Err(ApiError::forbidden())
    }
}

impl FromRequestParts<Lapi> for Either {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, lapi: &Lapi) -> Result<Self, ApiError> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let key = header("x-api-key").is_some_and(|key| !key.is_empty());
        let token = header("authorization").is_some_and(|token| !token.is_empty());
        let machine = header("user-agent").is_some_and(|agent| agent.starts_with("crowdsec/"));
        if !key && (token || machine) {
            Machine::from_request_parts(parts, lapi).await.map(Self::Machine)
        } else {
            Bouncer::from_request_parts(parts, lapi).await.map(Self::Bouncer)
        }
    }
}
