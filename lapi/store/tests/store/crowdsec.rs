//! Takes over databases that real CrowdSec servers of 1.4.6 and 1.7.8 wrote: `tests/golden/crowdsec`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use palisade_model::Change;
use palisade_store::{
    AlertQuery, CrowdSecDatabase, DbConfig, Engine, FirstStart, ImportReport, Retention, Store, StoreError,
    UsageKind, own_file, password_matches,
};
use palisade_wire::UnixMillis;
use serde_json::Value;
use tempfile::TempDir;

use super::db::{banning, store_one};
use super::postgres::shared;
use super::sqlite_only::{raw, run};

/// An hour after the fixtures were made: 26 November 2026, 15:15 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_706_100_000);

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/crowdsec").join(name)
}

fn expected(name: &str) -> Value {
    let all = std::fs::read_to_string(golden("expected.json")).unwrap();
    serde_json::from_str::<Value>(&all).unwrap()["fixtures"][name].clone()
}

/// A configuration whose `db_path` is a copy of a fixture.
struct Taken {
    config: DbConfig,
    theirs: PathBuf,
    _folder: TempDir,
}

impl Taken {
    fn of(fixture: &str) -> Self {
        let taken = Self::empty();
        std::fs::copy(golden(fixture), &taken.theirs).unwrap();
        taken
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("crowdsec.db");
        let config = DbConfig {
            crowdsec: Some(CrowdSecDatabase::File(theirs.clone())),
            ..DbConfig::sqlite(own_file(&theirs))
        };
        Self { config, theirs, _folder: folder }
    }

    async fn sql(&self, sql: &'static str) {
        let mut connection = raw(&self.theirs).await;
        run(&mut connection, sql).await;
        sqlx::Connection::close(connection).await.unwrap();
    }

    async fn import(&self) -> Result<ImportReport, StoreError> {
        let (keep, quiet) = (Retention::default(), Arc::new(|_| ()));
        let database = CrowdSecDatabase::File(self.theirs.clone());
        let (store, report) =
            Store::open_and_import(&self.config, NOW, &database, &keep, false, quiet).await?;
        store.close().await;
        Ok(report)
    }
}

async fn open(config: &DbConfig, keep: &Retention) -> Result<(Store, FirstStart), StoreError> {
    Store::open_or_take_over(config, NOW, keep, Arc::new(|_| ())).await
}

async fn refusal(config: &DbConfig) -> String {
    open(config, &Retention::default()).await.map(|(_, first)| first).unwrap_err().to_string()
}

/// Everything of a report but zeros.
fn counts(report: &ImportReport) -> BTreeMap<&'static str, [u64; 4]> {
    let all = report.kinds().into_iter();
    let all = all.map(|(kind, of)| (kind, [of.added, of.changed, of.removed, of.unchanged]));
    all.filter(|(_, of)| *of != [0; 4]).collect()
}

/// The decisions in force, as `expected.json` lists them.
async fn in_force(store: &Store) -> Vec<Value> {
    let mut rows = Vec::new();
    store
        .load(NOW, Duration::ZERO, &mut |change| {
            let Change::Put(row) = change else { panic!("nothing was removed") };
            let until = jiff::Timestamp::from_millisecond(row.until.0 / 1000 * 1000).unwrap();
            rows.push(serde_json::json!({
                "id": row.id, "scope": row.target.scope.as_str(), "value": &*row.target.value.text(),
                "type": row.remediation, "origin": row.origin, "scenario": row.scenario,
                "until": until.to_string(), "simulated": row.simulated,
            }));
        })
        .await
        .unwrap();
    rows.sort_by_key(|row| row["id"].as_i64());
    rows
}

