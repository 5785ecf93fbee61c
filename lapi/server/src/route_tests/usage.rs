//! Usage metrics.

use axum::body::Body;
use axum::http::Method;
use palisade_store::UsageKind;
use serde_json::{Value, json};

use crate::test_server::{Answer, TestServer};

async fn report(server: &TestServer, body: &Value) -> Answer {
    let mut request = server.with_key(Method::POST, "/v1/usage-metrics", "key-of-door", [192, 0, 2, 10]);
    *request.body_mut() = Body::from(body.to_string());
    server.send(request).await
}

#[tokio::test]
async fn reports_are_kept_and_their_senders_values_are_listed_at_once() {
    let server = TestServer::new().await;
    let windows = json!([{"meta": {"window_size_seconds": 900, "utc_now_timestamp": 1_760_000_900},
        "items": [{"name": "dropped", "unit": "packet", "value": 42, "labels": {"origin": "CAPI"}}]}]);
    let os = json!({"name": "debian", "version": "12", "family": "linux"});
    let bouncer = json!({"remediation_components": [{"type": "fw", "version": "v9", "utc_startup_timestamp": 1,
        "os": os, "feature_flags": ["a", "b"], "metrics": windows}]});
    let answer = report(&server, &bouncer).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (201, ""));
    let rows = server.lapi.store.usage(UsageKind::RemediationComponent, Some("door")).await.unwrap();
    let kept: Value = serde_json::from_str(&rows[0].payload).unwrap();
    assert_eq!(kept, json!({"type": "fw", "metrics": windows}));
    let row = server.lapi.store.bouncer("door").await.unwrap().unwrap();
    assert_eq!(
        (row.version.as_str(), row.os_name.as_str(), row.feature_flags.as_str()),
        ("v9", "debian", "a,b")
    );

    let machine = json!({"log_processors": [{"version": "v1.7.8", "utc_startup_timestamp": 1, "os": os,
        "datasources": {"file": 2}, "hub_items": {"parsers": []}}]});
    assert_eq!(server.post("/v1/usage-metrics", &machine).await.status, 201);
    let row = server.lapi.store.machine("lp").await.unwrap().unwrap();
    assert_eq!((row.version.as_str(), row.datasources.as_str()), ("v1.7.8", r#"{"file":2}"#));
}

#[tokio::test]
async fn faulty_reports_are_refused_with_their_status() {
    let server = TestServer::new().await;
    let sound = json!({"version": "v", "utc_startup_timestamp": 1});
    for (body, status, text) in [
        (json!({}), 400, "Missing remediation component data"),
        (json!({"log_processors": []}), 400, "Missing remediation component data"),
        (
            json!({"remediation_components": [sound, sound]}),
            400,
            "Payload has more than one remediation component",
        ),
        (
            json!({"remediation_components": [{"version": "v"}]}),
            422,
            "validation failure list:\nremediation_components.0.utc_startup_timestamp in body is required",
        ),
    ] {
        assert_eq!(report(&server, &body).await.short(), (status, text.to_owned()), "{body}");
    }
    assert_eq!(server.post("/v1/usage-metrics", &json!({})).await.short().1, "Missing log processor data");
}
