//! The first start on a CrowdSec database of a million decisions: how long it takes, and how much memory.

use std::path::Path;
use std::time::Instant;

use palisade_e2e::{LapiProcess, Make, Outcome, Setup, World};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::{grouped, say, sized};
use crate::report::{BenchRow, Target};

/// A database that a real 1.7.8 wrote, which is filled up.
const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/crowdsec/crowdsec-1.7.8.sqlite");
/// Decisions of each alert.
const DECISIONS: usize = 10;
/// Events of each alert.
const EVENTS: usize = 3;

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let alerts = sized(100_000);
    let decisions = alerts * DECISIONS;
    say("filling a CrowdSec database");
    // Of the fixture's day; what is measured is not how much of it has become too old.
    let config = json!({ "db_config": { "flush": { "max_age": "36500d", "max_items": 10_000_000 } } });
    let mut lapi = LapiProcess::prepare(world, Make::Ours, &Setup { config, ..Setup::default() })?;
    let theirs = lapi.data().join("crowdsec.db");
    tokio::runtime::Runtime::new()?.block_on(fill(&theirs, alerts))?;
    let size = std::fs::metadata(&theirs)?.len() / (1 << 20);
    say(&format!("taking over {size} MiB"));
    let begun = Instant::now();
    lapi.up(world)?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak = lapi.process()?.memory("VmHWM")? as f64 / 1024.0;
    let what = format!("first start on {} decisions and {} alerts", grouped(decisions), grouped(alerts));
    Ok(vec![
        BenchRow::new(what.clone(), "s", seconds, None, Target::AtMost(60.0)),
        BenchRow::new(format!("{what}, peak resident memory"), "MB", peak, None, Target::AtMost(200.0)),
    ])
}

async fn fill(path: &Path, alerts: usize) -> Outcome {
    std::fs::copy(SEED, path)?;
    let options = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let mut connection = options.disable_statement_logging().connect().await?;
    let numbers = |count: usize| {
        format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})")
    };
    let now = "2026-11-26 15:00:00+00:00";
    let statements = [
        format!(
            "{} INSERT INTO alerts (id, created_at, updated_at, scenario, message, events_count, started_at, \
             stopped_at, source_scope, source_value, source_ip, capacity, leak_speed, simulated, uuid, \
             machine_alerts) SELECT 1000 + i, '{now}', '{now}', 'crowdsecurity/ssh-bf', 'an attack', 6, '{now}', \
             '{now}', 'Ip', '192.0.2.1', '192.0.2.1', 5, '10s', 0, 'u' || i, 1 FROM n",
            numbers(alerts)
        ),
        format!(
            "{} INSERT INTO decisions (id, created_at, updated_at, until, scenario, type, scope, value, origin, \
             simulated, uuid, alert_decisions) SELECT 1000 + i, '{now}', '{now}', '2056-11-26 15:00:00+00:00', \
             'crowdsecurity/ssh-bf', 'ban', 'Ip', '10.' || (i / 65536) || '.' || (i / 256 % 256) || '.' || (i % 256), \
             'crowdsec', 0, '4c9039aa-6cb0-46c7-a6a4-' || printf('%012d', i), 1000 + i / {DECISIONS} FROM n",
            numbers(alerts * DECISIONS)
        ),
        format!(
            "{} INSERT INTO events (created_at, updated_at, time, serialized, alert_events) SELECT '{now}', '{now}', \
             '{now}', '[{{\"key\":\"log_type\",\"value\":\"ssh_failed-auth\"}},{{\"key\":\"target_user\",\
             \"value\":\"root\"}}]', 1000 + i / {EVENTS} FROM n",
            numbers(alerts * EVENTS)
        ),
        format!(
            "{} INSERT INTO meta (created_at, updated_at, key, value, alert_metas) SELECT '{now}', '{now}', \
             'target_user', '[\"root\"]', 1000 + i FROM n",
            numbers(alerts)
        ),
    ];
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    Ok(connection.close().await?)
}