async fn has_everything(store: &Store, fixture: &str, report: &ImportReport) {
    let expected = expected(fixture);
    let mut hold: Vec<Value> = expected["decisions_that_hold"].as_array().cloned().unwrap_or_default();
    for row in &mut hold {
        // A log processor may post any letter case; here the known scopes have one.
        if row["scope"] == "ip" {
            row["scope"] = "Ip".into();
        }
        // To the second, as above.
        if let Some((whole, _)) = row["until"].as_str().unwrap().split_once('.') {
            row["until"] = format!("{whole}Z").into();
        }
    }
    if !hold.is_empty() {
        assert_eq!(in_force(store).await, hold, "{fixture}");
    }
    for machine in expected["machines"].as_array().unwrap() {
        let name = machine["name"].as_str().unwrap();
        let row = store.machine(name).await.unwrap().unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(row.validated, machine["validated"].as_bool().unwrap(), "{name}");
        assert_eq!(row.auth_type, machine["auth_type"].as_str().unwrap(), "{name}");
        if let (Some(password), false) = (machine["password"].as_str(), name == "long-agent") {
            assert!(password_matches(password, &row.password), "{name}");
        }
    }
    let names: Vec<String> = store.bouncers().await.unwrap().into_iter().map(|row| row.name).collect();
    let wanted: Vec<String> = serde_json::from_value(expected["bouncer_rows"].clone()).unwrap();
    assert_eq!(names, wanted, "{fixture}");
    for key in expected["keys"].as_array().unwrap() {
        let row = store.bouncer(key["name"].as_str().unwrap()).await.unwrap().unwrap();
        assert_eq!(row.key_hash, palisade_store::hash_key(key["key"].as_str().unwrap().as_bytes()));
        assert_eq!(row.last_pull.is_none(), row.name == "never-used", "{}", row.name);
        assert_eq!(row.cursor.is_none(), row.last_pull.is_none(), "{}", row.name);
    }
    let answers = &expected["answers"];
    let alerts = store.alerts(&AlertQuery::default(), NOW).await.unwrap();
    let all = store.alerts(&query("limit=0&include_capi=true"), NOW).await.unwrap();
    assert_eq!(Some(all.len() as u64), answers["alerts"].as_u64(), "{fixture}");
    assert!(alerts.len() <= all.len());
    let sum = |of: &dyn Fn(&palisade_wire::Alert) -> usize| Some(all.iter().map(of).sum::<usize>() as u64);
    assert_eq!(sum(&|one| one.events.len()), answers["events"].as_u64(), "{fixture}");
    assert_eq!(sum(&|one| one.meta.len()), answers["metas"].as_u64(), "{fixture}");
    assert_eq!(sum(&|one| one.decisions.len()), answers["decisions_in_alerts"].as_u64(), "{fixture}");
    let mut owners = BTreeMap::new();
    for alert in &all {
        *owners.entry(alert.machine_id.clone()).or_insert(0_u64) += 1;
    }
    assert_eq!(serde_json::to_value(owners).unwrap(), answers["alert_owners"], "{fixture}");
    assert_eq!(report.alerts.added, all.len() as u64);
    if fixture.contains("1.7.8") {
        let lists = store.allowlists(NOW, true).await.unwrap();
        let shown: Vec<_> = lists
            .iter()
            .map(|list| {
                let mut items: Vec<&str> = list.items.iter().map(|item| item.value.as_str()).collect();
                items.sort_unstable();
                (list.name.as_str(), list.description.as_str(), list.console_managed, items)
            })
            .collect();
        let wanted: Vec<(&str, &str, bool, Vec<&str>)> = answers["allowlists"]
            .as_array()
            .unwrap()
            .iter()
            .map(|list| {
                let items = list[3].as_array().unwrap().iter().map(|item| item[0].as_str().unwrap());
                let text = |at: usize| list[at].as_str().unwrap();
                (text(0), text(1), list[2].as_bool().unwrap(), items.collect())
            })
            .collect();
        assert_eq!(shown, wanted, "{fixture}");
        for kind in [UsageKind::LogProcessor, UsageKind::RemediationComponent] {
            assert_eq!(store.usage(kind, None).await.unwrap().len(), 1, "{fixture}");
        }
    }
}

