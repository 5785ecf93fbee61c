//! Writes the access log: a line for each request that was answered.

use std::time::{Duration, SystemTime};

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, Version, header},
};
use palisade_daemon::{listen::Peer, logs::AccessEntry};

use super::label::NO_ROUTE;
use crate::{auth::address::ClientAddress, state::Lapi};

/// Routes that ask for no credentials.
const OPEN_ROUTES: [&str; 2] = ["/health", "/openapi.json"];
/// Routes on which credentials are made or shown.
const LOGIN_ROUTES: [&str; 2] = ["/v1/watchers", "/v1/watchers/login"];

/// The request's part of a line. Cheap: the request's texts are shared and not copied.
pub(super) struct AccessRequest {
    client: String,
    method: Method,
    uri: Uri,
    version: Version,
    agent: Option<HeaderValue>,
}

impl AccessRequest {
    pub(super) fn of(lapi: &Lapi, request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>();
        let find = |peer| ClientAddress::find(peer, request.headers(), &lapi.server.trusted_proxies).text;
        Self {
            client: peer.map(find).unwrap_or_default(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            agent: request.headers().get(header::USER_AGENT).cloned(),
        }
    }

    pub(super) fn write(self, lapi: &Lapi, route: &str, status: StatusCode, took: Duration) {
        let Self { client, method, uri, version, agent } = self;
        let entry = AccessEntry { client, method, uri, version, agent, status, took, at: SystemTime::now() };
        lapi.access.write(entry, is_of_stranger(route, status));
    }
}

/// Whether the client has not shown valid credentials: such requests cost nothing and may be many.
fn is_of_stranger(route: &str, status: StatusCode) -> bool {
    const REFUSED: [StatusCode; 3] =
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
    route == NO_ROUTE
        || OPEN_ROUTES.contains(&route)
        || REFUSED.contains(&status)
        || (LOGIN_ROUTES.contains(&route) && status.is_client_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_known_by_what_they_are_answered() {
        for (route, status, is_stranger) in [
            ("/v1/heartbeat", 200, false),
            ("/v1/alerts", 500, false),
            ("/v1/alerts/{alert_id}", 404, false),
            ("/v1/decisions/stream", 403, true),
            ("/v1/alerts", 401, true),
            ("/v1/watchers/login", 200, false),
            ("/v1/watchers/login", 400, true),
            ("/v1/watchers", 422, true),
            ("/v1/watchers", 201, false),
            ("/health", 200, true),
            (NO_ROUTE, 404, true),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_of_stranger(route, status), is_stranger, "{route} {status}");
        }
    }
}
