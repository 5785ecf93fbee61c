//! Allowlists over HTTP.

use std::time::Duration;

use axum::http::Method;
use palisade_store::NewAllowlistItem;
use palisade_wire::UnixMillis;
use serde_json::{Value, json};

use crate::test_server::{NOW, TestServer};

impl TestServer {
    /// Adds addresses to a list, as the admin CLI does.
    pub(super) async fn allow(&self, list: &str, values: &[&str]) {
        let items = values
            .iter()
            .map(|value| NewAllowlistItem { value: (*value).to_owned(), ..NewAllowlistItem::default() })
            .collect();
        let store = &self.lapi.store;
        store.create_allowlist(self.now(), list, "").await.unwrap();
        store.add_to_allowlist(self.now(), list, items).await.unwrap();
        // Alerts are evaluated with the lists in memory, which are a quarter of a second old at most.
        self.lapi.replication.catch_up().await.unwrap();
    }
}

#[tokio::test]
async fn lists_are_returned_with_and_without_their_items() {
    let server = TestServer::new().await;
    assert_eq!(server.get("/v1/allowlists").await.json(), json!([]));
    server.allow("office", &["192.0.2.0/24"]).await;
    let guest = NewAllowlistItem {
        value: "198.51.100.1".into(),
        comment: "a guest".into(),
        expires_at: Some(UnixMillis(NOW.0 + 60_000)),
    };
    server.lapi.store.add_to_allowlist(NOW, "office", vec![guest]).await.unwrap();

    assert_eq!(server.get("/v1/allowlists").await.json()[0]["items"], json!([]));
    let lists = server.get("/v1/allowlists?with_content=true").await.json();
    assert_eq!(lists[0]["name"], "office");
    assert_eq!(
        lists[0]["items"],
        json!([
            {"created_at": NOW.rfc3339_millis(), "expiration": "0001-01-01T00:00:00.000Z", "value": "192.0.2.0/24"},
            {"created_at": NOW.rfc3339_millis(), "description": "a guest",
             "expiration": UnixMillis(NOW.0 + 60_000).rfc3339_millis(), "value": "198.51.100.1"},
        ])
    );
    server.pass(Duration::from_secs(61));
    for (query, items) in
        [("", 0), ("?with_content=true", 1), ("?with_content=TRUE", 0), ("?with_content=1", 0)]
    {
        let list = server.get(&format!("/v1/allowlists/office{query}")).await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), items, "{query}");
    }
    assert_eq!(server.get("/v1/allowlists/none").await.short(), (500, "allowlist 'none' not found".into()));
    for path in ["/v1/allowlists", "/v1/allowlists/office"] {
        assert_eq!(server.machine(Method::HEAD, path, "").await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn addresses_and_ranges_are_checked_one_by_one_and_many_at_once() {
    let server = TestServer::new().await;
    server.allow("office", &["192.0.2.0/24"]).await;
    server.allow("backup", &["192.0.2.7"]).await;
    for (target, answer, head) in [
        (
            "192.0.2.7",
            json!({"allowlisted": true, "reason": "192.0.2.7 from backup, 192.0.2.0/24 from office"}),
            200,
        ),
        (
            "192.0.2.0%2F16",
            json!({"allowlisted": true, "reason": "192.0.2.7 from backup, 192.0.2.0/24 from office"}),
            200,
        ),
        ("198.51.100.1", json!({}), 204),
    ] {
        let path = format!("/v1/allowlists/check/{target}");
        assert_eq!(server.get(&path).await.json(), answer, "{target}");
        assert_eq!(server.machine(Method::HEAD, &path, "").await.status, head, "{target}");
    }
    assert_eq!(server.get("/v1/allowlists/check/nobody").await.status, 500);

    let many = |targets: Value| json!({ "targets": targets });
    let answer = server.post("/v1/allowlists/check", &many(json!(["192.0.2.9", "198.51.100.1"]))).await;
    assert_eq!(
        answer.json(),
        json!({"results": [{"allowlists": ["192.0.2.0/24 from office"], "target": "192.0.2.9"}]})
    );
    let none = server.post("/v1/allowlists/check", &many(json!(["198.51.100.1"]))).await;
    assert_eq!(none.json(), json!({"results": []}));
    let empty = server.post("/v1/allowlists/check", &many(json!([]))).await;
    assert_eq!(empty.short(), (400, "targets list cannot be empty".into()));
    let bad = server.post("/v1/allowlists/check", &many(json!(["192.0.2.9", "nobody"]))).await;
    assert_eq!(bad.status, 500);
}
