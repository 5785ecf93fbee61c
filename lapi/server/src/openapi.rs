//! The OpenAPI description, generated from the handlers and the wire types and served as JSON.

use axum::response::Response;
use axum::routing::get;
use axum::{Router, http::header, response::IntoResponse};
use bytes::Bytes;
use palisade_wire::{LogProcessor, RemediationComponent};
use std::sync::LazyLock;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::error::JSON;
use crate::state::Lapi;

pub(crate) fn routes() -> Router<Lapi> {
    Router::new().route("/openapi.json", get(describe)).route("/v1/openapi.json", get(describe))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Palisade LAPI",
        description = "The Local API of CrowdSec as implemented by Palisade. Statuses and texts are those of the \
                       stock server, which answers many client errors with 500."
    ),
    paths(
        crate::routes::health::health,
        crate::routes::watchers::register::register,
        crate::routes::watchers::login::login,
        crate::routes::watchers::leave,
        crate::routes::watchers::refresh,
        crate::routes::watchers::heartbeat,
        crate::routes::alerts::add,
        crate::routes::alerts::list,
        crate::routes::alerts::list_head,
        crate::routes::alerts::remove_many,
        crate::routes::alerts::one,
        crate::routes::alerts::one_head,
        crate::routes::alerts::remove,
        crate::routes::decisions::live::query,
        crate::routes::decisions::live::query_head,
        crate::routes::decisions::remove_many,
        crate::routes::decisions::remove,
        crate::routes::decisions::stream::pull,
        crate::routes::decisions::stream::pull_head,
        crate::routes::usage::take,
        crate::routes::allowlists::list,
        crate::routes::allowlists::one,
        crate::routes::allowlists::check,
        crate::routes::allowlists::check_head,
        crate::routes::allowlists::check_many,
    ),
    modifiers(&Keys)
)]
struct Description;

/// Adds the authentication schemes.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("machine", SecurityScheme::Http(token));
        let key = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
        components.add_security_scheme("bouncer", SecurityScheme::ApiKey(key));
    }
}

/// The changes for a bouncer. Apply `deleted` first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written piece by piece")]
pub(crate) struct DecisionStream {
    /// Decisions in force from now on.
    new: Vec<StreamDecision>,
    /// Decisions no longer in force.
    deleted: Vec<StreamDecision>,
}

/// A usage report: one entry, in the list of its sender's kind.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is read leniently")]
pub(crate) struct UsagePost {
    /// From a bouncer.
    remediation_components: Option<Vec<RemediationComponent>>,
    /// From a log processor.
    log_processors: Option<Vec<LogProcessor>>,
}

/// A decision as sent to bouncers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written piece by piece")]
pub(crate) struct StreamDecision {
    /// Time left, such as `3h59m58s`; zero or negative in `deleted`.
    duration: String,
    id: i64,
    /// `crowdsec`, `cscli`, `lists`, `CAPI`, ….
    origin: String,
    /// The scenario, the list's name, or a free-text reason.
    scenario: String,
    /// `Ip`, `Range`, `Country`, `AS`, or another scope.
    scope: String,
    /// `ban`, `captcha`, or another remediation.
    #[schema(rename = "type")]
    kind: String,
    /// Only in streams.
    uuid: Option<String>,
    /// The address, range, country and so on.
    value: String,
}

/// The description as JSON. Generated from constants, so it never fails in practice.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| match Description::openapi().to_json() {
    Ok(text) => text.into(),
    Err(error) => {
        tracing::error!(%error, "cannot serialise the OpenAPI description");
        Bytes::from_static(b"{}")
    }
});

async fn describe() -> Response {
    ([(header::CONTENT_TYPE, JSON)], TEXT.clone()).into_response()
}
