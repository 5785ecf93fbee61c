//! Reads alerts: translates queries to SQL, and attaches the decisions.

use std::collections::HashMap;

use palisade_wire::{Alert, Decision, Event, MetaItem, Source, UnixMillis};
use sqlx::Error;

use crate::engine::{Session, Sql, SqlRow};
use crate::prefix_bounds::{push_covers, push_within};
use crate::{AlertQuery, SortOrder, StoreError};

const COLUMNS: &str = "a.id, a.created_at, a.scenario, a.message, a.events_count, a.started_at, a.stopped_at, \
     a.source_scope, a.source_value, a.source_ip, a.source_range, a.source_as_number, a.source_as_name, \
     a.source_cn, a.source_latitude, a.source_longitude, a.capacity, a.leakspeed, a.scenario_version, \
     a.scenario_hash, a.simulated, a.uuid, a.remediation, a.kind, m.name, a.events, a.meta";

/// Number of alerts whose decisions are read in one statement.
const STEP: usize = 500;

/// The alerts that match, in the requested order, with their decisions if requested.
pub(super) async fn find(
    session: &mut Session,
    query: &AlertQuery,
    now: UnixMillis,
) -> Result<Vec<Alert>, StoreError> {
    let mut sql = session.sql("SELECT ");
    sql.push(COLUMNS).push(" FROM alerts a LEFT JOIN machines m ON m.id = a.machine_id WHERE ");
    push_conditions(&mut sql, query, now);
    sql.push(match query.sort {
        // By id as well, because all alerts of a batch have the same time.
        SortOrder::Ascending => " ORDER BY a.created_at, a.id",
        SortOrder::Descending => " ORDER BY a.created_at DESC, a.id DESC",
    });
    if let Some(limit) = query.limit {
        sql.push(" LIMIT ").arg(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    let mut alerts = session.read(sql, read_alert).await?;
    if query.with_decisions {
        attach_decisions(session, &mut alerts, now).await?;
    }
    Ok(alerts)
}

/// One alert with its decisions.
pub(super) async fn find_one(
    session: &mut Session,
    id: i64,
    now: UnixMillis,
) -> Result<Option<Alert>, StoreError> {
    let mut sql = session.sql("SELECT ");
    sql.push(COLUMNS).push(" FROM alerts a LEFT JOIN machines m ON m.id = a.machine_id");
    sql.push(" WHERE NOT a.staged AND a.id = ").arg(id);
    let mut alerts = session.read(sql, read_alert).await?;
    attach_decisions(session, &mut alerts, now).await?;
    Ok(alerts.pop())
}

/// Appends the query's conditions on `alerts a`.
pub(super) fn push_conditions(sql: &mut Sql, query: &AlertQuery, now: UnixMillis) {
    sql.push("NOT a.staged");
    for (column, wanted) in
        [("source_scope", &query.scope), ("source_value", &query.value), ("kind", &query.kind)]
    {
        if let Some(wanted) = wanted {
            sql.push(" AND a.").push(column).push(" = ").arg(wanted.as_str());
        }
    }
    if let Some(scenario) = &query.scenario {
        sql.push(" AND (a.scenario = ").arg(scenario.as_str()).push(" OR ");
        // A decision's scenario may differ from the alert's, for example a list's name.
        push_has_decision(sql, "scenario", scenario);
        sql.push(")");
    }
    for (column, wanted) in [("kind", &query.decision_type), ("origin", &query.origin)] {
        if let Some(wanted) = wanted {
            sql.push(" AND ");
            push_has_decision(sql, column, wanted);
        }
    }
    if let Some(net) = &query.net {
        // `IN` and not `EXISTS`: the index over addresses finds few decisions, and from these their alerts.
        sql.push(" AND a.id IN (SELECT d.alert_id FROM decisions d WHERE ");
        if query.contains {
            push_covers(sql, "d.", net)
        } else {
            push_within(sql, "d.", net)
        }
        sql.push(")");
    }
    let ago = |span: palisade_wire::GoDuration| now.0.saturating_sub(span.nanos() / 1_000_000);
    for (condition, span) in [
        (" AND a.started_at >= ", query.since),
        (" AND a.started_at <= ", query.until),
        (" AND a.created_at <= ", query.created_before),
    ] {
        if let Some(span) = span {
            sql.push(condition).arg(ago(span));
        }
    }
    if !query.include_capi {
        sql.push(" AND NOT a.community");
    }
    match query.has_active_decision {
        None => {}
        Some(true) => {
            sql.push(" AND EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = a.id AND d.until >= ");
            sql.arg(now.0).push(")");
        }
        // Not the opposite of `true`: as in the stock server it means no decision at all, ended ones included.
        Some(false) => {
            sql.push(" AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = a.id)");
        }
    }
    if !query.simulated {
        sql.push(" AND NOT a.simulated");
    }
    if let Some(id) = query.after_id {
        sql.push(" AND a.id > ").arg(id);
    }
}

fn push_has_decision(sql: &mut Sql, column: &str, wanted: &str) {
    sql.push("EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = a.id AND d.");
    sql.push(column).push(" = ").arg(wanted).push(")");
}

fn read_alert(row: &SqlRow) -> Result<Alert, Error> {
    let moment = |column| row.get(column).map(|millis| UnixMillis(millis).rfc3339());
    let events: String = row.get(25)?;
    let meta: String = row.get(26)?;
    let machine: Option<String> = row.get(24)?;
    #[expect(clippy::cast_possible_truncation, reason = "they were 32 bits wide when they were stored")]
    Ok(Alert {
        id: row.get(0)?,
        created_at: moment(1)?,
        scenario: row.get(2)?,
        message: row.get(3)?,
        events_count: row.get::<i64>(4)? as i32,
        start_at: moment(5)?,
        stop_at: moment(6)?,
        source: Source {
            scope: row.get(7)?,
            value: row.get(8)?,
            ip: row.get(9)?,
            range: row.get(10)?,
            as_number: row.get(11)?,
            as_name: row.get(12)?,
            cn: row.get(13)?,
            latitude: row.get::<f64>(14)? as f32,
            longitude: row.get::<f64>(15)? as f32,
        },
        capacity: row.get::<i64>(16)? as i32,
        leakspeed: row.get(17)?,
        scenario_version: row.get(18)?,
        scenario_hash: row.get(19)?,
        simulated: row.get(20)?,
        uuid: row.get(21)?,
        remediation: row.get(22)?,
        kind: row.get(23)?,
        // The stock server's text for an alert without owner.
        machine_id: machine.unwrap_or_else(|| "N/A".to_owned()),
        events: from_json::<Event>(&events),
        meta: from_json::<MetaItem>(&meta),
        // Attached afterwards: a join would repeat the alert's columns for each of its decisions.
        decisions: Vec::new(),
        labels: Vec::new(),
    })
}

/// A list that was stored as JSON; empty if another program has damaged it, as one row must not make a list fail.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the details of a stored alert cannot be read");
        Vec::new()
    })
}

