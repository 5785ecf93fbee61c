//! Takes alerts with their events and context.

use std::collections::{HashMap, HashSet};

use palisade_wire::{Event, MetaItem};
use sqlx::Error;

use super::columns::{As, Fields};
use super::decisions::DecisionSummary;
use super::import::Import;
use crate::StoreError;
use crate::alerts::go_time;
use crate::engine::{Column, SqlRow, insert};
use crate::retention::cutoffs;

const TABLE: &str = "alerts";
const COLUMNS: [(&str, As); 26] = [
    ("id", As::Int),
    ("created_at", As::Time),
    ("started_at", As::Time),
    ("stopped_at", As::Time),
    ("events_count", As::Int),
    ("capacity", As::Int),
    ("machine_alerts", As::Int),
    ("simulated", As::Flag),
    ("remediation", As::Flag),
    ("source_latitude", As::Real),
    ("source_longitude", As::Real),
    ("scenario", As::Text),
    ("message", As::Text),
    ("leak_speed", As::Text),
    ("scenario_version", As::Text),
    ("scenario_hash", As::Text),
    ("uuid", As::Text),
    ("kind", As::Text),
    ("source_scope", As::Text),
    ("source_value", As::Text),
    ("source_ip", As::Text),
    ("source_range", As::Text),
    ("source_as_number", As::Text),
    ("source_as_name", As::Text),
    ("source_country", As::Text),
    ("bucket_id", As::Text),
];
/// The texts above, in their order, as columns of ours; `bucket_id` has none.
const TEXTS: [&str; 14] = [
    "scenario",
    "message",
    "leakspeed",
    "scenario_version",
    "scenario_hash",
    "uuid",
    "kind",
    "source_scope",
    "source_value",
    "source_ip",
    "source_range",
    "source_as_number",
    "source_as_name",
    "source_cn",
];
/// Alerts per read; their events are read with them.
const PAGE: usize = 250;

/// A row of CrowdSec's table.
struct Alert {
    id: i64,
    /// `created_at`, `started_at`, `stopped_at`.
    times: [Option<i64>; 3],
    events_count: i64,
    capacity: i64,
    machine: Option<i64>,
    simulated: bool,
    remediation: bool,
    place: [f64; 2],
    texts: [String; 14],
}

fn read(row: &SqlRow) -> Result<Alert, Error> {
    let mut fields = Fields::new(row);
    let id = fields.int()?.unwrap_or(0);
    let mut times = [None; 3];
    for time in &mut times {
        *time = fields.time()?.map(|at| at.0);
    }
    let (events_count, capacity, machine) =
        (fields.int()?.unwrap_or(0), fields.int()?.unwrap_or(0), fields.int()?);
    let (simulated, remediation) = (fields.flag()?, fields.flag()?);
    // What is not finite cannot be written as JSON.
    let place = [fields.real()?, fields.real()?].map(|real| if real.is_finite() { real } else { 0.0 });
    let mut texts = [const { String::new() }; 14];
    for text in &mut texts {
        *text = fields.text()?;
    }
    Ok(Alert { id, times, events_count, capacity, machine, simulated, remediation, place, texts })
}

