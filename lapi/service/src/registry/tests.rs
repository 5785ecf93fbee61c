//! Registries of several LAPIs on one database, and one whose database is down.

use palisade_model::Commit;
use palisade_store::{DbConfig, NewBouncer, NewMachine, Store};
use palisade_wire::UnixMillis;

use super::{ClientReport, Refusal, Registry};

const NOW: UnixMillis = UnixMillis(1_782_900_000_000);

/// The registries of two LAPIs on one database.
async fn two(folder: &tempfile::TempDir) -> (Registry, Registry) {
    let config = DbConfig::sqlite(folder.path().join("lapi.db"));
    let one = Registry::load(Store::open(&config).await.unwrap()).await.unwrap();
    (one, Registry::load(Store::open(&config).await.unwrap()).await.unwrap())
}

async fn add_key(registry: &Registry, name: &str) {
    let new = NewBouncer {
        name: name.into(),
        key_hash: format!("key of {name}"),
        auth_type: "api-key".into(),
        ..NewBouncer::default()
    };
    registry.store.create_bouncer(NOW, new).await.unwrap();
}

#[tokio::test]
async fn who_is_made_at_one_lapi_is_let_in_at_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(&folder).await;
    add_key(&one, "fw").await;
    assert_eq!(other.bouncer_by_key("key of fw").await.unwrap().name, "fw");
    let web = NewMachine { name: "web-1".into(), auth_type: "password".into(), ..NewMachine::default() };
    one.add_machine(NOW, web).await.unwrap();
    let found = other.machine_matching("web-1", |machine| machine.validated).await.unwrap();
    assert!(!found.unwrap().validated);
    one.store.validate_machine(NOW, "web-1", true).await.unwrap();
    let found = other.machine_matching("web-1", |machine| machine.validated).await.unwrap();
    assert!(found.unwrap().validated);
    assert!(matches!(other.bouncer_by_key("unknown").await, Err(Refusal::Unknown)));
}

#[tokio::test]
async fn a_fresh_key_gets_one_row_per_address_at_any_lapi() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(&folder).await;
    // From two addresses at two LAPIs at once, and from one address at both.
    for (name, addresses) in [("fw", ["192.0.2.1", "192.0.2.2"]), ("gate", ["192.0.2.1", "192.0.2.1"])] {
        add_key(&one, name).await;
        one.refresh_if_stale().await.unwrap();
        other.refresh_if_stale().await.unwrap();
        let key = format!("key of {name}");
        let (first, second) =
            tokio::join!(one.bouncer_at(NOW, &key, addresses[0]), other.bouncer_at(NOW, &key, addresses[1]));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.live().ip, second.live().ip), (addresses[0].into(), addresses[1].into()));
        assert_eq!(first.id == second.id, addresses[0] == addresses[1], "{name}");
        // Each loads the other's row.
        assert_eq!(one.bouncer_at(NOW, &key, addresses[1]).await.unwrap().id, second.id);
        assert_eq!(other.bouncer_at(NOW, &key, addresses[0]).await.unwrap().id, first.id);
        let mut rows = one.store.bouncers().await.unwrap();
        rows.retain(|row| row.key_hash == key);
        assert_eq!(rows.len(), if addresses[0] == addresses[1] { 1 } else { 2 }, "{rows:?}");
    }
    let certified = tokio::join!(
        one.bouncer_with_certificate(NOW, "CN@192.0.2.1", "192.0.2.1"),
        other.bouncer_with_certificate(NOW, "CN@192.0.2.1", "192.0.2.1")
    );
    assert_eq!(certified.0.unwrap().id, certified.1.unwrap().id);
}

#[tokio::test]
async fn older_news_of_one_lapi_do_not_undo_those_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(&folder).await;
    add_key(&one, "fw").await;
    let at_one = one.bouncer_at(NOW, "key of fw", "192.0.2.1").await.unwrap();
    let at_other = other.bouncer_at(NOW, "key of fw", "192.0.2.1").await.unwrap();
    let at = |millis| UnixMillis(NOW.0 + millis);
    let seen = |millis, commit| ClientReport {
        instance: "web-1".into(),
        ip: "192.0.2.1".into(),
        kind: "palisade-firewall".into(),
        version: "v1".into(),
        at: at(millis),
        commit: Commit(commit),
    };
    one.activity.record_pull(&at_one, at(1), Commit(1));
    one.activity.record_report(&at_one, seen(1, 1));
    other.activity.record_pull(&at_other, at(2), Commit(2));
    other.activity.record_report(&at_other, seen(2, 2));
    other.activity.write_back(at(3)).await.unwrap();
    one.activity.write_back(at(3)).await.unwrap();
    let row = one.store.bouncer("fw").await.unwrap().unwrap();
    assert_eq!((row.last_pull, row.cursor), (Some(at(2)), Some((Commit(2), at(2)))));
    let listed = one.store.bouncer_instances(None).await.unwrap();
    assert_eq!((listed.len(), listed[0].commit), (1, Commit(2)));
    // Requests with a cursor do not move the stored position, and are recorded once a second.
    for (millis, expected) in [(3, at(2)), (1001, at(2)), (1002, at(1002)), (1500, at(1002)), (500, at(500))]
    {
        other.activity.record_stream_request(&at_other, at(millis));
        assert_eq!(
            (at_other.last_pull(), at_other.stream_cursor()),
            (Some(expected), row.cursor),
            "{millis}"
        );
    }
}

#[tokio::test]
async fn without_a_database_keys_are_refused_as_unknown_only_if_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = two(&folder).await;
    add_key(&one, "fw").await;
    one.refresh_if_stale().await.unwrap();
    one.store.close().await;
    other.store.close().await;
    // Two concurrent requests share one reload, which fails.
    let (first, second) = tokio::join!(other.bouncer_by_key("key of fw"), other.bouncer_by_key("key of fw"));
    for refused in [first, second] {
        assert!(matches!(&refused, Err(Refusal::Store(cause)) if cause.is_temporary()), "{refused:?}");
    }
    // A new key is served, but a row that may stand for several machines has no position.
    for address in ["192.0.2.1", "192.0.2.2"] {
        let bouncer = one.bouncer_at(NOW, "key of fw", address).await.unwrap();
        assert_eq!(bouncer.stream_cursor(), None, "{address}");
        one.activity.record_pull(&bouncer, NOW, Commit(7));
        assert_eq!((bouncer.last_pull(), bouncer.stream_cursor()), (Some(NOW), None), "{address}");
    }
}
