//! What others write to the database comes into memory, and a database that is away is no disaster.

use std::time::Duration;

use palisade_store::{NewAlert, NewDecision};
use palisade_wire::{Alert, UnixMillis};

use super::stand::{NOW, Stand, eventually};

fn written_elsewhere(value: &str, until: UnixMillis) -> NewAlert {
    let decision = NewDecision {
        until,
        origin: "cscli".into(),
        scenario: "elsewhere".into(),
        scope: "Ip".into(),
        kind: "ban".into(),
        value: value.into(),
        simulated: false,
        uuid: None,
    };
    NewAlert { alert: Alert::default(), decisions: vec![decision], digest: None }
}

#[tokio::test]
async fn what_another_process_writes_is_told_soon() {
    let stand = Stand::new().await;
    let until = UnixMillis(stand.now().0 + 3_600_000);
    let alerts = vec![written_elsewhere("192.0.2.1", until)];
    stand.lapi.store.add_alerts(stand.now(), None, alerts).await.unwrap();
    eventually("the decision is told", async || stand.pull("?startup=true").await.0 == ["192.0.2.1"]).await;
    // What comes between is in order: ours waits for theirs.
    let alerts = vec![written_elsewhere("192.0.2.2", until)];
    stand.lapi.store.add_alerts(stand.now(), None, alerts).await.unwrap();
    stand.ban("192.0.2.3", "1h").await;
    assert_eq!(stand.pull("?startup=true").await.0.len(), 3);
}

#[tokio::test]
async fn a_deletion_means_also_what_was_written_a_moment_ago() {
    let stand = Stand::new().await;
    let until = UnixMillis(stand.now().0 + 3_600_000);
    stand
        .lapi
        .store
        .add_alerts(stand.now(), None, vec![written_elsewhere("192.0.2.1", until)])
        .await
        .unwrap();
    assert_eq!(stand.delete("/v1/decisions").await.text, r#"{"nbDeleted":"1"}"#);
}

#[tokio::test]
async fn without_its_database_it_answers_from_memory_and_refuses_to_write() {
    let stand = Stand::new().await;
    stand.ban("192.0.2.1", "1h").await;
    stand.pull("").await;
    stand.lapi.store.close().await;
    let answer = stand.post("/v1/alerts", &serde_json::json!([stand.alert("192.0.2.2")])).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(stand.pull("?startup=true").await.0, ["192.0.2.1"]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_brings_back_what_was_forgotten() {
    let stand = Stand::new().await;
    stand.ban("192.0.2.1", "10m").await;
    stand.pull("").await;
    stand.pass(Duration::from_secs(25 * 3600));
    eventually("the ban is forgotten", async || stand.pull("?startup=true").await == (vec![], vec![])).await;
    stand.set(NOW);
    eventually("it holds again", async || stand.pull("?startup=true").await.0 == ["192.0.2.1"]).await;
}
