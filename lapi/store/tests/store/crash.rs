//! Several processes on one database, and processes that are killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use palisade_model::Commit;
use palisade_store::{AlertQuery, DbConfig, Engine, PostgresServer, Store};

use super::db::{Db, NOW, banning, loaded, store_one};
use super::imports::import_of;

/// Runs one of the roles below in a process of its own.
pub(crate) fn process(role: &str, config: &DbConfig) -> Child {
    let (path, name) = match &config.engine {
        Engine::Sqlite { path, .. } => (path.clone(), String::new()),
        Engine::Postgres(server) => (server.socket.clone().unwrap(), server.name.clone()),
    };
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("crash::{role}"), "--ignored", "--nocapture"])
        .env("STORE_PATH", path)
        .env("STORE_NAME", name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In such a process: the database it was sent to.
async fn sent_to() -> Store {
    let path = PathBuf::from(std::env::var_os("STORE_PATH").expect("a role is played by `process` only"));
    let name = std::env::var("STORE_NAME").unwrap();
    let config = if name.is_empty() {
        DbConfig::sqlite(path)
    } else {
        let user = "palisade".to_owned();
        DbConfig::postgres(PostgresServer { user, name, socket: Some(path), ..PostgresServer::default() })
    };
    Store::open(&config).await.unwrap()
}

#[tokio::test]
#[ignore = "a role in the tests below"]
async fn imports_for_ever() {
    let store = sent_to().await;
    for n in 0.. {
        let mut import = import_of(35_000);
        import.digest = None;
        println!("importing {n}");
        let added = store.add_alerts(NOW, None, vec![import]).await.unwrap();
        println!("imported {}", added.ids[0].alert);
    }
}

/// `STORE_PATH` is CrowdSec's file; ours lies beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a role in another file"]
async fn takes_over() {
    let theirs = PathBuf::from(std::env::var_os("STORE_PATH").expect("a role is played by `process` only"));
    let config = DbConfig {
        crowdsec: Some(palisade_store::CrowdSecDatabase::File(theirs.clone())),
        ..DbConfig::sqlite(palisade_store::own_file(&theirs))
    };
    println!("open");
    let quiet: palisade_store::OnProgress = std::sync::Arc::new(|_| ());
    let keep = palisade_store::Retention::default();
    let (store, _) = Store::open_or_take_over(&config, super::crowdsec::NOW, &keep, quiet).await.unwrap();
    store.close().await;
}

#[tokio::test]
#[ignore = "a role in another file"]
async fn holds_open() {
    let path = PathBuf::from(std::env::var_os("STORE_PATH").expect("a role is played by `process` only"));
    let mut connection = super::sqlite_only::raw(&path).await;
    super::sqlite_only::run(&mut connection, "PRAGMA journal_mode = WAL; SELECT COUNT(*) FROM alerts").await;
    println!("open");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a role in the tests below"]
async fn writes_two_hundred() {
    let store = sent_to().await;
    for _ in 0..200 {
        store_one(&store, banning(&["192.0.2.1"])).await;
    }
    store.close().await;
}

pub(crate) async fn a_killed_import_leaves_all_or_nothing(db: Db) {
    let mut acknowledged = 0;
    // Stopped at different places: between steps, within one, after a whole import.
    for (round, steps) in [0_u64, 1, 3, 5].into_iter().enumerate() {
        let store = db.open().await;
        let from = store.head().await.unwrap().commit;
        let mut child = process("imports_for_ever", &db.config);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while store.head().await.unwrap().commit < Commit(from.0 + steps)
            || (steps == 0 && !begins(&mut lines))
        {
            assert!(std::time::Instant::now() < deadline, "the import does not get on");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged += lines.map_while(Result::ok).filter(|line| line.starts_with("imported")).count();
        store.close().await;

        // PostgreSQL detects the lost client with a delay, and holds the lock until then.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let (whole, decisions) = loop {
            let store = db.open().await;
            let alerts = store.alerts(&AlertQuery::default(), NOW).await.unwrap();
            assert!(alerts.iter().all(|alert| alert.decisions.len() == 35_000), "round {round}");
            let (changes, _) = loaded(&store, NOW).await;
            let alive =
                changes.iter().filter(|change| matches!(change, palisade_model::Change::Put(_))).count();
            store.close().await;
            if alive == alerts.len() * 35_000 || std::time::Instant::now() > deadline {
                break (alerts.len(), alive);
            }
        };
        assert_eq!(decisions, whole * 35_000, "round {round}: leftovers");
        assert!(whole >= acknowledged, "round {round}: {whole} are there, {acknowledged} were acknowledged");
    }
}

fn begins(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> bool {
    lines.any(|line| line.is_ok_and(|line| line.starts_with("importing")))
}

pub(crate) async fn two_processes_write_at_once(db: Db) {
    let store = db.open().await;
    let mut children = [process("writes_two_hundred", &db.config), process("writes_two_hundred", &db.config)];
    for _ in 0..200 {
        store_one(&store, banning(&["192.0.2.2"])).await;
    }
    for child in &mut children {
        let done = tokio::task::block_in_place(|| child.wait().unwrap());
        assert!(done.success());
    }
    assert_eq!(store.head().await.unwrap().commit, Commit(600));
    let commits = store.changes_since(Commit(0), 1000).await.unwrap();
    assert!(commits.iter().all(|(_, changes)| changes.len() == 1));
    assert_eq!(commits.len(), 600);
}
