//! The OpenAPI description.

use crate::test_server::TestServer;

/// Every route of the LAPI.
pub(super) const ROUTES: &[(&str, &[&str])] = &[
    ("/health", &["get"]),
    ("/v1/watchers", &["post"]),
    ("/v1/watchers/login", &["post"]),
    ("/v1/watchers/self", &["delete"]),
    ("/v1/refresh_token", &["get"]),
    ("/v1/heartbeat", &["get"]),
    ("/v1/alerts", &["delete", "get", "head", "post"]),
    ("/v1/alerts/{alert_id}", &["delete", "get", "head"]),
    ("/v1/decisions", &["delete", "get", "head"]),
    ("/v1/decisions/{decision_id}", &["delete"]),
    ("/v1/decisions/stream", &["get", "head"]),
    ("/v1/usage-metrics", &["post"]),
    ("/v1/allowlists", &["get"]),
    ("/v1/allowlists/{allowlist_name}", &["get"]),
    ("/v1/allowlists/check/{ip_or_range}", &["get", "head"]),
    ("/v1/allowlists/check", &["post"]),
];

#[tokio::test]
async fn every_route_is_described_and_no_other() {
    let server = TestServer::new().await;
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
    let body = answer.json();
    let paths = body["paths"].as_object().unwrap();
    let described: Vec<(&str, Vec<&str>)> = paths
        .iter()
        .map(|(path, methods)| {
            let mut methods: Vec<&str> = methods.as_object().unwrap().keys().map(String::as_str).collect();
            methods.sort_unstable();
            (path.as_str(), methods)
        })
        .collect();
    for (path, methods) in ROUTES {
        let found = described.iter().find(|(described, _)| described == path);
        assert_eq!(found.map(|(_, methods)| methods.as_slice()), Some(*methods), "{path}");
    }
    assert_eq!(described.len(), ROUTES.len());
    assert!(body["components"]["schemas"]["Alert"]["properties"]["scenario"].is_object());
    for schema in ["StreamDecision", "LogProcessor", "CheckAnswer", "LoginAnswer"] {
        assert!(body["components"]["schemas"][schema].is_object(), "{schema}");
    }
}
