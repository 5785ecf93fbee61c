//! Commits: in order and without gaps, whichever process writes; and replicas built from them.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_model::{Change, Commit, StoredDecision, Target};
use palisade_store::{AlertQuery, NewMachine, Store, StoreError};
use palisade_wire::UnixMillis;

use super::db::{Db, HOUR, NOW, ban, banning, later, loaded, row, store_one};

pub(crate) async fn a_new_database_has_no_commits(db: Db) {
    let store = db.open().await;
    let head = store.head().await.unwrap();
    assert_eq!((head.commit, head.registry_version), (Commit(0), 0));
    assert!(!head.database.is_nil());
    assert_eq!(store.changes_since(Commit(0), 100).await.unwrap(), []);
    assert_eq!(loaded(&store, NOW).await, (vec![], Commit(0)));
    store.close().await;
    assert!(matches!(store.head().await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.end_decisions(NOW, &[1]).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(db.open().await.head().await.unwrap().database, head.database);
}

pub(crate) async fn every_write_takes_the_next_commit(db: Db) {
    let store = db.open().await;
    let batch = vec![banning(&["192.0.2.1", "192.0.2.2"]), banning(&[]), banning(&["192.0.2.3"])];
    let added = store.add_alerts(NOW, None, batch).await.unwrap();
    let [(commit, changes)] = &added.commits[..] else { panic!("{added:?}") };
    assert_eq!((*commit, changes.len()), (Commit(1), 3));
    let rows: Vec<StoredDecision> = changes.iter().cloned().map(row).collect();
    assert_eq!(rows.iter().map(|row| (row.id, row.alert)).collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 3)]);
    // What touches no decision is no commit.
    assert!(store.add_alerts(NOW, None, vec![banning(&[])]).await.unwrap().commits.is_empty());
    store.create_machine(NOW, NewMachine { name: "m".into(), ..NewMachine::default() }).await.unwrap();
    assert_eq!(store.end_decisions(later(1), &[99]).await.unwrap().commit, None);
    let head = store.head().await.unwrap();
    assert_eq!((head.commit, head.registry_version), (Commit(1), 1));
    let ended = store.end_decisions(later(1), &[2]).await.unwrap();
    assert_eq!(ended.commit.as_ref().map(|(commit, _)| *commit), Some(Commit(2)));
    assert_eq!(store.head().await.unwrap().commit, Commit(2));
    // Each row is returned with its latest commit.
    let changes = store.changes_since(Commit(0), 100).await.unwrap();
    let told: Vec<(u64, Vec<i64>)> = changes
        .into_iter()
        .map(|(commit, changes)| (commit.0, changes.into_iter().map(|change| row(change).id).collect()))
        .collect();
    assert_eq!(told, [(1, vec![1, 3]), (2, vec![2])]);
}

pub(crate) async fn an_end_is_announced_once(db: Db) {
    let store = db.open().await;
    let (_, rows, _) = store_one(&store, banning(&["192.0.2.1", "192.0.2.2", "192.0.2.3"])).await;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).rev().collect();
    let ended = store.end_decisions(later(1), &ids[..2]).await.unwrap();
    assert_eq!(ended.count, 2);
    let (commit, changes) = ended.commit.unwrap();
    let expected: Vec<Change> = rows[1..]
        .iter()
        .map(|row| Change::Put(StoredDecision { until: later(1), commit, ..row.clone() }))
        .collect();
    assert_eq!(changes, expected);
    let again = store.end_decisions(later(2), &ids).await.unwrap();
    assert_eq!((again.count, again.commit.map(|(commit, _)| commit)), (1, Some(Commit(3))));
    assert_eq!(store.end_decisions(later(2), &ids).await.unwrap().count, 0);
    assert_eq!(store.end_decisions(later(2), &[]).await.unwrap().count, 0);
    // So many that they take several statements are still one commit.
    let values: Vec<String> = (0..5000).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let (_, rows, _) = store_one(&store, banning(&values)).await;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let ended = store.end_decisions(later(3), &ids).await.unwrap();
    assert_eq!((ended.count, ended.commit.unwrap().0), (5000, Commit(5)));
}

pub(crate) async fn ending_one_repeats(db: Db) {
    let store = db.open().await;
    store_one(&store, banning(&["192.0.2.1"])).await;
    for (moment, commit) in [(1, 2), (5, 3)] {
        let ended = store.end_decision(later(moment), 1).await.unwrap().unwrap();
        let (told, changes) = ended.commit.unwrap();
        assert_eq!((ended.count, told, row(changes[0].clone()).until), (1, Commit(commit), later(moment)));
    }
    assert!(store.end_decision(NOW, 2).await.unwrap().is_none());
    assert_eq!(store.head().await.unwrap().commit, Commit(3));
}

