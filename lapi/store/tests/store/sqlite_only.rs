//! SQLite files: ownership, permissions, durability, and errors of damaged ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use palisade_store::{DbConfig, Engine, Store, StoreError};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::db::{NOW, banning, loaded, store_one};

pub(crate) async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

pub(crate) async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn refusal(path: &Path) -> StoreError {
    Store::open(&DbConfig::sqlite(path)).await.unwrap_err()
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    for name in ["palisade.db", "palisade.db-wal", "palisade.db-shm"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{name}");
    }
    store.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn without_wal_it_works_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    let mut config = DbConfig::sqlite(&path);
    config.engine = Engine::Sqlite { path: path.clone(), wal: Some(false) };
    let store = Store::open(&config).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        tasks.spawn(async move {
            if n % 2 == 0 {
                store_one(&store, banning(&["192.0.2.1"])).await.1.len()
            } else {
                loaded(&store, NOW).await.0.len()
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(loaded(&store, NOW).await.0.len(), 10);
    assert!(!folder.path().join("palisade.db-wal").exists());
    // And back again.
    store.close().await;
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    assert_eq!(loaded(&store, NOW).await.0.len(), 10);
}

#[tokio::test]
async fn files_of_others_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let crowdsec = folder.path().join("crowdsec.db");
    let mut connection = raw(&crowdsec).await;
    run(
        &mut connection,
        "CREATE TABLE alerts (id integer); CREATE TABLE decisions (id integer); CREATE TABLE machines (id integer); \
         CREATE TABLE bouncers (id integer); CREATE TABLE meta (id integer)",
    )
    .await;
    let before = std::fs::read(&crowdsec).unwrap();
    let told = refusal(&crowdsec).await.to_string();
    assert!(told.contains("belongs to CrowdSec") && told.contains("db_config.db_path"), "{told}");
    assert_eq!(std::fs::read(&crowdsec).unwrap(), before);

    let other = folder.path().join("other.db");
    run(&mut raw(&other).await, "CREATE TABLE notes (text text)").await;
    assert!(matches!(refusal(&other).await, StoreError::Foreign { owner: "another program", .. }));
}

#[tokio::test]
async fn damaged_files_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, "once upon a time there was no database".repeat(200)).unwrap();
    let told = refusal(&garbage).await.to_string();
    assert!(told.contains("is damaged") && told.contains("backup"), "{told}");

    let path = folder.path().join("palisade.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    for _ in 0..20 {
        let values: Vec<String> = (0..200).map(|n| format!("10.0.0.{n}")).collect();
        store_one(&store, banning(&values.iter().map(String::as_str).collect::<Vec<_>>())).await;
    }
    store.close().await;
    let whole = std::fs::read(&path).unwrap();
    for (what, broken) in [
        ("cut off", whole[..whole.len() / 2].to_vec()),
        ("overwritten", {
            let mut bytes = whole.clone();
            bytes[8192..40_000].fill(0xa5);
            bytes
        }),
    ] {
        std::fs::write(&path, broken).unwrap();
        assert!(matches!(refusal(&path).await, StoreError::Damaged { .. }), "{what}");
    }
    // A file with only a header, as a crash at the first start leaves it: it becomes a new database.
    std::fs::write(&path, "").unwrap();
    Store::open(&DbConfig::sqlite(&path)).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    Store::open(&DbConfig::sqlite(&path)).await.unwrap().close().await;
    let add = "INSERT INTO palisade_migrations (version, description, success, checksum, execution_time) \
               VALUES (9999, 'later', TRUE, x'00', 0)";
    run(&mut raw(&path).await, add).await;
    let told = refusal(&path).await;
    assert!(matches!(told, StoreError::Newer { found: 9999, .. }), "{told}");
    assert!(told.to_string().contains("written by a newer version"), "{told}");
}

#[tokio::test]
async fn places_that_cannot_be_written_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for (path, word) in [
        (folder.path().join("missing/palisade.db"), "does not exist"),
        (folder.path().to_owned(), "not a file"),
    ] {
        let told = refusal(&path).await.to_string();
        assert!(told.contains(word), "{told}");
    }
}

