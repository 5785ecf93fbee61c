//! The stream: startup, deltas, positions.

use std::time::Duration;

use axum::http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::test_server::{TestServer, told};

#[tokio::test]
async fn everything_first_then_what_changed() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let answer = server.bouncer(Method::GET, "/v1/decisions/stream?startup=true").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let body = answer.json();
    assert!(body["new"][0]["uuid"].is_string());
    assert_eq!((&body["new"][0]["duration"], &body["deleted"]), (&json!("1h0m0s"), &json!([])));
    assert_eq!(server.pull("").await, (vec![], vec![]));

    server.ban("192.0.2.2", "10s").await;
    assert_eq!(server.pull("").await, (vec!["192.0.2.2".into()], vec![]));
    server.pass(Duration::from_secs(11));
    assert_eq!(server.pull("").await, (vec![], vec!["192.0.2.2".into()]));
}

#[tokio::test]
async fn what_was_sent_before_a_restart_is_not_sent_again() {
    let mut server = TestServer::new().await;
    let many: Vec<Value> = (0..20).map(|n| server.decision(&format!("192.0.2.{n}"), "4h")).collect();
    server.post_alerts(&[server.by_hand(&many)]).await;
    server.ban("198.51.100.1", "4h").await;
    server.ban("198.51.100.2", "10s").await;
    assert_eq!(server.pull("?startup=true").await.0.len(), 22);
    server.pass(Duration::from_secs(20));
    assert_eq!(server.delete("/v1/decisions?ip=198.51.100.1").await.json(), json!({"nbDeleted": "1"}));
    assert_eq!(server.delete("/v1/alerts/1").await.status, 200);
    // Ends of the two seconds before the last request are repeated, as by the stock server.
    server.pass(Duration::from_secs(3));
    assert_eq!(server.pull("").await.1.len(), 22);
    for hours in [0, 1, 12] {
        server.pass(Duration::from_secs(3 + hours * 3600));
        assert_eq!(server.pull("").await, (vec![], vec![]), "{hours}");
        server = server.restarted().await;
        assert_eq!(server.pull("").await, (vec![], vec![]), "after a restart, {hours}");
    }
    // What happened while it was away is sent.
    server.ban("203.0.113.1", "4h").await;
    server.ban("203.0.113.2", "4h").await;
    assert_eq!(server.pull("").await.0.len(), 2);
    assert_eq!(server.delete("/v1/alerts/4").await.status, 200);
    server.pass(Duration::from_secs(60));
    server = server.restarted().await;
    assert_eq!(server.pull("").await, (vec![], vec!["203.0.113.1".into()]));
}

#[tokio::test]
async fn head_checks_the_key_and_moves_no_position() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let answer = server.bouncer(Method::HEAD, "/v1/decisions/stream?startup=true").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    let stranger =
        server.send(server.with_key(Method::HEAD, "/v1/decisions/stream", "?", [192, 0, 2, 1])).await;
    assert_eq!(stranger.status, 403);
    assert_eq!(server.pull("").await.0, ["192.0.2.1"]);
}

#[tokio::test]
async fn a_response_that_was_cut_off_is_sent_again() {
    let server = TestServer::new().await;
    let decisions: Vec<Value> =
        (0..2000).map(|n| server.decision(&format!("10.0.{}.{}", n / 250, n % 250), "1h")).collect();
    server.post_alerts(&[server.by_hand(&decisions)]).await;
    let request = server.with_key(Method::GET, "/v1/decisions/stream", "key-of-door", [192, 0, 2, 10]);
    let mut response = server.router.clone().oneshot(request).await.unwrap();
    assert!(response.body_mut().frame().await.is_some(), "a first piece came");
    drop(response);
    assert_eq!(server.pull("").await.0.len(), 2000, "the bouncer gets all of it");
    assert_eq!(server.pull("").await.0.len(), 0);
}

#[tokio::test]
async fn one_key_at_several_addresses_is_several_bouncers() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    let pull = async |from: [u8; 4]| {
        let request = server.with_key(Method::GET, "/v1/decisions/stream", "key-of-door", from);
        told(&server.send(request).await).0
    };
    assert_eq!(pull([192, 0, 2, 10]).await.len(), 1);
    assert_eq!(pull([192, 0, 2, 11]).await.len(), 1, "the second host gets everything, too");
    assert_eq!(pull([192, 0, 2, 10]).await.len(), 0);
    assert_eq!(pull([192, 0, 2, 11]).await.len(), 0);
    server.ban("192.0.2.2", "1h").await;
    assert_eq!(pull([192, 0, 2, 10]).await, ["192.0.2.2"]);
    assert_eq!(pull([192, 0, 2, 11]).await, ["192.0.2.2"]);
    assert!(server.lapi.registry.bouncer("door@192.0.2.11").is_some());
}

#[tokio::test]
async fn the_shorter_ban_is_announced_when_the_longer_is_lifted() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "4h").await;
    server.ban("192.0.2.1", "1h").await;
    server.pull("").await;
    server.delete("/v1/decisions/1").await;
    let answer = server.bouncer(Method::GET, "/v1/decisions/stream").await;
    assert_eq!(answer.json()["new"][0]["duration"], "1h0m0s");
}

#[tokio::test]
async fn bad_filters_are_refused_before_the_first_byte() {
    let server = TestServer::new().await;
    for query in ["ip=zz", "ip=192.0.2.1&contains=maybe"] {
        let answer = server.bouncer(Method::GET, &format!("/v1/decisions/stream?{query}")).await;
        assert_eq!(answer.status, 500, "{query}");
    }
}
