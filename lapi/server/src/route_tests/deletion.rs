//! Everything that goes is told to bouncers, however it goes.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use super::stand::{PROFILES, Stand};

#[tokio::test]
async fn decisions_are_lifted_by_number_and_by_filter() {
    let stand = Stand::new().await;
    for value in ["192.0.2.1", "192.0.2.2", "198.51.100.0/24"] {
        stand.ban(value, "1h").await;
    }
    stand.pull("").await;
    for (path, status, text) in [
        ("/v1/decisions/1", 200, r#"{"nbDeleted":"1"}"#),
        ("/v1/decisions/9", 500, "decision with id '9' doesn't exist: unable to delete"),
        ("/v1/decisions/x", 400, "decision_id must be valid integer"),
        ("/v1/decisions?colour=blue", 500, "'colour' doesn't exist: invalid filter"),
        ("/v1/decisions?ip=198.51.100.7", 200, r#"{"nbDeleted":"1"}"#),
        ("/v1/decisions?ip=198.51.100.7", 200, r#"{"nbDeleted":"0"}"#),
    ] {
        assert_eq!(stand.delete(path).await.short(), (status, text.to_owned()), "{path}");
    }
    assert_eq!(stand.pull("").await.1, ["192.0.2.1", "198.51.100.0/24"]);
    // For two seconds deletions are told twice.
    stand.pass(Duration::from_secs(3));
    stand.pull("").await;
    assert_eq!(stand.delete("/v1/decisions").await.json(), json!({"nbDeleted": "1"}));
    assert_eq!(stand.pull("").await.1, ["192.0.2.2"]);
    // The alerts stay.
    assert_eq!(stand.get("/v1/alerts").await.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_goes_with_its_alert_is_told_too() {
    let stand = Stand::new().await;
    for value in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        stand.ban(value, "1h").await;
    }
    stand.pull("").await;
    assert_eq!(stand.delete("/v1/alerts/1").await.json(), json!({"nbDeleted": "1"}));
    assert_eq!(stand.delete("/v1/alerts/1").await.short(), (500, "ent: alert not found".into()));
    assert_eq!(stand.delete("/v1/alerts/x").await.short(), (400, "alert_id must be valid integer".into()));
    assert_eq!(stand.pull("").await.1, ["192.0.2.1"]);
    // For two seconds deletions are told twice.
    stand.pass(Duration::from_secs(3));
    stand.pull("").await;
    assert_eq!(stand.delete("/v1/alerts?limit=0").await.json(), json!({"nbDeleted": "2"}));
    assert_eq!(stand.pull("").await.1, ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(stand.get("/v1/alerts").await.short(), (200, "null".into()));
}

#[tokio::test]
async fn alerts_are_deleted_only_from_trusted_addresses() {
    let stand = Stand::new().await;
    stand.ban("192.0.2.1", "1h").await;
    for path in ["/v1/alerts", "/v1/alerts/1"] {
        let answer = stand.send(stand.as_machine(Method::DELETE, path, "", [198, 51, 100, 1])).await;
        assert_eq!(answer.short(), (403, "access forbidden from this IP (198.51.100.1)".into()));
    }
    let answer = stand.send(stand.as_machine(Method::DELETE, "/v1/alerts/1", "", [192, 0, 2, 1])).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn retention_deletes_what_is_old_and_never_what_is_in_force() {
    let stand = Stand::with(PROFILES, "  flush:\n    max_age: 1h\n").await;
    stand.ban("192.0.2.1", "10m").await;
    stand.ban("192.0.2.2", "1000h").await;
    stand.pull("").await;
    stand.pass(Duration::from_secs(2 * 3600));
    stand.flush().await;
    let left = stand.get("/v1/alerts").await.json();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["decisions"][0]["value"], "192.0.2.2");
    assert_eq!(stand.pull("").await.1, ["192.0.2.1"]);
    assert_eq!(stand.pull("?startup=true").await.0, ["192.0.2.2"]);
}
