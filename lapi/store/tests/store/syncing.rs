//! A writer waits until running LAPIs have applied what it wrote.

use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use palisade_store::{DbConfig, Listener, Notice, Store};

use super::db::Db;

const LONG: Duration = Duration::from_secs(30);

/// The next request, and an error after a long while.
async fn next_request(listener: &mut Listener) -> palisade_store::SyncRequest {
    let next = async {
        loop {
            match listener.next().await {
                Notice::Sync(request) => return request,
                Notice::Disconnected(error) => panic!("{error}"),
                Notice::Listening | Notice::Committed { .. } => {}
            }
        }
    };
    tokio::time::timeout(LONG, next).await.expect("a request arrives")
}

/// Starts a LAPI's listener; returns when it can be found.
async fn listening(store: &Store, on_server: bool) -> Listener {
    let mut listener = store.listen();
    if on_server {
        while !matches!(listener.next().await, Notice::Listening) {}
    } else {
        // The socket is bound by the first call, which then waits.
        tokio::time::timeout(Duration::from_millis(50), listener.next()).await.unwrap_err();
    }
    listener
}

pub(crate) async fn a_writer_waits_for_every_lapi_that_runs(db: Db) {
    let on_server = matches!(db.config.engine, palisade_store::Engine::Postgres(_));
    let (lapi, command) = (db.open().await, db.open().await);
    let began = Instant::now();
    command.sync_lapis(LONG).await.unwrap();
    assert!(began.elapsed() < LONG / 3, "no LAPI runs");

    let mut one = listening(&lapi, on_server).await;
    // On SQLite there is one LAPI.
    let mut other = if on_server { Some(listening(&lapi, true).await) } else { None };
    let (mut waiting, asking) = (tokio::task::JoinSet::new(), command.clone());
    waiting.spawn(async move { asking.sync_lapis(LONG).await });
    let request = next_request(&mut one).await;
    if let Some(other) = &mut other {
        request.answer().await;
        let second = next_request(other).await;
        assert!(waiting.try_join_next().is_none(), "one has not answered");
        second.answer().await;
    } else {
        assert!(waiting.try_join_next().is_none(), "it has not answered");
        request.answer().await;
    }
    for synced in waiting.join_all().await {
        synced.unwrap();
    }

    // A LAPI that does not answer costs the timeout, and one that has ended nothing.
    let error = command.sync_lapis(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 1 s"), "{error}");
    drop((one, other));
    let began = Instant::now();
    while command.sync_lapis(Duration::from_secs(1)).await.is_err() {
        assert!(began.elapsed() < LONG, "a LAPI that has ended is waited for");
    }
}

#[tokio::test]
async fn the_socket_of_a_dead_lapi_is_replaced_however_long_its_path_is() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("long".repeat(40));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("lapi.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    let socket = folder.join("lapi.db-sync.sock");
    // A process that is killed leaves its socket.
    drop(listening(&store, false).await);
    assert!(!socket.exists(), "removed in the end");
    let open = std::fs::File::open(&folder).unwrap();
    let short = format!("/proc/self/fd/{}/lapi.db-sync.sock", open.as_raw_fd());
    drop(std::os::unix::net::UnixListener::bind(short).unwrap());
    store.sync_lapis(LONG).await.unwrap();
    let mut lapi = listening(&store, false).await;
    // Through a link to the file the same socket is found.
    let link = root.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let other = Store::open(&DbConfig::sqlite(&link)).await.unwrap();
    let answer = async { next_request(&mut lapi).await.answer().await };
    tokio::join!(other.sync_lapis(LONG), answer).0.unwrap();
    let second = store.listen().next().await;
    assert!(matches!(second, Notice::Disconnected(_)), "{second:?}");
}
