//! Changes by other processes reach the memory, and the LAPI serves while the database is down.

use std::time::Duration;

use palisade_store::{NewAlert, NewDecision};
use palisade_wire::{Alert, UnixMillis};

use crate::test_server::{NOW, TestServer, eventually};

fn written_elsewhere(value: &str, until: UnixMillis) -> NewAlert {
    let decision = NewDecision {
        until,
        origin: "cscli".into(),
        scenario: "elsewhere".into(),
        target: palisade_model::Target::stored("Ip", value),
        remediation: "ban".into(),
        simulated: false,
        uuid: None,
    };
    NewAlert { alert: Alert::default(), decisions: vec![decision], digest: None }
}

#[tokio::test]
async fn writes_of_other_processes_are_announced_soon() {
    let server = TestServer::new().await;
    let until = UnixMillis(server.now().0 + 3_600_000);
    let alerts = vec![written_elsewhere("192.0.2.1", until)];
    server.lapi.store.add_alerts(server.now(), None, alerts).await.unwrap();
    eventually("the decision is told", async || server.pull("?startup=true").await.0 == ["192.0.2.1"]).await;
    // Commits are applied in order: ours waits for theirs.
    let alerts = vec![written_elsewhere("192.0.2.2", until)];
    server.lapi.store.add_alerts(server.now(), None, alerts).await.unwrap();
    server.ban("192.0.2.3", "1h").await;
    assert_eq!(server.pull("?startup=true").await.0.len(), 3);
}

#[tokio::test]
async fn a_deletion_means_also_what_was_written_a_moment_ago() {
    let server = TestServer::new().await;
    let until = UnixMillis(server.now().0 + 3_600_000);
    server
        .lapi
        .store
        .add_alerts(server.now(), None, vec![written_elsewhere("192.0.2.1", until)])
        .await
        .unwrap();
    assert_eq!(server.delete("/v1/decisions").await.text, r#"{"nbDeleted":"1"}"#);
}

#[tokio::test]
async fn without_its_database_it_answers_from_memory_and_refuses_to_write() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "1h").await;
    server.pull("").await;
    server.lapi.store.close().await;
    let answer = server.post("/v1/alerts", &serde_json::json!([server.alert("192.0.2.2")])).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(server.pull("?startup=true").await.0, ["192.0.2.1"]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_brings_back_what_was_forgotten() {
    let server = TestServer::new().await;
    server.ban("192.0.2.1", "10m").await;
    server.pull("").await;
    server.pass(Duration::from_secs(25 * 3600));
    eventually("the ban is forgotten", async || server.pull("?startup=true").await == (vec![], vec![])).await;
    server.set(NOW);
    eventually("it holds again", async || server.pull("?startup=true").await.0 == ["192.0.2.1"]).await;
}
