//! Batches: invalid alerts among valid ones, and resent batches.

use axum::http::StatusCode;
use serde_json::json;

use crate::test_server::TestServer;

#[tokio::test]
async fn bad_alerts_do_not_hold_up_the_good_ones_beside_them() {
    let server = TestServer::new().await;
    let mut nameless = server.alert("192.0.2.2");
    nameless.as_object_mut().unwrap().remove("scenario");
    let endless = server.by_hand(&[server.decision("192.0.2.4", "for ever")]);
    let batch = [server.alert("192.0.2.1"), nameless.clone(), server.alert("192.0.2.3"), endless.clone()];
    assert_eq!(server.post_alerts(&batch).await, ["1", "2"]);
    assert_eq!(server.pull("").await.0, ["192.0.2.1", "192.0.2.3"]);
    assert_eq!(server.lapi.metrics.ingest.refused.get(), 2);

    let answer = server.post("/v1/alerts", &json!([endless, nameless])).await;
    assert!(
        answer.short().1.contains("creating alert decisions: decision duration 'for ever'"),
        "{answer:?}"
    );
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_batch_that_comes_again_is_stored_once() {
    let server = TestServer::new().await;
    let batch = [server.alert("192.0.2.1"), server.alert("192.0.2.2")];
    assert_eq!(server.post_alerts(&batch).await, ["1", "2"]);
    let mut more = batch.to_vec();
    more.push(server.alert("192.0.2.3"));
    assert_eq!(server.post_alerts(&more).await, ["1", "2", "3"]);
    assert_eq!(server.lapi.metrics.ingest.repeated.get(), 2);
    assert_eq!(server.pull("").await.0.len(), 3);
    assert_eq!(server.get("/v1/alerts").await.json().as_array().unwrap().len(), 3);

    // After its decision was deleted, the same alert is a new one.
    assert_eq!(server.delete("/v1/decisions?ip=192.0.2.1").await.json(), json!({"nbDeleted": "1"}));
    assert_eq!(server.post_alerts(&batch).await, ["4", "2"]);
}
