//! Middleware around every request.

use axum::{Router, routing::get};

use super::{TABLE, around};
use crate::test_server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_route_is_answered_with_nothing() {
    let lapi = TestServer::configured("").await;
    for (what, status, header) in [
        ("GET /", 404, None),
        ("GET /v2/alerts", 404, None),
        ("PUT /v1/alerts", 405, Some(("allow", "DELETE, GET, HEAD, POST"))),
        ("HEAD /v1/heartbeat", 405, Some(("allow", "GET"))),
        ("HEAD /v1/alerts/", 307, Some(("location", "/v1/alerts"))),
        ("POST /v1/watchers/", 307, Some(("location", "/v1/watchers"))),
    ] {
        let answer = lapi.request("192.0.2.1", what, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, ""), "{what}");
        if let Some((name, value)) = header {
            assert_eq!(answer.headers[name], value, "{what}");
        }
    }
    // A browser gets a page with the redirect, as from Go.
    let moved = lapi.request("192.0.2.1", "GET /v1/alerts/?a=1&b='", &[], "").await;
    let page = "<a href=\"/v1/alerts?a=1&amp;b=&#39;\">Moved Permanently</a>.\n\n";
    assert_eq!((moved.status.as_u16(), moved.text.as_str()), (301, page));
    assert_eq!(moved.headers["location"], "/v1/alerts?a=1&b='");
    assert_eq!(moved.headers["content-type"], "text/html; charset=utf-8");
    let health = lapi.request("192.0.2.1", "GET /health", &[], "").await;
    assert_eq!(health.short(), (200, r#"{"status":"up"}"#.to_owned()));
    assert_eq!(health.headers["cache-control"], "no-cache");
    assert_eq!(health.headers["content-type"], "application/json; charset=utf-8");
    let text = lapi.metrics.text();
    for line in [
        r#"cs_lapi_route_requests_total{route="invalid-endpoint",method="PUT"} 1"#,
        r#"cs_lapi_route_requests_total{route="/health",method="GET"} 1"#,
        r#"cs_info{version="v"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_500_with_nothing_and_the_next_request_is_served() {
    let mut lapi = TestServer::configured("").await;
    async fn fall() -> &'static str {
        if std::hint::black_box(true) { panic!("on purpose") } else { "" }
    }
    lapi.router = around(Router::new().route("/health", get(fall)), TABLE.get().unwrap(), lapi.lapi.clone());
    for _ in 0..2 {
        let answer = lapi.request("192.0.2.1", "GET /health", &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (500, ""));
    }
    assert!(lapi.metrics.text().contains("palisade_lapi_panics_total 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_proxies_and_trusted_addresses() {
    let lapi =
        TestServer::configured("    trusted_proxies: [192.0.2.1]\n    trusted_ips: [198.51.100.0/24]\n")
            .await;
    let token = format!("authorization: Bearer {}", lapi.register("m").await);
    let delete = "DELETE /v1/alerts?scope=Nothing";
    for (from, forwarded, status) in [
        ("192.0.2.1", "x-forwarded-for: 198.51.100.7", 200),
        ("192.0.2.1", "x-forwarded-for: 203.0.113.7", 403),
        ("203.0.113.1", "x-forwarded-for: 198.51.100.7", 403),
        ("::1", "x-other: y", 200),
    ] {
        let answer = lapi.request(from, delete, &[&token, forwarded], "").await;
        assert_eq!(answer.status, status, "{from} {forwarded} {answer:?}");
    }
    let answer = lapi.request("203.0.113.1", delete, &[&token], "").await;
    assert_eq!(
        answer.short(),
        (403, "access forbidden from this IP (203.0.113.1): it is not in api.server.trusted_ips".to_owned())
    );
    // A missing token is reported first.
    assert_eq!(lapi.request("203.0.113.1", delete, &[], "").await.status, 401);
}
