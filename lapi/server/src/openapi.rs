//! The OpenAPI description, generated from the handlers and the wire types and served as JSON.

use axum::http::header;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use crate::response::JSON;
use crate::state::Lapi;

/// Where the description is served.
pub(crate) const PATHS: [&str; 2] = ["/openapi.json", "/v1/openapi.json"];

/// The description without its routes.
pub(crate) fn base() -> OpenApi {
    Description::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Palisade LAPI",
        description = "The Local API of CrowdSec as implemented by Palisade. Statuses and texts are those of the \
                       stock server, which answers many client errors with 500."
    ),
    modifiers(&Keys)
)]
struct Description;

/// Adds the authentication schemes.
struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut OpenApi) {
        let components = api.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("machine", SecurityScheme::Http(token));
        let key = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
        components.add_security_scheme("bouncer", SecurityScheme::ApiKey(key));
    }
}

/// Serves the description as JSON.
pub(crate) fn serve(description: &OpenApi) -> MethodRouter<Lapi> {
    let text = description.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot serialise the OpenAPI description");
        "{}".to_owned()
    });
    let text = Bytes::from(text);
    get(async move || ([(header::CONTENT_TYPE, JSON)], text))
}
