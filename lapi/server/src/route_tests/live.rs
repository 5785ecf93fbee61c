//! Live queries.

use axum::http::Method;
use serde_json::json;

use crate::test_server::TestServer;

#[tokio::test]
async fn a_live_query_returns_what_covers_an_address() {
    let server = TestServer::new().await;
    assert_eq!(server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await.short(), (200, "null".into()));
    server.ban("192.0.2.1", "1h").await;
    server.ban("192.0.2.0/24", "2h").await;
    let answer = server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(
        answer.json()[1],
        json!({"duration": "1h0m0s", "id": 1, "origin": "cscli", "scenario": "manual", "scope": "Ip",
               "type": "ban", "value": "192.0.2.1"})
    );
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
    let other = server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.2&type=ban").await;
    assert_eq!(other.json()[0]["value"], "192.0.2.0/24");
}

#[tokio::test]
async fn the_severest_comes_first_and_then_the_longest() {
    let server = TestServer::new().await;
    for (id, value, kind, duration) in [
        (1, "192.0.2.1", "throttle", "9h"),
        (2, "192.0.2.0/24", "captcha", "8h"),
        (3, "192.0.2.1", "ban", "1h"),
        (4, "192.0.2.0/25", "ban", "4h"),
        (5, "192.0.2.1", "captcha", "10h"),
        (6, "192.0.2.1", "ban", "4h"),
    ] {
        let mut decision = server.decision(value, duration);
        decision["type"] = kind.into();
        assert_eq!(server.post_alerts(&[server.by_hand(&[decision])]).await, [format!("{id}")]);
    }
    for (query, expected) in [
        ("ip=192.0.2.1", &[4, 6, 3, 5, 2, 1][..]),
        ("", &[4, 6, 3, 5, 2, 1]),
        ("value=192.0.2.1", &[6, 3, 5, 1]),
        // Pages follow each other by id.
        ("ip=192.0.2.1&limit=3", &[1, 2, 3]),
        ("ip=192.0.2.1&id_gt=3", &[4, 5, 6]),
    ] {
        let answer = server.bouncer(Method::GET, &format!("/v1/decisions?{query}")).await.json();
        let ids: Vec<i64> =
            answer.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn head_has_the_status_of_get_and_no_body() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    for (path, status) in [("/v1/decisions?ip=192.0.2.1", 200), ("/v1/decisions?ip=zz", 500)] {
        let answer = server.bouncer(Method::HEAD, path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, ""), "{path}");
    }
    let bad = server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1&contains=maybe").await;
    assert!(bad.short().1.ends_with("invalid filter"), "{bad:?}");
}

#[tokio::test]
async fn a_live_query_moves_the_last_pull_and_no_place_in_the_stream() {
    let server = TestServer::new().await;
    let door = || {
        let door = server.lapi.registry.bouncer("door").unwrap();
        (door.last_pull(), door.stream_cursor())
    };
    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    assert_eq!(door(), (Some(server.now()), None));
    server.pull("").await;
    let streamed = door();
    assert!(streamed.1.is_some());
    server.pass(std::time::Duration::from_secs(3600));
    server.bouncer(Method::GET, "/v1/decisions?ip=192.0.2.1").await;
    assert_eq!(door(), (Some(server.now()), streamed.1));
}
