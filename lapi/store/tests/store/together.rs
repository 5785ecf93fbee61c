//! Several LAPIs on one server: replication, leadership, and a server that stops responding.

use std::time::{Duration, Instant};

use palisade_model::Commit;
use palisade_store::{
    DbConfig, InstanceReport, Leadership, Listener, NewAllowlistItem, NewBouncer, NewMachine, Notice, Store,
    StoreError,
};

use rustix::process::Signal;

use super::db::{Db, NOW, banning, loaded, store_one};
use super::postgres::{Server, shared};

async fn two() -> (DbConfig, Store, Store) {
    let db = Db::postgres();
    // Both at once: one makes the tables.
    let (one, other) = tokio::join!(db.open(), db.open());
    (db.config, one, other)
}

fn key(name: &str) -> NewBouncer {
    NewBouncer {
        name: name.into(),
        key_hash: name.into(),
        auth_type: "api-key".into(),
        ..NewBouncer::default()
    }
}

/// A listener whose notifications are known to arrive.
async fn listening(store: &Store) -> Listener {
    let mut listener = store.listen();
    wait_for(&mut listener, |notice| matches!(notice, Notice::Listening)).await;
    listener
}

/// The next notice, which is of a commit.
async fn committed(listener: &mut Listener) -> (Commit, i64, bool) {
    match wait_for(listener, |_| true).await {
        Notice::Committed { commit, registry_version, own } => (commit, registry_version, own),
        other => panic!("{other:?}"),
    }
}