/// A replica's state: rows by id, and ids of deleted rows.
#[derive(Debug, Default, PartialEq)]
struct Memory {
    rows: BTreeMap<i64, StoredDecision>,
    gone: BTreeMap<i64, StoredDecision>,
}

impl Memory {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(row) => {
                self.rows.insert(row.id, row);
            }
            Change::Removed(row) => {
                self.rows.remove(&row.id);
                // A replica ends it when it applies the deletion, a load at the time of the deletion.
                self.gone.insert(row.id, StoredDecision { until: UnixMillis::default(), ..row });
            }
        }
    }
}

/// A follower that reads in small pieces, one that uses each write's own result, and one that loads at the end.
pub(crate) async fn replaying_gives_what_loading_gives(db: Db) {
    let store = db.open().await;
    let mut heard = Memory::default();
    let mut follower = (Memory::default(), Commit(0));
    let mut random = 12_345_u64;
    let mut dice = |sides: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % sides
    };
    for turn in 0..120_i64 {
        let now = later(turn);
        let commits = match dice(6) {
            0..=2 => {
                let batch = (0..=dice(2))
                    .map(|_| {
                        let values: Vec<String> = (0..dice(30)).map(|n| format!("10.0.{turn}.{n}")).collect();
                        banning(&values.iter().map(String::as_str).collect::<Vec<_>>())
                    })
                    .collect();
                store.add_alerts(now, None, batch).await.unwrap().commits
            }
            3 => {
                let ids: Vec<i64> = (0..20).map(|_| i64::try_from(dice(2000)).unwrap()).collect();
                store.end_decisions(now, &ids).await.unwrap().commit.into_iter().collect()
            }
            4 => {
                let id = i64::try_from(dice(1000)).unwrap();
                store
                    .end_decision(now, id)
                    .await
                    .unwrap()
                    .and_then(|ended| ended.commit)
                    .into_iter()
                    .collect()
            }
            _ => store.delete_alert(now, i64::try_from(dice(100)).unwrap()).await.unwrap().commits,
        };
        commits.into_iter().flat_map(|(_, changes)| changes).for_each(|change| heard.apply(change));
        if dice(3) == 0 {
            follow(&store, &mut follower, 7).await;
        }
    }
    follow(&store, &mut follower, 1).await;
    let (changes, head) = loaded(&store, later(200)).await;
    let order: Vec<(Commit, i64)> =
        changes.iter().cloned().map(row).map(|row| (row.commit, row.id)).collect();
    assert!(order.is_sorted(), "{order:?}");
    let mut fresh = Memory::default();
    changes.into_iter().for_each(|change| fresh.apply(change));
    assert_eq!(head, follower.1);
    assert_eq!(heard, fresh);
    assert_eq!(follower.0, fresh);
    assert!(!fresh.gone.is_empty() && !fresh.rows.is_empty());
}

async fn follow(store: &Store, (memory, last): &mut (Memory, Commit), limit: usize) {
    loop {
        let commits = store.changes_since(*last, limit).await.unwrap();
        if commits.is_empty() {
            return;
        }
        for (commit, changes) in commits {
            assert_eq!(commit.0, last.0 + 1, "commits come without gaps");
            *last = commit;
            for change in changes {
                assert_eq!(row(change.clone()).commit, commit);
                memory.apply(change);
            }
        }
    }
}

pub(crate) async fn many_writers_leave_no_gap(db: Db) {
    let store = db.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..40_i64 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut commits = Vec::new();
            for turn in 0..5 {
                let value = format!("10.{writer}.{turn}.1");
                let (_, rows, commit) = store_one(&store, banning(&[&value])).await;
                commits.extend(commit);
                if turn % 2 == 1 {
                    let ended = store.end_decisions(later(turn), &[rows[0].id]).await.unwrap();
                    commits.extend(ended.commit.map(|(commit, _)| commit));
                }
            }
            commits
        });
    }
    let mut commits: Vec<u64> = tasks.join_all().await.into_iter().flatten().map(|commit| commit.0).collect();
    commits.sort_unstable();
    assert_eq!(commits, (1..=280).collect::<Vec<_>>());
    assert_eq!(store.head().await.unwrap().commit, Commit(280));
    let alerts = store.alerts(&AlertQuery::default(), NOW).await.unwrap();
    assert_eq!(alerts.len(), 200);
}