/// Rows that another program or an earlier version wrote.
#[tokio::test]
async fn odd_rows_do_not_make_a_list_fail() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    store.create_allowlist(NOW, "l", "").await.unwrap();
    let mut other = raw(&path).await;
    run(
        &mut other,
        "INSERT INTO machines (created_at, updated_at, last_heartbeat, name, password, validated, auth_type, version) \
         VALUES ('yesterday', 9223372036854775807, 'x', CAST(x'6dff' AS TEXT), '', 'no', 'password', x'00ff'), \
         (1, 1, NULL, 'sound', '', 1, 'password', 'v1');
         INSERT INTO bouncers (created_at, updated_at, last_pull, name, key_hash, auth_type, auto_created) \
         VALUES (1, 'x', 'never', CAST(x'62ff' AS TEXT), 'k', 'api-key', 'maybe'), (1, 1, 1, 'sound', 'h', 'api-key', 0);
         INSERT INTO allowlist_items (list_id, created_at, value, comment, expires_at) \
         VALUES (1, 1, 'nonsense', '', NULL), (1, 1, '10.0.0.1', 'a', 1782900000001), (1, 1, '10.0.0.1/32', 'b', NULL), \
         (1, 'x', '::ffff:10.0.0.1', x'ff', 1782900000002);
         INSERT INTO usage_metrics (generated_type, generated_by, received_at, payload) VALUES ('RC', 'b', 'x', x'ff');
         UPDATE alerts SET events = 'no JSON', meta = '{', source_latitude = 9e999, scenario = CAST(x'61ff' AS TEXT), \
         created_at = 'x', capacity = 9223372036854775807;
         UPDATE decisions SET scenario = CAST(x'61ff' AS TEXT), simulated = 'x', value = x'ff'",
    )
    .await;
    let names: Vec<String> = store.machines().await.unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["m\u{fffd}", "sound"]);
    let names: Vec<String> = store.bouncers().await.unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["b\u{fffd}", "sound"]);
    let list = store.allowlist(NOW, "l").await.unwrap().unwrap();
    // Spelled in three ways by an earlier version: the first spelling, and the latest end.
    assert_eq!((list.size, &*list.items[0].value, list.items[0].expires_at), (1, "10.0.0.1", None));
    let removed = store.remove_from_allowlist(NOW, "l", &["10.0.0.1".to_owned()]).await.unwrap();
    assert_eq!(removed.count, 1);
    assert_eq!(store.allowlist(NOW, "l").await.unwrap().unwrap().items.len(), 0);
    let removed = store.remove_from_allowlist(NOW, "l", &["nonsense".to_owned()]).await.unwrap();
    assert_eq!(removed.count, 1);
    let query = palisade_store::AlertQuery::parse(&[], false).unwrap();
    let alerts = store.alerts(&query, NOW).await.unwrap();
    assert_eq!((&*alerts[0].scenario, alerts[0].decisions.len()), ("a\u{fffd}", 1));
    // The LAPI starts.
    loaded(&store, NOW).await;
}

/// Only root can give files away, and is refused none.
#[tokio::test]
async fn what_root_makes_belongs_to_the_owner_of_the_folder() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_533)).unwrap();
    let path = folder.path().join("palisade.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    // The socket is bound by the first call.
    let mut listener = store.listen();
    tokio::time::timeout(std::time::Duration::from_millis(50), listener.next()).await.unwrap_err();
    store_one(&store, banning(&["192.0.2.1"])).await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (65_534, 65_533), "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    for name in [
        "palisade.db",
        "palisade.db-open.lock",
        "palisade.db-shm",
        "palisade.db-sync.sock",
        "palisade.db-wal",
    ] {
        assert!(names.iter().any(|there| there == name), "{name} in {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_waits_for_another_programs_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    let mut other = raw(&path).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let writing = store_one(&store, banning(&["192.0.2.1"]));
    tokio::pin!(writing);
    let early = tokio::time::timeout(std::time::Duration::from_millis(1500), &mut writing).await;
    assert!(early.is_err(), "somebody else writes");
    // Readers do not wait.
    assert_eq!(loaded(&store, NOW).await.0.len(), 0);
    run(&mut other, "COMMIT").await;
    assert_eq!(writing.await.1.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let config = DbConfig::sqlite(&path);
        tasks.spawn(async move { Store::open(&config).await.unwrap().head().await.unwrap().database });
    }
    let mut ids = tasks.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_table_that_was_dropped_is_reported_as_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palisade.db");
    let store = Store::open(&DbConfig::sqlite(&path)).await.unwrap();
    let other = SqliteConnectOptions::new().filename(&path).connect().await;
    let mut other = other.unwrap();
    sqlx::raw_sql("ALTER TABLE machines RENAME TO hidden").execute(&mut other).await.unwrap();
    let refused = store.machines().await.unwrap_err();
    assert!(
        refused.is_temporary() && refused.to_string().contains("another program has changed it"),
        "{refused}"
    );
    sqlx::raw_sql("ALTER TABLE hidden RENAME TO machines").execute(&mut other).await.unwrap();
    store.machines().await.unwrap();
    sqlx::raw_sql("DELETE FROM head").execute(&mut other).await.unwrap();
    let refused = store.begin_timeline(NOW, 7).await.unwrap_err();
    assert!(refused.is_temporary(), "{refused:?}");
}