fn query(text: &str) -> AlertQuery {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    AlertQuery::parse(&pairs, false).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_databases_are_taken_over_at_the_first_start_and_untouched() {
    for fixture in ["crowdsec-1.4.6.sqlite", "crowdsec-1.7.8.sqlite"] {
        let taken = Taken::of(fixture);
        let before = std::fs::read(&taken.theirs).unwrap();
        let (store, first) = open(&taken.config, &Retention::default()).await.unwrap();
        let FirstStart::Imported(_, report) = first else { panic!("{first:?}") };
        has_everything(&store, fixture, &report).await;
        store.close().await;
        assert!(std::fs::read(&taken.theirs).unwrap() == before, "{fixture} was changed");
        let files = std::fs::read_dir(taken.theirs.parent().unwrap()).unwrap().flatten();
        let mut files: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, ["crowdsec.db", "crowdsec.palisade.db", "crowdsec.palisade.db-open.lock"]);
        // Nothing is taken twice, by another start or by command.
        let (store, first) = open(&taken.config, &Retention::default()).await.unwrap();
        assert_eq!(first, FirstStart::Earlier);
        let again = taken.import().await.unwrap();
        assert!(
            again.kinds().iter().all(|(_, of)| [of.added, of.changed, of.removed] == [0; 3]),
            "{again:?}"
        );
        has_everything(&store, fixture, &report).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_databases_are_taken_over_at_the_first_start() {
    for fixture in ["crowdsec-1.4.6.pg.sql", "crowdsec-1.7.8.pg.sql"] {
        let mut config = shared().database();
        let Engine::Postgres(server) = &config.engine else { panic!("a server") };
        config.crowdsec = Some(CrowdSecDatabase::Server(server.clone()));
        shared().script(&config, &golden(fixture));
        let (store, first) = open(&config, &Retention::default()).await.unwrap();
        let FirstStart::Imported(_, report) = first else { panic!("{first:?}") };
        has_everything(&store, fixture, &report).await;
        store.close().await;
        let (_, first) = open(&config, &Retention::default()).await.unwrap();
        assert_eq!(first, FirstStart::Earlier);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_the_source_may_take_longer_than_a_server_waits_for_other_transactions() {
    let mut config = shared().database();
    let Engine::Postgres(server) = &config.engine else { panic!("a server") };
    config.crowdsec = Some(CrowdSecDatabase::Server(server.clone()));
    shared().script(&config, &golden("crowdsec-1.7.8.pg.sql"));
    let slow = std::sync::Once::new();
    // Sessions that are idle in a transaction are ended by the server after 15 seconds.
    let pause = Arc::new(move |_| slow.call_once(|| std::thread::sleep(Duration::from_secs(16))));
    let started = Store::open_or_take_over(&config, NOW, &Retention::default(), pause).await;
    let (store, first) = started.unwrap();
    let FirstStart::Imported(_, report) = first else { panic!("{first:?}") };
    has_everything(&store, "crowdsec-1.7.8.pg.sql", &report).await;
}

#[tokio::test]
async fn an_upgraded_database_and_one_in_its_log_are_taken_over() {
    let taken = Taken::of("crowdsec-1.4.6.sqlite");
    // As 1.7.8 leaves it when it opens it.
    let mut holder = raw(&taken.theirs).await;
    run(
        &mut holder,
        "PRAGMA journal_mode = WAL; \
         ALTER TABLE machines DROP COLUMN status; ALTER TABLE machines ADD COLUMN osname text; \
         ALTER TABLE machines ADD COLUMN hubstate json; ALTER TABLE bouncers DROP COLUMN until; \
         ALTER TABLE bouncers ADD COLUMN auto_created bool NOT NULL DEFAULT false; \
         ALTER TABLE alerts ADD COLUMN uuid text; ALTER TABLE alerts ADD COLUMN remediation bool; \
         ALTER TABLE alerts ADD COLUMN kind text; ALTER TABLE decisions ADD COLUMN uuid text; \
         CREATE TABLE locks (id integer, name text, created_at datetime)",
    )
    .await;
    // A copy of the files as they lie while they are in use: most of it in the log.
    let other = Taken::empty();
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", taken.theirs.display());
        std::fs::copy(from, format!("{}{suffix}", other.theirs.display())).unwrap();
    }
    drop(holder);
    let (store, first) = open(&other.config, &Retention::default()).await.unwrap();
    let FirstStart::Imported(_, report) = first else { panic!("{first:?}") };
    has_everything(&store, "crowdsec-1.4.6.sqlite", &report).await;
}

#[tokio::test]
async fn retention_limits_what_is_taken_but_not_what_is_in_force() {
    let taken = Taken::of("crowdsec-1.7.8.sqlite");
    let keep = Retention { max_items: Some(1), ..Retention::default() };
    let (store, first) = open(&taken.config, &keep).await.unwrap();
    let FirstStart::Imported(_, report) = first else { panic!("{first:?}") };
    assert_eq!(report.alerts.added, 41, "those with a decision in force, among them the last two");
    assert_eq!(in_force(&store).await.len(), 58);
    let skipped = report.skipped["an alert older than db_config.flush keeps"].0;
    assert_eq!(report.alerts.added + skipped, 47);
}

#[tokio::test]
async fn another_import_brings_what_came_since() {
    let taken = Taken::of("crowdsec-1.7.8.sqlite");
    let (store, _) = open(&taken.config, &Retention::default()).await.unwrap();
    // Tried for a day, in which ids were given here as well.
    let (alert, rows, _) = store_one(&store, banning(&["192.0.2.77"])).await;
    assert_eq!((alert, rows[0].id), (49, 67), "ids go on after those taken");
    // Then the stock server again.
    taken
        .sql(
            "DELETE FROM bouncers WHERE name = 'web-edge'; DELETE FROM machines WHERE machine_id = 'tls-shadow'; \
             UPDATE machines SET password = 'another' WHERE machine_id = 'web-agent'; \
             INSERT INTO bouncers (id, created_at, updated_at, name, api_key, revoked, auth_type, auto_created) \
             VALUES (99, '2026-11-26 15:00:00+00:00', '2026-11-26 15:00:00+00:00', 'new', 'k', 0, 'api-key', 0); \
             UPDATE decisions SET until = '2026-11-26 15:00:00+00:00' WHERE value = '198.51.100.1'; \
             INSERT INTO alerts (created_at, updated_at, scenario, simulated, machine_alerts) VALUES \
             ('2026-11-26 15:00:00+00:00', '2026-11-26 15:00:00+00:00', 'since', 0, 1); \
             INSERT INTO decisions (created_at, updated_at, until, scenario, type, scope, value, origin, simulated, \
             alert_decisions) VALUES ('2026-11-26 15:00:00+00:00', '2026-11-26 15:00:00+00:00', \
             '2056-11-26 15:00:00+00:00', 'since', 'ban', 'Ip', '192.0.2.99', 'crowdsec', 0, 49); \
             DELETE FROM allow_list_items WHERE value = '203.0.113.220'; \
             DELETE FROM allow_list_allowlist_items WHERE allow_list_item_id NOT IN (SELECT id FROM allow_list_items)",
        )
        .await;
    let report = taken.import().await.unwrap();
    let counted = counts(&report);
    assert_eq!(counted["machines"], [0, 1, 1, 3]);
    assert_eq!(counted["bouncers"], [1, 0, 1, 5]);
    assert_eq!(counted["allowlist items"][2], 1);
    assert_eq!((counted["alerts"][0], counted["decisions"][0], counted["decisions"][2]), (1, 1, 1));
    assert!(
        store.bouncer("new").await.unwrap().is_some() && store.bouncer("web-edge").await.unwrap().is_none()
    );
    let values: Vec<String> =
        in_force(&store).await.iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect();
    assert!(
        values.iter().any(|value| value == "192.0.2.99")
            && !values.iter().any(|value| value == "198.51.100.1")
    );
    assert_eq!(store.alert(50, NOW).await.unwrap().unwrap().scenario, "since");
    // What is gone here stays gone, and a third time nothing is new.
    store.delete_alert(NOW, 50).await.unwrap();
    let report = taken.import().await.unwrap();
    assert!(report.kinds().iter().all(|(_, of)| [of.added, of.changed, of.removed] == [0; 3]), "{report:?}");
    assert!(store.alert(50, NOW).await.unwrap().is_none());
    // An older copy in its place.
    std::fs::copy(golden("crowdsec-1.4.6.sqlite"), &taken.theirs).unwrap();
    let refused = taken.import().await.unwrap_err();
    assert!(refused.to_string().contains("older copy"), "{refused}");
}

#[tokio::test]
async fn odd_rows_cost_only_themselves() {
    let taken = Taken::of("crowdsec-1.7.8.sqlite");
    taken
        .sql(
            "UPDATE decisions SET value = 'nonsense' WHERE id = 1; UPDATE decisions SET alert_decisions = NULL \
             WHERE id = 2; UPDATE events SET serialized = '' WHERE id = 1; \
             UPDATE alerts SET scenario = CAST(x'73ff00' AS TEXT), source_latitude = 9e999 WHERE id = 3; \
             UPDATE machines SET hubstate = '{' WHERE machine_id = 'host-agent'; \
             UPDATE alerts SET created_at = 'yesterday' WHERE id = 4",
        )
        .await;
    let (store, first) = open(&taken.config, &Retention::default()).await.unwrap();
    let FirstStart::Imported(_, report) = first else { panic!("{first:?}") };
    assert_eq!(
        report.skipped["a decision whose value is no address or range"],
        (1, "id 1: nonsense".to_owned())
    );
    let force = in_force(&store).await;
    assert_eq!(force.len(), 57);
    assert!(force.iter().any(|row| row["id"] == 2), "a decision without an alert stays in force");
    let alert = store.alert(3, NOW).await.unwrap().unwrap();
    assert_eq!(alert.scenario, "s\u{fffd}\u{fffd}");
    serde_json::to_string(&alert).unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_over_is_an_error_that_says_why() {
    // Its data is in a log that was not copied.
    let lone = Taken::empty();
    let mut holder = raw(&lone.theirs).await;
    run(&mut holder, "PRAGMA journal_mode = WAL").await;
    sqlx::Connection::close(holder).await.unwrap();
    assert_eq!(std::fs::metadata(&lone.theirs).unwrap().len(), 4096);
    let told = refusal(&lone.config).await;
    assert!(told.contains("holds no table") && told.contains("crowdsec.db-wal"), "{told}");

    let later = Taken::of("crowdsec-1.7.8.sqlite");
    later.sql("ALTER TABLE decisions ADD COLUMN severity integer").await;
    let told = refusal(&later.config).await;
    assert!(told.contains("does not know") && told.contains("decisions has a column severity"), "{told}");

    let corrupt = Taken::of("crowdsec-1.7.8.sqlite");
    let mut bytes = std::fs::read(&corrupt.theirs).unwrap();
    bytes[8192..120_000].fill(0xaa);
    std::fs::write(&corrupt.theirs, &bytes).unwrap();
    let told = refusal(&corrupt.config).await;
    assert!(told.contains("is damaged"), "{told}");
    assert!(std::fs::read(&corrupt.theirs).unwrap() == bytes);

    let other = Taken::empty();
    other.sql("CREATE TABLE notes (text text)").await;
    let told = refusal(&other.config).await;
    assert!(told.contains("another program") && told.contains("db_config.db_path"), "{told}");

    // Each of them is tried again at the next start.
    std::fs::copy(golden("crowdsec-1.7.8.sqlite"), &later.theirs).unwrap();
    let (_, first) = open(&later.config, &Retention::default()).await.unwrap();
    assert!(matches!(first, FirstStart::Imported(..)), "{first:?}");
}

#[tokio::test]
async fn a_database_in_use_is_refused_by_the_name_of_its_user() {
    let taken = Taken::of("crowdsec-1.7.8.sqlite");
    let hold = |flag: &str| {
        let script = format!("exec 3<'{}'; echo open; exec sleep 600 {flag}", taken.theirs.display());
        let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        child
    };
    let mut child = hold("");
    let told = refusal(&taken.config).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.contains(&format!("(process {})", child.id())), "{told}");
    assert!(told.contains("systemctl stop crowdsec"), "{told}");
    open(&taken.config, &Retention::default()).await.unwrap();
}

#[tokio::test]
async fn a_lock_is_found_without_sight_of_the_process() {
    let taken = Taken::of("crowdsec-1.7.8.sqlite");
    let mut child = super::crash::process("holds_open", &DbConfig::sqlite(&taken.theirs));
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    while !line.contains("open") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0, "it ends");
    }
    let told = refusal(&taken.config).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.contains(&format!("(process {})", child.id())), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_the_next_start_begins_again() {
    // `PALISADE_KILLS=100` makes it a thorough one.
    let kills = std::env::var("PALISADE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let taken = Taken::of("crowdsec-1.7.8.sqlite");
    taken
        .sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             INSERT INTO decisions (created_at, updated_at, until, scenario, type, scope, value, origin, simulated, \
             alert_decisions) SELECT '2026-11-26 15:00:00+00:00', '2026-11-26 15:00:00+00:00', \
             '2056-11-26 15:00:00+00:00', 'many', 'ban', 'Ip', '10.0.' || (i / 256) || '.' || (i % 256), 'crowdsec', 0, \
             1 FROM n",
        )
        .await;
    let before = std::fs::read(&taken.theirs).unwrap();
    let mut whole = None;
    for kill in 0..kills {
        let begun = std::time::Instant::now();
        let mut child = super::crash::process("takes_over", &DbConfig::sqlite(&taken.theirs));
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        while !line.contains("open") && std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0 {}
        let Some(span) = whole else {
            // The first one is not killed, and shows how long it takes.
            assert!(child.wait().unwrap().success());
            whole = Some(begun.elapsed());
            remove_ours(&taken);
            continue;
        };
        std::thread::sleep(span.mul_f64(f64::from(kill) / f64::from(kills)));
        child.kill().unwrap();
        child.wait().unwrap();
        let (store, _) = open(&taken.config, &Retention::default()).await.unwrap();
        assert_eq!(in_force(&store).await.len(), 20_058, "kill {kill}");
        assert_eq!(store.bouncers().await.unwrap().len(), 6, "kill {kill}");
        store.close().await;
        assert!(std::fs::read(&taken.theirs).unwrap() == before, "kill {kill} changed CrowdSec's file");
        let left = std::fs::read_dir(taken.theirs.parent().unwrap()).unwrap().flatten();
        assert!(!left.into_iter().any(|entry| entry.path().is_dir()), "the copy is removed");
        remove_ours(&taken);
    }
}

fn remove_ours(taken: &Taken) {
    for entry in std::fs::read_dir(taken.theirs.parent().unwrap()).unwrap().flatten() {
        if entry.path() != taken.theirs {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_moved_beside() {
    let taken = Taken::empty();
    let store = Store::open(&DbConfig::sqlite(&taken.theirs)).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    store.close().await;
    let (store, first) = open(&taken.config, &Retention::default()).await.unwrap();
    assert_eq!(first, FirstStart::Moved(taken.theirs.display().to_string()));
    assert_eq!(store.alerts(&AlertQuery::default(), NOW).await.unwrap().len(), 1);
    assert!(!taken.theirs.exists());
    store.close().await;
    let (_, first) = open(&taken.config, &Retention::default()).await.unwrap();
    assert_eq!(first, FirstStart::Earlier);

    // An import that is refused does not begin one at the new place, which would then be taken for it.
    let taken = Taken::empty();
    let store = Store::open(&DbConfig::sqlite(&taken.theirs)).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    store.close().await;
    let refused = taken.import().await.unwrap_err().to_string();
    assert!(refused.contains("is Palisade's own"), "{refused}");
    assert!(!own_file(&taken.theirs).exists());
    // One that was begun all the same is not preferred without a word.
    Store::open(&taken.config).await.unwrap().close().await;
    let refused = refusal(&taken.config).await;
    assert!(
        refused.contains("was made by an earlier version") && refused.contains("palisade.db"),
        "{refused}"
    );
    std::fs::remove_file(own_file(&taken.theirs)).unwrap();
    let (_, first) = open(&taken.config, &Retention::default()).await.unwrap();
    assert!(matches!(first, FirstStart::Moved(_)), "{first:?}");

    // Another database is imported on top of what the configuration names.
    let taken = Taken::of("crowdsec-1.4.6.sqlite");
    let other = golden("crowdsec-1.7.8.sqlite");
    let copy = taken.theirs.with_file_name("other.db");
    std::fs::copy(other, &copy).unwrap();
    let (keep, quiet) = (Retention::default(), Arc::new(|_| ()));
    let database = CrowdSecDatabase::File(copy);
    let (store, report) =
        Store::open_and_import(&taken.config, NOW, &database, &keep, false, quiet).await.unwrap();
    assert_eq!((report.alerts.added, report.decisions.added), (47, 65));
    assert_eq!(in_force(&store).await.len(), 50 + 58);
    assert_eq!(open(&taken.config, &Retention::default()).await.unwrap().1, FirstStart::Earlier);

    let mut config = shared().database();
    let Engine::Postgres(server) = config.engine.clone() else { panic!("a server") };
    let store = Store::open(&config).await.unwrap();
    store_one(&store, banning(&["192.0.2.1"])).await;
    store.close().await;
    shared().sql(
        &config,
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'palisade_lapi' \
         AND tablename NOT LIKE 'crowdsec%' LOOP EXECUTE 'ALTER TABLE palisade_lapi.' || t || ' SET SCHEMA public'; \
         END LOOP; END $$; DROP SCHEMA palisade_lapi CASCADE; DELETE FROM public.palisade_migrations WHERE version > 4",
    );
    config.crowdsec = Some(CrowdSecDatabase::Server(server));
    let (store, first) = open(&config, &Retention::default()).await.unwrap();
    assert!(matches!(first, FirstStart::Moved(_)), "{first:?}");
    assert_eq!(store.alerts(&AlertQuery::default(), NOW).await.unwrap().len(), 1);
    store_one(&store, banning(&["192.0.2.2"])).await;
}