pub(crate) async fn a_failed_write_fails_no_other(db: Db) {
    let store = db.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let store = store.clone();
        tasks.spawn(async move {
            // Twenty names for sixty machines: two of three are refused, all at the same time as alerts are stored.
            let machine = NewMachine { name: format!("m{}", n % 20), ..NewMachine::default() };
            let made = store.create_machine(NOW, machine).await;
            store_one(&store, banning(&["192.0.2.1"])).await;
            made.is_ok()
        });
    }
    let made = tasks.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!((made, store.machines().await.unwrap().len()), (20, 20));
    let head = store.head().await.unwrap();
    assert_eq!((head.commit, head.registry_version), (Commit(60), 20));
    assert_eq!(loaded(&store, NOW).await.0.len(), 60);
}

pub(crate) async fn two_stores_share_one_database(db: Db) {
    let (one, other) = (db.open().await, db.open().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let store = if n % 2 == 0 { one.clone() } else { other.clone() };
        tasks.spawn(async move { store_one(&store, banning(&["192.0.2.1"])).await });
    }
    let mut numbers: Vec<(i64, i64, u64)> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|(alert, rows, commit)| (alert, rows[0].id, commit.unwrap().0))
        .collect();
    numbers.sort_unstable();
    let mut commits: Vec<u64> = numbers.iter().map(|(_, _, commit)| *commit).collect();
    commits.sort_unstable();
    assert_eq!(commits, (1..=60).collect::<Vec<_>>());
    numbers.dedup_by_key(|(alert, _, _)| *alert);
    assert_eq!(numbers.len(), 60);
    assert_eq!(one.head().await.unwrap(), other.head().await.unwrap());
    assert_eq!(other.changes_since(Commit(0), 1000).await.unwrap().len(), 60);
}

pub(crate) async fn history_is_loaded(db: Db) {
    let store = db.open().await;
    let mut new = banning(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    new.decisions[1].until = later(-HOUR);
    new.decisions[2].until = later(-3 * HOUR);
    store_one(&store, new).await;
    store_one(&store, banning(&["192.0.2.4"])).await;
    store.delete_alert(later(-HOUR), 2).await.unwrap();
    let load = async |history: u64| {
        let mut ids = Vec::new();
        let mut sink = |change: Change| {
            let removed = matches!(change, Change::Removed(_));
            ids.push((row(change).id, removed));
        };
        let head = store.load(NOW, Duration::from_secs(history), &mut sink).await.unwrap();
        assert_eq!(head, Commit(3));
        ids
    };
    assert_eq!(load(2 * 3600).await, [(1, false), (2, false), (4, true)]);
    assert_eq!(load(60).await, [(1, false)]);
    assert_eq!(load(4 * 3600).await.len(), 4);
}

pub(crate) async fn addresses_are_counted(db: Db) {
    let store = db.open().await;
    let mut new =
        banning(&["192.0.2.1", "192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "2001:db8::7", "0.0.0.0/0"]);
    new.decisions[2].until = later(-HOUR);
    new.decisions[0].until = later(2 * HOUR);
    new.decisions.push(palisade_store::NewDecision { target: Target::stored("Country", "FR"), ..ban("FR") });
    store_one(&store, new).await;
    store.add_alerts(later(HOUR), None, vec![banning(&["192.0.2.1"])]).await.unwrap();
    let net = |text: &str| palisade_net::parse_prefix(text).unwrap();
    for (value, since, active, expected) in [
        ("192.0.2.1", None, None, 5),
        ("::ffff:192.0.2.1", None, None, 5),
        ("192.0.2.2", None, None, 2),
        ("192.0.2.0/25", None, None, 2),
        ("2001:db8::7", None, None, 2),
        ("2001:db9::", None, None, 0),
        ("192.0.2.1", Some(later(1)), None, 1),
        ("192.0.2.1", None, Some(NOW), 4),
        ("192.0.2.1", Some(later(1)), Some(later(3 * HOUR)), 0),
    ] {
        let counted = store.decision_counts(&net(value), since, active).await.unwrap();
        assert_eq!(counted, expected, "{value} {since:?} {active:?}");
    }
    let left = async |value: &str| store.active_time_left(&net(value), NOW).await.unwrap();
    assert_eq!(left("192.0.2.1").await, Duration::from_secs(7200));
    assert_eq!(left("192.0.2.9").await, Duration::from_secs(3600));
    assert_eq!(left("2001:db9::").await, Duration::ZERO);
}
