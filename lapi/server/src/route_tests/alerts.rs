//! Posting, finding and reading alerts.

use axum::http::{Method, StatusCode};
use palisade_wire::UnixMillis;
use serde_json::{Value, json};

use crate::test_server::TestServer;

#[tokio::test]
async fn an_alert_becomes_a_decision_by_profile_and_can_be_read_back() {
    let server = TestServer::new().await;
    let mut alert = server.alert("192.0.2.1");
    alert["events"] = json!([{"timestamp": "2026-07-01T10:00:00Z", "meta": [{"key": "a", "value": "b"}]}]);
    alert["labels"] = json!(["x"]);
    let answer = server.post("/v1/alerts", &json!([alert])).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(answer.json(), json!(["1"]));

    let read = server.get("/v1/alerts/1").await.json();
    assert_eq!(
        read["decisions"],
        json!([{"duration": "4h0m0s", "id": 1, "origin": "crowdsec", "scenario": "crowdsecurity/ssh-bf",
                "scope": "Ip", "simulated": false, "type": "ban", "value": "192.0.2.1"}])
    );
    assert_eq!(read["events"][0]["timestamp"], "2026-07-01 10:00:00 +0000 UTC");
    assert_eq!((&read["labels"], &read["machine_id"]), (&Value::Null, &json!("lp")));
    assert_eq!(server.pull("?startup=true").await.0, ["192.0.2.1"]);
    assert_eq!(server.get("/v1/alerts").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_duration_is_refused_with_the_stock_servers_text() {
    let server = TestServer::new().await;
    let soon = server.by_hand(&[server.decision("192.0.2.1", "soon")]);
    let (status, text) = server.machine(Method::POST, "/v1/alerts", json!([soon]).to_string()).await.short();
    assert_eq!(status, 500);
    let rest = text.strip_prefix("machine \"lp\": building decisions for alert ").unwrap_or(&text);
    let (uuid, rest) = rest.split_once(": ").unwrap();
    assert_eq!(uuid.len(), 36, "{text}");
    assert_eq!(
        rest,
        "creating alert decisions: decision duration 'soon': time: invalid duration \"soon\": unable to parse duration"
    );
}

#[tokio::test]
async fn refusals_have_the_stock_servers_statuses_and_texts() {
    let server = TestServer::new().await;
    let mut no_message = server.alert("192.0.2.1");
    no_message.as_object_mut().unwrap().remove("message");
    let mut no_scope = server.alert("192.0.2.1");
    no_scope["source"].as_object_mut().unwrap().remove("scope");
    let heading = "validation failure list:\n";
    for (body, status, text) in [
        ("[]".to_owned(), 201, "[]".to_owned()),
        ("null".into(), 201, "[]".into()),
        (json!([no_message]).to_string(), 500, format!("{heading}0.message in body is required")),
        (json!([no_scope]).to_string(), 500, format!("{heading}0.source.scope in body is required")),
    ] {
        let answer = server.machine(Method::POST, "/v1/alerts", body.clone()).await;
        assert_eq!(answer.short(), (status, text), "{body}");
    }
    for (body, status) in
        [("[null]", 500), ("", 400), ("{}", 400), ("hello", 400), (r#"[{"message":1}]"#, 400)]
    {
        assert_eq!(server.machine(Method::POST, "/v1/alerts", body).await.status, status, "{body}");
    }
    for (path, status, text) in [
        ("/v1/alerts/x", 400, "alert_id must be valid integer"),
        ("/v1/alerts/9", 404, "object not found"),
        ("/v1/alerts?test=1", 500, "filter parameter 'test' is unknown (=1): invalid filter"),
        ("/v1/alerts", 200, "null"),
    ] {
        assert_eq!(server.get(path).await.short(), (status, text.to_owned()), "{path}");
        let head = server.machine(Method::HEAD, path, "").await;
        assert_eq!(head.status.as_u16(), status, "HEAD {path}");
    }
}

#[tokio::test]
async fn days_zones_and_scopes_are_understood() {
    let server = TestServer::new().await;
    let mut alert = server.by_hand(&[server.decision("192.0.2.1", "1d")]);
    alert["decisions"][0]["scope"] = json!("ip");
    // An hour later by its zone's clock, but the same time.
    let here = server.now().rfc3339().replace('Z', "+00:00");
    alert["stop_at"] = json!(here);
    server.post_alerts(&[alert]).await;
    let read = server.get("/v1/alerts/1").await.json();
    assert_eq!(
        (&read["decisions"][0]["scope"], &read["decisions"][0]["duration"]),
        (&json!("Ip"), &json!("24h0m0s"))
    );
}

#[tokio::test]
async fn decisions_about_no_address_are_dropped_and_an_alert_of_only_such_with_them() {
    let server = TestServer::new().await;
    let good = server.decision("192.0.2.1", "1h");
    let bad = server.decision("no address", "1h");
    let mixed = server.by_hand(&[good, bad.clone()]);
    let hopeless = server.by_hand(&[bad]);
    assert_eq!(server.post_alerts(&[mixed, hopeless]).await, ["1"]);
    assert_eq!(server.get("/v1/alerts/1").await.json()["decisions"].as_array().unwrap().len(), 1);
    assert_eq!(server.lapi.metrics.ingest.invalid_decisions.get(), 2);
}

#[tokio::test]
async fn decisions_that_are_over_when_they_arrive_are_stored_and_counted() {
    let server = TestServer::with(
        "name: past\nfilters: [\"Alert.Remediation == true\"]\ndecisions: [{type: ban, duration: -4h}]\non_success: break\n",
        "",
    )
    .await;
    let ended = || server.lapi.metrics.ingest.ended_decisions.get();
    for duration in ["0s", "-1h"] {
        server.ban("192.0.2.1", duration).await;
    }
    assert_eq!(ended(), 2);
    // A sender whose clock is five hours behind.
    let mut late = server.by_hand(&[server.decision("192.0.2.2", "4h")]);
    late["stop_at"] = json!(UnixMillis(server.now().0 - 5 * 3_600_000).rfc3339());
    server.post_alerts(&[late]).await;
    assert_eq!(ended(), 3);
    server.post_alerts(&[server.alert("192.0.2.3")]).await;
    assert_eq!(ended(), 4);
    server.ban("192.0.2.4", "1h").await;
    assert_eq!(ended(), 4);
    assert_eq!(server.pull("?startup=true").await.0, ["192.0.2.4"]);
}

#[tokio::test]
async fn an_allowlisted_source_is_passed_over_but_a_ban_by_hand_is_taken() {
    let server = TestServer::new().await;
    server.allow("office", &["192.0.2.0/24"]).await;
    assert_eq!(server.post_alerts(&[server.alert("192.0.2.1"), server.alert("198.51.100.1")]).await, ["1"]);
    assert_eq!(server.lapi.metrics.ingest.allowlisted.get(), 1);
    assert_eq!(server.ban("192.0.2.1", "1h").await, "2");
    assert_eq!(server.pull("?startup=true").await.0, ["198.51.100.1", "192.0.2.1"]);
}

#[tokio::test]
async fn an_import_of_many_decisions_is_whole_and_ordered() {
    let server = TestServer::new().await;
    let decisions: Vec<Value> = (0..12_000)
        .map(|n| {
            let mut one = server.decision(&format!("10.1.{}.{}", n / 250, n % 250), "24h");
            one["origin"] = json!("cscli-import");
            one
        })
        .collect();
    assert_eq!(server.post_alerts(&[server.by_hand(&decisions)]).await, ["1"]);
    assert_eq!(server.pull("").await.0.len(), 12_000);
    assert_eq!(server.pull("").await, (vec![], vec![]));
    assert!(!server.lapi.ingest.import_in_progress());
}
