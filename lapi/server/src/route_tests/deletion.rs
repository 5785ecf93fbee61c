//! Every kind of deletion reaches bouncers.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use crate::test_server::{PROFILES, TestServer};

#[tokio::test]
async fn deletions_are_refused_with_the_stock_servers_statuses_and_texts() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    for (path, status, text) in [
        ("/v1/decisions/x", 400, "decision_id must be valid integer"),
        ("/v1/decisions/1.0", 400, "decision_id must be valid integer"),
        ("/v1/decisions/99999999999999999999", 400, "decision_id must be valid integer"),
        ("/v1/decisions/stream", 400, "decision_id must be valid integer"),
        ("/v1/decisions/9", 500, "decision with id '9' doesn't exist: unable to delete"),
        ("/v1/decisions/-1", 500, "decision with id '-1' doesn't exist: unable to delete"),
        ("/v1/decisions?limit=1", 500, "'limit' doesn't exist: invalid filter"),
        ("/v1/decisions?simulated=true", 500, "'simulated' doesn't exist: invalid filter"),
        (
            "/v1/decisions?contains=maybe",
            500,
            "invalid contains value: strconv.ParseBool: parsing \"maybe\": invalid syntax: invalid filter",
        ),
        ("/v1/alerts/x", 400, "alert_id must be valid integer"),
        ("/v1/alerts/9", 500, "ent: alert not found"),
        ("/v1/alerts?test=test", 500, "filter parameter 'test' is unknown (=test): invalid filter"),
    ] {
        assert_eq!(server.delete(path).await.short(), (status, text.to_owned()), "{path}");
    }
    for (path, count) in [
        ("/v1/decisions?value=nobody", "0"),
        ("/v1/decisions?type=Ban", "0"),
        ("/v1/decisions?uuid=nonsense", "0"),
        ("/v1/alerts?scenario=none", "0"),
        ("/v1/decisions/+1", "1"),
        ("/v1/decisions/1", "1"),
        ("/v1/decisions", "0"),
        ("/v1/alerts/1", "1"),
    ] {
        let answer = server.delete(path).await;
        assert_eq!(answer.text, format!("{{\"nbDeleted\":\"{count}\"}}"), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8", "{path}");
    }
}

#[tokio::test]
async fn decisions_are_lifted_by_number_and_by_filter() {
    let server = TestServer::new().await;
    for value in ["192.0.2.1", "192.0.2.2", "198.51.100.0/24"] {
        server.ban(value, "1h").await;
    }
    server.pull("").await;
    for (path, status, text) in [
        ("/v1/decisions/1", 200, r#"{"nbDeleted":"1"}"#),
        ("/v1/decisions/9", 500, "decision with id '9' doesn't exist: unable to delete"),
        ("/v1/decisions/x", 400, "decision_id must be valid integer"),
        ("/v1/decisions?colour=blue", 500, "'colour' doesn't exist: invalid filter"),
        ("/v1/decisions?ip=198.51.100.7", 200, r#"{"nbDeleted":"1"}"#),
        ("/v1/decisions?ip=198.51.100.7", 200, r#"{"nbDeleted":"0"}"#),
    ] {
        assert_eq!(server.delete(path).await.short(), (status, text.to_owned()), "{path}");
    }
    assert_eq!(server.pull("").await.1, ["192.0.2.1", "198.51.100.0/24"]);
    // Deletions are repeated for two seconds.
    server.pass(Duration::from_secs(3));
    server.pull("").await;
    assert_eq!(server.delete("/v1/decisions").await.json(), json!({"nbDeleted": "1"}));
    assert_eq!(server.pull("").await.1, ["192.0.2.2"]);
    // The alerts stay.
    assert_eq!(server.get("/v1/alerts").await.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_was_lifted_is_listed_on_request() {
    let server = TestServer::new().await;
    for value in ["192.0.2.7", "192.0.0.0/16", "198.51.100.1"] {
        server.ban(value, "1h").await;
    }
    let delete = async |path: &str| {
        let mut request = server.as_machine(Method::DELETE, path, "", [192, 0, 2, 1]);
        request.headers_mut().insert("prefer", palisade_wire::LIST_ENDED.parse().unwrap());
        server.send(request).await.json()
    };
    let one = |id, scope: &str, value: &str| json!({"id": id, "origin": "cscli", "scope": scope, "type": "ban", "value": value});
    assert_eq!(
        delete("/v1/decisions?ip=192.0.2.7").await,
        json!({"nbDeleted": "2", "decisions": [one(1, "Ip", "192.0.2.7"), one(2, "Range", "192.0.0.0/16")]})
    );
    assert_eq!(
        delete("/v1/decisions/3").await,
        json!({"nbDeleted": "1", "decisions": [one(3, "Ip", "198.51.100.1")]})
    );
    assert_eq!(delete("/v1/decisions").await, json!({"nbDeleted": "0"}));
    let many: Vec<_> =
        (0..500).map(|n| server.decision(&format!("10.0.{}.{}", n / 250, n % 250), "1h")).collect();
    server.post_alerts(&[server.by_hand(&many)]).await;
    let listed = delete("/v1/decisions").await;
    assert_eq!((&listed["nbDeleted"], listed["decisions"].as_array().unwrap().len()), (&json!("500"), 100));
}

#[tokio::test]
async fn decisions_deleted_with_their_alert_are_announced() {
    let server = TestServer::new().await;
    for value in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        server.ban(value, "1h").await;
    }
    server.pull("").await;
    assert_eq!(server.delete("/v1/alerts/1").await.json(), json!({"nbDeleted": "1"}));
    assert_eq!(server.delete("/v1/alerts/1").await.short(), (500, "ent: alert not found".into()));
    assert_eq!(server.delete("/v1/alerts/x").await.short(), (400, "alert_id must be valid integer".into()));
    assert_eq!(server.pull("").await.1, ["192.0.2.1"]);
    // Deletions are repeated for two seconds.
    server.pass(Duration::from_secs(3));
    server.pull("").await;
    assert_eq!(server.delete("/v1/alerts?limit=0").await.json(), json!({"nbDeleted": "2"}));
    assert_eq!(server.pull("").await.1, ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(server.get("/v1/alerts").await.short(), (200, "null".into()));
}

#[tokio::test]
async fn alerts_are_deleted_only_from_trusted_addresses() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    for path in ["/v1/alerts", "/v1/alerts/1"] {
        let answer = server.send(server.as_machine(Method::DELETE, path, "", [198, 51, 100, 1])).await;
        let text = "access forbidden from this IP (198.51.100.1): it is not in api.server.trusted_ips";
        assert_eq!(answer.short(), (403, text.into()));
    }
    let answer = server.send(server.as_machine(Method::DELETE, "/v1/alerts/1", "", [192, 0, 2, 1])).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn retention_deletes_what_is_old_and_never_what_is_in_force() {
    let server = TestServer::with(PROFILES, "  flush:\n    max_age: 1h\n").await;
    server.ban("192.0.2.1", "10m").await;
    server.ban("192.0.2.2", "1000h").await;
    server.pull("").await;
    server.pass(Duration::from_secs(2 * 3600));
    server.flush().await;
    let left = server.get("/v1/alerts").await.json();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["decisions"][0]["value"], "192.0.2.2");
    assert_eq!(server.pull("").await.1, ["192.0.2.1"]);
    assert_eq!(server.pull("?startup=true").await.0, ["192.0.2.2"]);
}
