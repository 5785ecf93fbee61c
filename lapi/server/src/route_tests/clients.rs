//! What is listed and counted of machines and bouncers.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request},
};
use palisade_store::Bouncer;
use serde_json::json;

use crate::test_server::{KEY, TestServer};

/// A request of the bouncer `door` from an address of its own, so that it is the first of a row.
async fn bouncer_row(server: &TestServer, request: Request<Body>, name: &str) -> Bouncer {
    let answer = server.send(request).await;
    assert!(answer.status.is_success(), "{answer:?}");
    server.lapi.store.bouncer(name).await.unwrap().unwrap()
}

// No writer runs beside the requests of these tests: the database has what a request has written itself.

#[tokio::test]
async fn the_first_values_of_a_bouncer_are_listed_at_once_and_later_ones_are_batched() {
    let server = TestServer::new().await;
    for (path, from, name) in [
        ("/v1/decisions/stream?startup=true", 10, "door"),
        ("/v1/decisions/stream?cursor=", 11, "door@192.0.2.11"),
        ("/v1/decisions?ip=192.0.2.1", 12, "door@192.0.2.12"),
    ] {
        let request = || server.with_key(Method::GET, path, KEY, [192, 0, 2, from]);
        let first = server.now();
        let row = bouncer_row(&server, request(), name).await;
        assert_eq!((row.last_pull, row.kind.as_str()), (Some(first), "test-bouncer"), "{path}");
        assert_eq!((row.version.as_str(), row.ip), ("v1.0", format!("192.0.2.{from}")), "{path}");
        server.pass(Duration::from_secs(61));
        let row = bouncer_row(&server, request(), name).await;
        assert_eq!(row.last_pull, Some(first), "{path}: no write for each request");
        server.lapi.registry.activity.write_back(server.now()).await.unwrap();
        let row = server.lapi.store.bouncer(name).await.unwrap().unwrap();
        assert_eq!(row.last_pull, Some(server.now()), "{path}");
    }
}

#[tokio::test]
async fn the_first_values_of_a_machine_are_listed_at_once_and_later_ones_are_batched() {
    let server = TestServer::new().await;
    let token = server.register("m").await;
    let row = async || server.lapi.store.machine("m").await.unwrap().unwrap();
    let listed = row().await;
    assert_eq!((listed.ip.as_str(), listed.version.as_str()), ("127.0.0.1", "v1"));
    assert_eq!(listed.last_heartbeat, None);
    let first = server.now();
    let bearer = format!("authorization: Bearer {token}");
    let beat = async || server.request("127.0.0.1", "GET /v1/heartbeat", &[&bearer], "").await;
    assert_eq!(beat().await.status, 200);
    assert_eq!(row().await.last_heartbeat, Some(first));
    server.pass(Duration::from_secs(60));
    assert_eq!(beat().await.status, 200);
    assert_eq!(row().await.last_heartbeat, Some(first), "no write for each heartbeat");
    server.lapi.registry.activity.write_back(server.now()).await.unwrap();
    assert_eq!(row().await.last_heartbeat, Some(server.now()));
}

#[tokio::test]
async fn first_values_that_cannot_be_written_are_kept() {
    let server = TestServer::new().await;
    server.pull("").await;
    server.lapi.store.close().await;
    // A new address needs a row, and is refused without a database; the known one is served.
    assert_eq!(server.get("/v1/heartbeat").await.status, 200);
    server.pull("").await;
    assert!(server.lapi.registry.activity.write_back(server.now()).await.is_err(), "still to be written");
}

#[tokio::test]
async fn requests_are_counted_by_client_where_the_stock_server_counts_them() {
    let server = TestServer::new().await;
    server.bouncer(Method::GET, "/v1/decisions/stream").await;
    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    server.bouncer(Method::HEAD, "/v1/decisions").await;
    server.get("/v1/heartbeat").await;
    let sound = json!({"version": "v", "utc_startup_timestamp": 1, "datasources": {}, "hub_items": {}});
    let mut report = server.with_key(Method::POST, "/v1/usage-metrics", KEY, [192, 0, 2, 10]);
    *report.body_mut() = Body::from(json!({"remediation_components": [sound]}).to_string());
    assert_eq!(server.send(report).await.status, 201);
    let report = json!({"log_processors": [sound]});
    assert_eq!(server.post("/v1/usage-metrics", &report).await.status, 201);

    let text = server.metrics.text();
    let series = |name: &str| -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(
        series("cs_lapi_bouncer_requests_total"),
        [
            r#"cs_lapi_bouncer_requests_total{bouncer="door",route="/v1/decisions",method="GET"} 1"#,
            r#"cs_lapi_bouncer_requests_total{bouncer="door",route="/v1/decisions",method="HEAD"} 1"#,
            r#"cs_lapi_bouncer_requests_total{bouncer="door",route="/v1/decisions/stream",method="GET"} 1"#,
        ]
    );
    assert_eq!(
        series("cs_lapi_machine_requests_total"),
        [r#"cs_lapi_machine_requests_total{machine="lp",route="/v1/heartbeat",method="GET"} 1"#]
    );
    assert_eq!(
        series("cs_lapi_route_requests_total{route=\"/v1/usage"),
        [r#"cs_lapi_route_requests_total{route="/v1/usage-metrics",method="POST"} 2"#]
    );
    assert_eq!(
        series("cs_lapi_decisions_"),
        [r#"cs_lapi_decisions_ko_total{bouncer="door"} 2"#],
        "live queries only"
    );
    assert_eq!(
        series("cs_lapi_request_duration_seconds_count{endpoint=\"/v1/heartbeat"),
        [r#"cs_lapi_request_duration_seconds_count{endpoint="/v1/heartbeat",method="GET"} 1"#]
    );

    let bounds: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.starts_with("cs_lapi_request_duration_seconds_bucket") && line.contains("heartbeat")
        })
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
        .collect();
    let stock =
        ["0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.2", "0.3", "0.4", "0.5", "0.75", "1.0", "+Inf"];
    assert_eq!(bounds, stock);
}

#[tokio::test]
async fn the_last_heartbeat_of_each_machine_is_a_gauge_until_the_machine_is_gone() {
    let server = TestServer::new().await;
    let gauge = |machine: &str| {
        server.lapi.metrics.show_clients(&server.lapi.registry);
        let start = format!("cs_machines_last_heartbeat_timestamp{{machine=\"{machine}\"}} ");
        server.metrics.text().lines().find_map(|line| line.strip_prefix(&start)?.parse::<i64>().ok())
    };
    assert_eq!(gauge("lp"), None, "none yet");
    server.get("/v1/heartbeat").await;
    assert_eq!(gauge("lp"), Some(server.now().0 / 1000));
    server.pass(Duration::from_secs(60));
    server.get("/v1/heartbeat").await;
    assert_eq!(gauge("lp"), Some(server.now().0 / 1000));

    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    server.lapi.store.delete_machine("lp").await.unwrap();
    server.lapi.store.delete_bouncer("door").await.unwrap();
    server.lapi.registry.refresh().await.unwrap();
    assert_eq!(gauge("lp"), None);
    let text = server.metrics.text();
    assert!(!text.contains("machine=\"lp\"") && !text.contains("bouncer=\"door\""), "{text}");
}