/// Reads the decisions of alerts, many alerts per statement.
async fn attach_decisions(
    session: &mut Session,
    alerts: &mut [Alert],
    now: UnixMillis,
) -> Result<(), StoreError> {
    let places: HashMap<i64, usize> =
        alerts.iter().enumerate().map(|(place, alert)| (alert.id, place)).collect();
    let ids: Vec<i64> = alerts.iter().map(|alert| alert.id).collect();
    for step in ids.chunks(STEP) {
        let mut sql = session.sql(
            "SELECT id, alert_id, until, simulated, origin, scenario, scope, kind, value \
             FROM decisions WHERE alert_id",
        );
        sql.in_ints(step).push(" ORDER BY id");
        let decisions = session
            .read(sql, |row| {
                let until: i64 = row.get(2)?;
                let decision = Decision {
                    id: row.get(0)?,
                    duration: UnixMillis(until).since(now).rounded().to_string(),
                    simulated: row.get(3)?,
                    // Stock servers omit it from decisions inside alerts.
                    uuid: String::new(),
                    origin: row.get(4)?,
                    scenario: row.get(5)?,
                    scope: row.get(6)?,
                    kind: row.get(7)?,
                    value: row.get(8)?,
                };
                Ok((row.get::<i64>(1)?, decision))
            })
            .await?;
        for (alert, decision) in decisions {
            if let Some(&place) = places.get(&alert) {
                alerts[place].decisions.push(decision);
            }
        }
    }
    Ok(())
}
