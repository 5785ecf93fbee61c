//! PostgreSQL alone: reconnection, tables of other programs, errors without passwords.

use std::time::{Duration, Instant};

use palisade_model::Commit;
use palisade_store::{DbConfig, Engine, PostgresServer, Store, StoreError};
use palisade_wire::UnixMillis;

use super::db::{NOW, banning, loaded, store_one};
use super::postgres::{Server, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_found_again() {
    let mut server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let config = server.database();
    let store = Store::open(&config).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    let server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    });
    let mut server = server.await.unwrap();

    let began = Instant::now();
    let (read, written) =
        tokio::join!(store.head(), store.add_alerts(NOW, None, vec![banning(&["192.0.2.2"])]));
    for error in [read.unwrap_err(), written.unwrap_err()] {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(error.is_temporary() && !error.to_string().contains("never to be seen"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        tasks.spawn(async move { store.end_decisions(NOW, &[1]).await.is_err() });
    }
    assert!(tasks.join_all().await.into_iter().all(|failed| failed));
    assert!(began.elapsed() < Duration::from_secs(24), "who waits behind it does not wait again");
    let told = Store::open(&config).await.unwrap_err();
    assert!(matches!(told, StoreError::Unavailable { .. }), "{told:?}");

    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let server = server.await.unwrap();
    store_one(&store, banning(&["192.0.2.3"])).await;
    let values: Vec<String> =
        loaded(&store, NOW).await.0.into_iter().map(|one| super::db::row(one).target.value.text()).collect();
    assert_eq!(values, ["192.0.2.1", "192.0.2.3"]);
    store.close().await;
    drop(server);
}

#[tokio::test]
async fn connections_that_the_server_ends_are_replaced() {
    let server = shared();
    let config = server.database();
    let store = Store::open(&config).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    loaded(&store, NOW).await;
    server.sql(
        &config,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid()",
    );
    store_one(&store, banning(&["192.0.2.2"])).await;
    assert_eq!(loaded(&store, NOW).await.0.len(), 2);
}

#[tokio::test]
async fn tables_of_others_are_left_alone() {
    let server = shared();
    let config = server.database();
    server.sql(
        &config,
        "CREATE TABLE alerts (id int); CREATE TABLE head (one int); INSERT INTO head VALUES (7)",
    );
    let store = Store::open(&config).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    assert_eq!(loaded(&store, NOW).await.0.len(), 1);
    // Fails when the row has gone.
    server.sql(&config, "SELECT 1 / COUNT(*) FROM public.head WHERE one = 7");
}

#[tokio::test]
async fn an_older_schema_is_brought_up_to_date_and_keeps_places_in_the_stream() {
    let server = shared();
    let config = server.database();
    Store::open(&config).await.unwrap().close().await;
    // As the first version left it.
    server.sql(
        &config,
        "DROP TABLE bouncer_instances; DROP TABLE lineages; DROP TABLE crowdsec_imports; DROP TABLE crowdsec_rows; \
         DROP TABLE crowdsec_ranges; ALTER TABLE bouncers DROP COLUMN cursor_time; \
         ALTER TABLE bouncers DROP COLUMN last_seen; ALTER TABLE machines DROP COLUMN last_seen; \
         DELETE FROM palisade_migrations WHERE version > 1; \
         INSERT INTO bouncers (created_at, updated_at, name, key_hash, last_pull, cursor_commit, auth_type, auto_created) \
         VALUES (1, 1, 'streams', 'k1', 5, 7, 'api-key', FALSE), (1, 1, 'asks', 'k2', 6, NULL, 'api-key', FALSE)",
    );
    let store = Store::open(&config).await.unwrap();
    let rows = store.bouncers().await.unwrap();
    let places: Vec<_> = rows.into_iter().map(|row| (row.last_pull, row.cursor)).collect();
    let time = UnixMillis;
    assert_eq!(places, [(Some(time(5)), Some((Commit(7), time(5)))), (Some(time(6)), None)],);
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let server = shared();
    let config = server.database();
    Store::open(&config).await.unwrap().close().await;
    server.sql(&config, "INSERT INTO palisade_migrations VALUES (9999, 'later', now(), TRUE, '', 0)");
    let told = Store::open(&config).await.unwrap_err();
    assert!(matches!(told, StoreError::Newer { found: 9999, .. }), "{told:?}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_without_its_password() {
    let Engine::Postgres(known) = shared().database().engine else { panic!("a server") };
    for (server, words) in [
        (PostgresServer { name: "nowhere".into(), ..known.clone() }, "nowhere"),
        (PostgresServer { socket: Some("/nonexistent".into()), ..known.clone() }, "/nonexistent"),
        (PostgresServer { socket: None, host: "127.0.0.1".into(), port: 1, ..known.clone() }, "127.0.0.1:1"),
        (PostgresServer { name: String::new(), ..known.clone() }, "db_name"),
        (PostgresServer { ca: Some("/no/ca.pem".into()), ..known.clone() }, "/no/ca.pem"),
    ] {
        let config = DbConfig::postgres(server);
        let began = Instant::now();
        let told = Store::open(&config).await.unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
        assert!(
            !told.contains("never to be seen") && !format!("{config:?}").contains("never to be seen"),
            "{told}"
        );
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_held_for_too_long_is_an_error_and_no_hang() {
    let config = shared().database();
    let store = Store::open(&config).await.unwrap();
    let held = config.clone();
    let other = tokio::task::spawn_blocking(move || {
        shared().sql(&held, "BEGIN; SELECT 1 FROM head FOR UPDATE; SELECT pg_sleep(12); COMMIT");
    });
    // Goes well until the other one holds the row.
    let refused = loop {
        let began = Instant::now();
        if let Err(error) = store.add_alerts(NOW, None, vec![banning(&["192.0.2.1"])]).await {
            break (began.elapsed(), error);
        }
    };
    assert!(refused.0 < Duration::from_secs(11), "{refused:?}");
    assert!(matches!(refused.1, StoreError::Unavailable { .. }), "{refused:?}");
    assert!(store.head().await.is_ok(), "readers do not wait");
    other.await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
}

/// Ends all sessions, so that new ones have the database's settings.
const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> \
                            pg_backend_pid()";

#[tokio::test]
async fn a_read_only_server_is_read_and_written_when_it_can_be() {
    let server = shared();
    let config = server.database();
    let store = Store::open(&config).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    let Engine::Postgres(named) = &config.engine else { unreachable!() };
    let set = |value: &str| {
        let name = &named.name;
        server.sql(
            &config,
            &format!(
                "BEGIN READ WRITE; ALTER DATABASE {name} SET default_transaction_read_only = {value}; COMMIT"
            ),
        );
    };
    set("on");
    server.sql(&config, END_SESSIONS);
    // One that is running, and one that is started.
    for (store, token) in [(store, 7), (Store::open(&config).await.unwrap(), 8)] {
        assert!(!loaded(&store, NOW).await.0.is_empty());
        store.begin_timeline(NOW, token).await.unwrap_err();
        let refused = store.add_alerts(NOW, None, vec![banning(&["192.0.2.2"])]).await.unwrap_err();
        assert!(refused.is_temporary(), "{refused:?}");
        assert!(
            store.write_problem().is_some_and(|text| text.contains("read-only")),
            "{:?}",
            store.write_problem()
        );
        store.retry_writing().await.unwrap_err();
        set("off");
        store.retry_writing().await.unwrap();
        assert_eq!(store.write_problem(), None);
        // Begun before the first write that succeeded.
        assert_eq!(store.timelines().await.unwrap().last().unwrap().token, token);
        store_one(&store, banning(&["192.0.2.1"])).await;
        set("on");
    }
    set("off");
}

#[tokio::test]
async fn a_table_that_was_dropped_is_reported_as_unavailable() {
    let server = shared();
    let config = server.database();
    let store = Store::open(&config).await.unwrap();
    server.sql(&config, "ALTER TABLE alerts RENAME TO hidden");
    let refused = store.add_alerts(NOW, None, vec![banning(&["192.0.2.2"])]).await.unwrap_err();
    assert!(
        refused.is_temporary() && refused.to_string().contains("another program has changed it"),
        "{refused}"
    );
    server.sql(&config, "ALTER TABLE hidden RENAME TO alerts");
    store_one(&store, banning(&["192.0.2.1"])).await;
}