async fn wait_for(listener: &mut Listener, fits: impl Fn(&Notice) -> bool) -> Notice {
    let timeout = Duration::from_secs(60);
    let heard = async {
        loop {
            let notice = listener.next().await;
            if fits(&notice) {
                return notice;
            }
        }
    };
    tokio::time::timeout(timeout, heard).await.expect("the notice comes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_two_writers_are_in_order_and_nothing_is_missed() {
    let (_, one, other) = two().await;
    let mut follower = tokio::task::JoinSet::new();
    {
        let other = other.clone();
        follower.spawn(async move {
            let (mut at, mut seen) = (Commit(0), Vec::new());
            while at < Commit(200) {
                for (commit, changes) in other.changes_since(at, 7).await.unwrap() {
                    assert_eq!(commit, Commit(at.0 + 1), "in order and without gaps");
                    assert_eq!(changes.len(), 1, "all of it at once");
                    seen.extend(changes.into_iter().map(|change| super::db::row(change).target.value.text()));
                    at = commit;
                }
            }
            seen
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = if n % 2 == 0 { one.clone() } else { other.clone() };
        writers.spawn(async move {
            let value = format!("192.0.2.{n}");
            let (_, _, commit) = store_one(&store, banning(&[&value])).await;
            (commit.unwrap().0, value)
        });
    }
    let mut written = writers.join_all().await;
    written.sort();
    assert!(written.iter().map(|(commit, _)| *commit).eq(1..=200));
    let seen = tokio::time::timeout(Duration::from_secs(60), follower.join_all()).await.unwrap().remove(0);
    assert_eq!(seen, written.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_makes_the_other_has() {
    let (_, one, other) = two().await;
    let machine =
        || NewMachine { name: "web-1".into(), auth_type: "password".into(), ..NewMachine::default() };
    let (first, second) =
        tokio::join!(one.create_machine(NOW, machine()), other.create_machine(NOW, machine()));
    let taken = StoreError::Exists { kind: "machine", name: "web-1".into() };
    assert_eq!([&first, &second].into_iter().filter(|made| made.as_ref().err() == Some(&taken)).count(), 1);
    assert!(first.is_ok() || second.is_ok());

    one.create_bouncer(NOW, key("fw")).await.unwrap();
    let (first, second) = tokio::join!(
        one.bouncer_at(NOW, "fw", "api-key", "fw", "192.0.2.1"),
        other.bouncer_at(NOW, "fw", "api-key", "fw", "192.0.2.1")
    );
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!((one.bouncers().await.unwrap().len(), one.machines().await.unwrap().len()), (2, 1));

    let (first, second) = tokio::join!(
        one.setting_or_insert(NOW, "jwt_secret", "one's"),
        other.setting_or_insert(NOW, "jwt_secret", "other's")
    );
    assert_eq!(first.unwrap(), second.unwrap());

    let fw = one.bouncer("fw").await.unwrap().unwrap().id;
    let seen = |instance: &str, commit| InstanceReport {
        bouncer: fw,
        instance: instance.into(),
        ip: "192.0.2.1".into(),
        kind: "palisade-firewall".into(),
        version: "v1".into(),
        at: NOW,
        commit: Commit(commit),
    };
    let (first, second) =
        tokio::join!(one.upsert_instances(vec![seen("a", 1)]), other.upsert_instances(vec![seen("b", 2)]));
    first.unwrap();
    second.unwrap();
    assert_eq!(other.bouncer_instances(None).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_commit_reaches_the_other_lapis() {
    let (config, one, other) = two().await;
    let mut listener = listening(&other).await;
    // Not ours, and not to be stumbled over.
    shared().sql(&config, "NOTIFY palisade_head, 'something else'");
    let moved = |commit, registry_version, own| (Commit(commit), registry_version, own);
    store_one(&one, banning(&["192.0.2.1"])).await;
    assert_eq!(committed(&mut listener).await, moved(1, 0, false));
    store_one(&other, banning(&["192.0.2.2"])).await;
    assert_eq!(committed(&mut listener).await, moved(2, 0, true));
    one.create_bouncer(NOW, key("fw")).await.unwrap();
    assert_eq!(committed(&mut listener).await, moved(2, 1, false));
    let item = NewAllowlistItem { value: "192.0.2.9".into(), ..NewAllowlistItem::default() };
    one.create_allowlist(NOW, "office", "").await.unwrap();
    assert_eq!(committed(&mut listener).await, moved(2, 2, false));
    one.add_to_allowlist(NOW, "office", vec![item]).await.unwrap();
    assert_eq!(committed(&mut listener).await, moved(2, 3, false));
    // Writes that change nothing for others are not announced; neither are failed ones.
    one.setting_or_insert(NOW, "a", "b").await.unwrap();
    one.create_bouncer(NOW, key("fw")).await.unwrap_err();
    one.delete_bouncer("fw").await.unwrap();
    assert_eq!(committed(&mut listener).await, moved(2, 4, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_reports_a_lost_connection_and_reconnects() {
    let (config, one, other) = two().await;
    let mut listener = listening(&other).await;
    shared().sql(
        &config,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
         AND query LIKE 'SELECT pg_backend_pid()%'",
    );
    let lost = wait_for(&mut listener, |_| true).await;
    assert!(matches!(lost, Notice::Disconnected(StoreError::Unavailable { .. })), "{lost:?}");
    assert!(matches!(wait_for(&mut listener, |_| true).await, Notice::Listening));
    store_one(&one, banning(&["192.0.2.1"])).await;
    assert_eq!(committed(&mut listener).await, (Commit(1), 0, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_until_it_is_gone() {
    let (config, one, other) = two().await;
    let (mut first, mut second) = (one.leadership(), other.leadership());
    async fn holds(leadership: &mut Leadership) -> bool {
        leadership.hold().await.unwrap()
    }
    assert!(holds(&mut first).await);
    assert!(!holds(&mut second).await);
    assert!(holds(&mut first).await && holds(&mut first).await);
    // The leader dies: its connection ends with it.
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds(&mut second).await {
        assert!(Instant::now() < deadline, "nobody takes over");
    }
    let mut first = one.leadership();
    assert!(!holds(&mut first).await);
    // The leader's connection breaks: the first to try becomes the leader.
    shared().sql(
        &config,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds(&mut first).await {
        assert!(Instant::now() < deadline, "nobody takes over");
    }
    assert!(!holds(&mut second).await);
    first.resign().await;
    while !holds(&mut second).await {
        assert!(Instant::now() < deadline, "nobody takes over");
    }
    let alone = Db::sqlite().open().await;
    assert!(holds(&mut alone.leadership()).await && holds(&mut alone.leadership()).await);
}

/// Not a server that is away, which refuses: one that does not answer, as behind a network that swallows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_and_found_again() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let config = server.database();
    let (one, other) = (Store::open(&config).await.unwrap(), Store::open(&config).await.unwrap());
    store_one(&one, banning(&["192.0.2.1"])).await;
    one.head().await.unwrap();
    let mut listener = listening(&one).await;
    let mut leader = one.leadership();
    assert!(leader.hold().await.unwrap());

    server.signal(Signal::STOP);
    // What is begun only now is refused within the time for a connection and a beginning; so is what waits behind it.
    let began = Instant::now();
    let bound = Duration::from_secs(9);
    for _ in 0..2 {
        let asked = Instant::now();
        let (read, told, written, led) = tokio::join!(
            one.head(),
            one.bouncer("fw"),
            one.add_alerts(NOW, None, vec![banning(&["192.0.2.2"])]),
            leader.hold()
        );
        let refused = [read.map(drop), told.map(drop), written.map(drop), led.map(drop)];
        for error in refused.map(Result::unwrap_err) {
            assert!(matches!(error, StoreError::Unavailable { .. }) && error.is_temporary(), "{error:?}");
        }
        assert!(asked.elapsed() < bound * timeout_factor(), "{:?}", asked.elapsed());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let store = one.clone();
        tasks.spawn(async move {
            match n % 2 {
                0 => store.end_decisions(NOW, &[1]).await.is_err(),
                _ => store.head().await.is_err(),
            }
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|failed| failed));
    assert!(began.elapsed() < bound * 3 * timeout_factor(), "many do not wait longer than one");
    wait_for(&mut listener, |notice| matches!(notice, Notice::Disconnected(_))).await;

    server.signal(Signal::CONT);
    wait_for(&mut listener, |notice| matches!(notice, Notice::Listening)).await;
    store_one(&one, banning(&["192.0.2.3"])).await;
    assert_eq!(one.head().await, other.head().await);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !leader.hold().await.unwrap() {
        // The server has yet to detect that the leader's connection is gone.
        assert!(Instant::now() < deadline, "nobody leads");
    }
    // A refused write was not applied: it was given up before its connection was used.
    let values: Vec<String> =
        loaded(&other, NOW).await.0.into_iter().map(|one| super::db::row(one).target.value.text()).collect();
    assert_eq!(values, ["192.0.2.1", "192.0.2.3"]);
    one.close().await;
    drop(server);
}

/// A LAPI that is suspended in the middle of a write holds what all writers wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_falls_asleep_in_a_write_does_not_keep_the_others() {
    let (config, one, _) = two().await;
    let mut child = super::crash::process("imports_for_ever", &config);
    let pid = rustix::process::Pid::from_child(&child);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    let write = async || one.add_alerts(NOW, None, vec![banning(&["192.0.2.1"])]).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        while one.head().await.unwrap().commit == Commit(0) {
            assert!(Instant::now() < deadline, "the import does not get on");
        }
        signal(Signal::STOP);
        if let Err(error) = write().await {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
            break;
        }
        // It was stopped between two writes.
        signal(Signal::CONT);
        assert!(Instant::now() < deadline, "it is never caught in a write");
    }
    // It still sleeps when the server ends its connection.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = write().await {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(Instant::now() < deadline, "nobody may write");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Slow machines get more time (`PALISADE_PATIENCE`).
fn timeout_factor() -> u32 {
    std::env::var("PALISADE_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
