//! Alerts so large that they come in steps.

use palisade_model::Commit;
use palisade_store::{AlertQuery, NewAlert};

use super::db::{Db, NOW, alert, ban, banning, later, loaded, store_one};

/// An import of so many addresses.
pub(crate) fn import_of(count: u32) -> NewAlert {
    let decisions = (0..count).map(|n| ban(&std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string())).collect();
    NewAlert { alert: alert("import list.txt", ""), decisions, digest: Some([3; 32]) }
}

pub(crate) async fn a_large_alert_comes_in_steps(db: Db) {
    let store = db.open().await;
    let batch = vec![banning(&["192.0.2.1"]), import_of(25_000), banning(&["192.0.2.2"])];
    let added = store.add_alerts(NOW, None, batch).await.unwrap();
    let ids: Vec<i64> = added.ids.iter().map(|one| one.alert).collect();
    assert_eq!(ids, [1, 3, 2]);
    let sizes: Vec<(u64, usize)> =
        added.commits.iter().map(|(commit, changes)| (commit.0, changes.len())).collect();
    assert_eq!(sizes, [(1, 2), (2, 10_000), (3, 10_000), (4, 5_000)]);
    assert_eq!(store.changes_since(Commit(0), 100).await.unwrap(), added.commits[..1]);
    assert_eq!(store.changes_since(Commit(1), 100).await.unwrap(), added.commits[1..2]);
    assert_eq!(store.changes_since(Commit(2), 100_000).await.unwrap(), added.commits[2..]);
    assert_eq!(store.alert(3, NOW).await.unwrap().unwrap().decisions.len(), 25_000);
    assert_eq!(loaded(&store, NOW).await.0.len(), 25_002);
    assert!(store.add_alerts(NOW, None, vec![import_of(25_000)]).await.unwrap().ids[0].repeated);
    // Opening again finds nothing to take back.
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.head().await.unwrap().commit, Commit(4));
}

pub(crate) async fn other_writes_go_on_meanwhile(db: Db) {
    let store = db.open().await;
    let importing = {
        let store = store.clone();
        async move { store.add_alerts(NOW, None, vec![import_of(60_000)]).await }
    };
    let others = async {
        let mut seen = Vec::new();
        loop {
            let (id, _, _) = store_one(&store, banning(&["192.0.2.1"])).await;
            seen.push(id);
            // Never a part of it.
            let import = AlertQuery { scenario: Some("import list.txt".into()), ..AlertQuery::default() };
            match store.alerts(&import, NOW).await.unwrap().first() {
                Some(import) => {
                    assert_eq!(import.decisions.len(), 60_000);
                    return seen.len();
                }
                None => tokio::task::yield_now().await,
            }
        }
    };
    let (imported, others) = tokio::join!(importing, others);
    assert_eq!(imported.unwrap().commits.len(), 6);
    assert!(others > 1, "nobody else wrote while the import went on");
}

pub(crate) async fn a_large_alert_is_deleted_in_steps(db: Db) {
    let store = db.open().await;
    let (id, _, _) = store_one(&store, import_of(20_000)).await;
    let deleted = store.delete_alert(later(1), id).await.unwrap();
    let sizes: Vec<usize> = deleted.commits.iter().map(|(_, changes)| changes.len()).collect();
    assert_eq!((deleted.count, sizes), (1, vec![10_000, 10_000]));
    assert_eq!(loaded(&store, later(2)).await.0.len(), 20_000);
    assert_eq!(store.alert(id, NOW).await.unwrap(), None);
}
