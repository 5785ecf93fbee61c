//! What is thrown away.

use std::time::Duration;

use palisade_model::{Change, Commit};
use palisade_store::{
    AlertQuery, Autodelete, BouncerUpdate, MachineUpdate, NewAllowlistItem, NewBouncer, NewMachine,
    Retention, Store, UsageKind, UsageRow,
};

use super::db::{DAY, Db, HOUR, NOW, banning, later, loaded, store_one};

const AN_HOUR: Option<Duration> = Some(Duration::from_secs(3600));

async fn ids(store: &Store) -> Vec<i64> {
    let mut ids: Vec<i64> =
        store.alerts(&AlertQuery::default(), NOW).await.unwrap().iter().map(|alert| alert.id).collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn old_alerts_are_deleted_but_never_active_ones(db: Db) {
    let store = db.open().await;
    // 1: old, active. 2: old, ended an hour ago. 3: old, without decisions. 4: old, ended days ago. 5 to 12: young.
    let ages = [Some(HOUR), Some(-HOUR), None, Some(-3 * DAY)];
    for until in ages {
        let mut new = banning(&["192.0.2.1"]);
        match until {
            Some(until) => new.decisions[0].until = later(until),
            None => new.decisions.clear(),
        }
        store.add_alerts(later(-8 * DAY), None, vec![new]).await.unwrap();
    }
    for _ in 0..8 {
        let mut new = banning(&["192.0.2.1"]);
        new.decisions[0].until = later(-1);
        store_one(&store, new).await;
    }
    store.flush(NOW, &Retention::default()).await.unwrap();
    let week = Retention { max_age: Some(Duration::from_secs(7 * 86_400)), ..Retention::default() };
    let paused = Retention { alerts_paused: true, ..week.clone() };
    assert_eq!(store.flush(NOW, &paused).await.unwrap().alerts, 0);
    let flushed = store.flush(NOW, &week).await.unwrap();
    assert_eq!((flushed.alerts, ids(&store).await), (3, vec![1, 5, 6, 7, 8, 9, 10, 11, 12]));
    // Only the deletion of the recently ended one still has to reach bouncers.
    let told: Vec<&Change> = flushed.commits.iter().flat_map(|(_, changes)| changes).collect();
    assert!(matches!(told[..], [Change::Removed(row)] if row.alert == 2), "{told:?}");
    let few = Retention { max_items: Some(5), ..Retention::default() };
    assert_eq!(store.flush(NOW, &few).await.unwrap().alerts, 2);
    assert_eq!(ids(&store).await, [1, 7, 8, 9, 10, 11, 12]);
    assert_eq!(store.flush(NOW, &few).await.unwrap().alerts, 0);
    assert_eq!(store.flush(later(HOUR + 1), &few).await.unwrap().alerts, 1);
}

pub(crate) async fn idle_clients_are_deleted(db: Db) {
    let store = db.open().await;
    for (name, auth_type, pulled) in [
        ("key-old", "api-key", Some(-2 * HOUR)),
        ("key-new", "api-key", Some(-1)),
        ("key-never", "api-key", None),
        ("cert-old", "tls", Some(-2 * HOUR)),
    ] {
        let new = NewBouncer { name: name.into(), auth_type: auth_type.into(), ..NewBouncer::default() };
        let made = store.create_bouncer(later(-DAY), new).await.unwrap();
        let update = BouncerUpdate { id: made.id, last_pull: pulled.map(later), ..BouncerUpdate::default() };
        store.update_bouncers(NOW, vec![update]).await.unwrap();
    }
    for (name, auth_type, ip, heard) in [
        ("old", "password", "10.0.0.1", Some(-2 * HOUR)),
        ("local", "password", "127.0.0.1", Some(-2 * HOUR)),
        ("local6", "password", "::1", Some(-2 * HOUR)),
        ("busy", "password", "10.0.0.2", Some(-2 * HOUR)),
        ("never", "password", "10.0.0.3", None),
        ("cert", "tls", "10.0.0.4", Some(-2 * HOUR)),
    ] {
        let new = NewMachine {
            name: name.into(),
            auth_type: auth_type.into(),
            ip: ip.into(),
            ..NewMachine::default()
        };
        let made = store.create_machine(later(-DAY), new).await.unwrap();
        let update =
            MachineUpdate { id: made.id, last_heartbeat: heard.map(later), ..MachineUpdate::default() };
        store.update_machines(NOW, vec![update]).await.unwrap();
    }
    store.add_alerts(NOW, Some("busy"), vec![banning(&["192.0.2.1"])]).await.unwrap();
    let registry_version = store.head().await.unwrap().registry_version;
    let secret = Autodelete { secret: AN_HOUR, cert: None };
    let flushed = store
        .flush(NOW, &Retention { bouncers: secret, machines: secret, ..Retention::default() })
        .await
        .unwrap();
    assert_eq!((flushed.bouncers, flushed.machines), (1, 1));
    let cert = Autodelete { cert: AN_HOUR, secret: None };
    let flushed = store
        .flush(NOW, &Retention { bouncers: cert, machines: cert, ..Retention::default() })
        .await
        .unwrap();
    assert_eq!((flushed.bouncers, flushed.machines), (1, 1));
    assert_eq!(store.head().await.unwrap().registry_version, registry_version + 4);
    let bouncers: Vec<String> = store.bouncers().await.unwrap().into_iter().map(|one| one.name).collect();
    let machines: Vec<String> = store.machines().await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(bouncers, ["key-new", "key-never"]);
    assert_eq!(machines, ["local", "local6", "busy", "never"]);
}

pub(crate) async fn old_records_are_deleted(db: Db) {
    let store = db.open().await;
    for at in [-2 * HOUR, -1] {
        let kind = UsageKind::RemediationComponent;
        let row = UsageRow { kind, producer: "fw".into(), received_at: later(at), payload: "{}".into() };
        store.add_usage(row).await.unwrap();
    }
    store.create_allowlist(NOW, "l", "").await.unwrap();
    let items = [Some(-1), Some(1), None].map(|end| NewAllowlistItem {
        value: format!("192.0.2.{}", end.unwrap_or(9) + 5),
        expires_at: end.map(later),
        ..NewAllowlistItem::default()
    });
    store.add_to_allowlist(NOW, "l", items.to_vec()).await.unwrap();
    for _ in 0..2 {
        store_one(&store, banning(&["192.0.2.1"])).await;
    }
    store.delete_alert(later(-2 * HOUR), 1).await.unwrap();
    store.delete_alert(later(-1), 2).await.unwrap();
    let keep = Retention { metrics_max_age: AN_HOUR, history: AN_HOUR, ..Retention::default() };
    let flushed = store.flush(NOW, &keep).await.unwrap();
    assert_eq!((flushed.usage, flushed.allowlist_items, flushed.alerts), (1, 1, 0));
    let (left, head) = loaded(&store, NOW).await;
    assert!(matches!(&left[..], [Change::Removed(row)] if row.alert == 2), "{left:?}");
    // What is forgotten leaves an empty commit, not a gap.
    assert_eq!(head, Commit(4));
    let sizes: Vec<usize> =
        store.changes_since(Commit(0), 10).await.unwrap().iter().map(|(_, changes)| changes.len()).collect();
    assert_eq!(sizes, [0, 0, 0, 1]);
}