impl Import<'_> {
    /// Takes the alerts after the last one that was taken, within the retention or with a decision in force. Returns
    /// the ids of the source that were taken. `offset` is added to each id.
    pub(super) async fn alerts(
        &mut self,
        machines: &HashMap<i64, i64>,
        decisions: &DecisionSummary,
        offset: i64,
    ) -> Result<HashSet<i64>, StoreError> {
        let last = self.source.last_id(TABLE).await?;
        let (age, items) = cutoffs(self.now, &self.keep, last);
        let columns = self.source.columns(TABLE, &COLUMNS);
        let mut after = self.known.alerts.last();
        let mut taken = HashSet::new();
        loop {
            let page = self.source.page(TABLE, &columns, after, PAGE, read).await?;
            let count = page.len();
            let mut alerts = Vec::with_capacity(count);
            for alert in page {
                after = alert.id;
                let old = age.is_some_and(|cutoff| alert.times[0].is_some_and(|at| at <= cutoff))
                    || items.is_some_and(|first| alert.id < first);
                if old && !decisions.in_force.contains(&alert.id) {
                    self.report
                        .skip("an alert older than db_config.flush keeps", || format!("id {}", alert.id));
                } else {
                    alerts.push(alert);
                }
            }
            taken.extend(alerts.iter().map(|alert| alert.id));
            self.report.alerts.added += alerts.len() as u64;
            self.write_alerts(alerts, machines, decisions, offset).await?;
            self.advance(count);
            if count < PAGE {
                return Ok(taken);
            }
        }
    }

    async fn write_alerts(
        &mut self,
        alerts: Vec<Alert>,
        machines: &HashMap<i64, i64>,
        decisions: &DecisionSummary,
        offset: i64,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (alerts.first(), alerts.last()) else { return Ok(()) };
        let mut events = self.events(first.id, last.id).await?;
        let mut context = self.context(first.id, last.id).await?;
        let now = self.now.0;
        let ints = |of: &dyn Fn(&Alert) -> i64| Column::Ints(alerts.iter().map(of).collect());
        let flags = |of: &dyn Fn(&Alert) -> bool| Column::Bools(alerts.iter().map(of).collect());
        let mut columns = vec![
            ("id", ints(&|one| one.id + offset)),
            ("created_at", ints(&|one| one.times[0].unwrap_or(now))),
            ("started_at", ints(&|one| one.times[1].or(one.times[0]).unwrap_or(now))),
            ("stopped_at", ints(&|one| one.times[2].or(one.times[0]).unwrap_or(now))),
            ("events_count", ints(&|one| one.events_count)),
            ("capacity", ints(&|one| one.capacity)),
            ("simulated", flags(&|one| one.simulated)),
            ("remediation", flags(&|one| one.remediation)),
            ("community", flags(&|one| decisions.is_community(one.id, &one.texts[7]))),
            ("staged", flags(&|_| false)),
            ("source_latitude", Column::Reals(alerts.iter().map(|one| one.place[0]).collect())),
            ("source_longitude", Column::Reals(alerts.iter().map(|one| one.place[1]).collect())),
            (
                "machine_id",
                Column::MaybeInts(
                    alerts.iter().map(|one| one.machine.and_then(|id| machines.get(&id)).copied()).collect(),
                ),
            ),
            ("digest", Column::Blobs(vec![None; alerts.len()])),
        ];
        let mut lists = [const { Vec::new() }; 2];
        for alert in &alerts {
            lists[0].push(json(&events.remove(&alert.id).unwrap_or_default()));
            lists[1].push(json(&context.remove(&alert.id).unwrap_or_default()));
        }
        let [events, context] = lists;
        columns.extend([("events", Column::Texts(events)), ("meta", Column::Texts(context))]);
        let mut texts = [const { Vec::new() }; 14];
        for alert in alerts {
            for (column, text) in texts.iter_mut().zip(alert.texts) {
                column.push(text);
            }
        }
        columns.extend(TEXTS.into_iter().zip(texts.map(Column::Texts)));
        insert(self.tx, "alerts", columns, self.bulk).await
    }

    /// The events of a range of alerts.
    async fn events(&mut self, first: i64, last: i64) -> Result<HashMap<i64, Vec<Event>>, StoreError> {
        let wanted = [("alert_events", As::Int), ("time", As::Time), ("serialized", As::Text)];
        let read = |row: &SqlRow| {
            let mut fields = Fields::new(row);
            Ok((fields.int()?.unwrap_or(0), fields.instant()?, fields.text()?))
        };
        let rows = self.linked("events", "alert_events", &wanted, (first, last), read).await?;
        self.advance(rows.len());
        let mut events: HashMap<i64, Vec<Event>> = HashMap::new();
        for (alert, time, text) in rows {
            let meta = serde_json::from_str::<Vec<MetaItem>>(&text);
            if meta.is_err() {
                // CrowdSec stores an empty text for details that it could not cut to its limit.
                self.report.skip("the details of an event, which are no JSON", || format!("alert {alert}"));
            }
            let timestamp = go_time(time.unwrap_or_default());
            let event = Event { meta: meta.ok(), timestamp };
            events.entry(alert).or_default().push(event);
        }
        Ok(events)
    }

    /// The context of a range of alerts.
    async fn context(&mut self, first: i64, last: i64) -> Result<HashMap<i64, Vec<MetaItem>>, StoreError> {
        let wanted = [("alert_metas", As::Int), ("key", As::Text), ("value", As::Text)];
        let read = |row: &SqlRow| {
            let mut fields = Fields::new(row);
            Ok((fields.int()?.unwrap_or(0), fields.text()?, fields.text()?))
        };
        let rows = self.linked("meta", "alert_metas", &wanted, (first, last), read).await?;
        self.advance(rows.len());
        let mut context: HashMap<i64, Vec<MetaItem>> = HashMap::new();
        for (alert, key, value) in rows {
            context.entry(alert).or_default().push(MetaItem { key, value });
        }
        Ok(context)
    }

    /// The rows of a table that belong to a range of alerts.
    async fn linked<T: Send>(
        &mut self,
        table: &str,
        link: &str,
        wanted: &[(&str, As)],
        (first, last): (i64, i64),
        read: impl FnMut(&SqlRow) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let columns = self.source.columns(table, wanted);
        let text =
            format!("SELECT {columns} FROM {table} WHERE {link} BETWEEN $1 AND $2 ORDER BY {link}, id");
        let sql = self.source.session.sql(&text).bind(first).bind(last);
        self.source.session.read(sql, read).await
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and lists are JSON")
}
