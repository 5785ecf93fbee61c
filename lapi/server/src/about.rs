//! Describes this LAPI in headers of the responses to authenticated requests that ask for it; see
//! [`palisade_wire::about`].

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use palisade_store::Engine;
use palisade_wire::about::{LapiState, STATE_HEADER, VERSION_HEADER};

use crate::cli::VERSION;
use crate::state::Lapi;

/// The routes whose responses have the version: the one that a bouncer's check uses, and the login.
const ROUTES: [&str; 2] = ["/v1/decisions", "/v1/watchers/login"];

/// Whether a request asks for the headers.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION_HEADER)
}

/// Adds the version, unless the client is unauthenticated.
pub(crate) fn add_version(route: &str, response: &mut Response) {
    // A bad parameter is found after authentication, so 500 is an answer to a known client.
    let is_known = matches!(response.status(), StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR);
    if is_known && ROUTES.contains(&route) {
        let version = HeaderValue::from_static(VERSION);
        response.headers_mut().insert(HeaderName::from_static(VERSION_HEADER), version);
    }
}

/// Adds what this LAPI holds; only for machines.
pub(crate) async fn add_state(lapi: &Lapi, response: &mut Response) {
    let (machines, bouncers) = lapi.registry.len();
    let (view, now) = (lapi.replication.view(), lapi.clock.now());
    // Counting many decisions takes a moment.
    let counted = tokio::task::spawn_blocking(move || view.counts(now).iter().map(|count| count.count).sum());
    let state = LapiState {
        database: match lapi.config.database.as_ref().map(|database| &database.store.engine) {
            Some(Engine::Sqlite { .. }) => "sqlite".to_owned(),
            Some(Engine::Postgres(_)) => "postgresql".to_owned(),
            None => "unknown".to_owned(),
        },
        machines: machines as u64,
        bouncers: bouncers as u64,
        decisions: counted.await.unwrap_or_default(),
        waiting: lapi.long_poll.waiters(),
    };
    if let Ok(value) = HeaderValue::from_str(&state.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(STATE_HEADER), value);
    }
}
