//! The OpenAPI description, generated from the handlers and the wire types and served as JSON.

use axum::response::Response;
use axum::routing::get;
use axum::{Router, http::header, response::IntoResponse};
use bytes::Bytes;
use std::sync::LazyLock;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::response::JSON;
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
        crate::routes::watchers::token::refresh,
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
