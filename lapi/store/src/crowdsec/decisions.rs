//! Takes decisions with their ids, in an order that lets each bouncer go on from its last pull.

use std::collections::{HashMap, HashSet};

use palisade_model::{Commit, Target};
use palisade_wire::UnixMillis;
use sqlx::Error;
use uuid::Uuid;

use super::bouncers::Pulls;
use super::columns::{As, Fields};
use super::import::Import;
use crate::decisions::{STEP, end, number};
use crate::engine::{Column, SqlRow, insert};
use crate::prefix_bounds::bounds;
use crate::{StoreError, alerts};

const TABLE: &str = "decisions";
const COLUMNS: [(&str, As); 11] = [
    ("id", As::Int),
    ("alert_decisions", As::Int),
    ("created_at", As::Time),
    ("until", As::Time),
    ("simulated", As::Flag),
    ("scope", As::Text),
    ("value", As::Text),
    ("type", As::Text),
    ("origin", As::Text),
    ("scenario", As::Text),
    ("uuid", As::Text),
];
/// Rows per read.
const PAGE: usize = 1000;
/// A decision that was created up to this long before a bouncer's last pull is announced to it again: the stock server
/// takes the time of a row before it commits.
const OVERLAP: i64 = 60_000;

/// A row of CrowdSec's table.
struct Decision {
    id: i64,
    alert: Option<i64>,
    created: UnixMillis,
    until: Option<UnixMillis>,
    simulated: bool,
    scope: String,
    value: String,
    remediation: String,
    origin: String,
    scenario: String,
    uuid: Option<Uuid>,
}

fn read(row: &SqlRow) -> Result<Decision, Error> {
    let mut fields = Fields::new(row);
    Ok(Decision {
        id: fields.int()?.unwrap_or(0),
        alert: fields.int()?,
        // A row without a time counts as old.
        created: fields.time()?.unwrap_or(UnixMillis(0)),
        until: fields.time()?,
        simulated: fields.flag()?,
        scope: fields.text()?,
        value: fields.text()?,
        remediation: fields.text()?,
        origin: fields.text()?,
        scenario: fields.text()?,
        uuid: fields.text()?.parse().ok(),
    })
}

/// What has to be known of all decisions before alerts are taken.
#[derive(Debug, Default)]
pub(super) struct DecisionSummary {
    /// Alerts with decisions, and whether one of these is of a community list or blocklist.
    community: HashMap<i64, bool>,
    /// Alerts with a decision in force.
    pub(super) in_force: HashSet<i64>,
    /// Decisions without an alert that are in force.
    orphans: u64,
    last_id: i64,
}

impl DecisionSummary {
    pub(super) fn is_community(&self, alert: i64, source_scope: &str) -> bool {
        self.community.get(&alert).copied().unwrap_or_else(|| alerts::is_list(source_scope))
    }
}

/// The commit of each decision, so that a bouncer's cursor separates those it has received from later ones.
struct Commits {
    first: Commit,
    /// Last pulls, sorted.
    pulls: Vec<i64>,
}

impl Commits {
    fn of(&self, created: UnixMillis) -> Commit {
        let missed = self.pulls.partition_point(|pull| pull - OVERLAP <= created.0);
        Commit(self.first.0 + missed as u64)
    }

    fn cursor(&self, pull: UnixMillis) -> Commit {
        Commit(self.first.0 + self.pulls.partition_point(|other| *other < pull.0) as u64)
    }
}

impl Import<'_> {
    pub(super) async fn summarize_decisions(&mut self) -> Result<DecisionSummary, StoreError> {
        let wanted =
            [("id", As::Int), ("alert_decisions", As::Int), ("until", As::Time), ("origin", As::Text)];
        let columns = self.source.columns(TABLE, &wanted);
        let mut summary =
            DecisionSummary { last_id: self.known.decisions.last(), ..DecisionSummary::default() };
        loop {
            let read = |row: &SqlRow| {
                let mut fields = Fields::new(row);
                Ok((fields.int()?.unwrap_or(0), fields.int()?, fields.time()?, fields.text()?))
            };
            let page = self.source.page(TABLE, &columns, summary.last_id, PAGE, read).await?;
            let count = page.len();
            for (id, alert, until, origin) in page {
                summary.last_id = id;
                let holds = until.is_some_and(|end| end > self.now);
                match alert {
                    None => summary.orphans += u64::from(holds),
                    Some(alert) => {
                        let listed = matches!(origin.as_str(), "CAPI" | "lists");
                        *summary.community.entry(alert).or_default() |= listed;
                        if holds {
                            summary.in_force.insert(alert);
                        }
                    }
                }
            }
            if count < PAGE {
                return Ok(summary);
            }
        }
    }

    /// Takes the decisions after the last one that was taken.
    pub(super) async fn decisions(
        &mut self,
        summary: &DecisionSummary,
        alerts: &HashSet<i64>,
        pulls: &Pulls,
        (alert_offset, offset): (i64, i64),
    ) -> Result<(), StoreError> {
        if summary.last_id <= self.known.decisions.last() {
            return Ok(());
        }
        let mut sorted: Vec<i64> = pulls.iter().map(|(_, pull)| pull.0).collect();
        sorted.sort_unstable();
        let first = self.tx.next_commit();
        for _ in &sorted {
            self.tx.next_commit();
        }
        let commits = Commits { first, pulls: sorted };
        for (row, pull) in pulls {
            let session = self.tx.session();
            let sql = session
                .sql("UPDATE bouncers SET cursor_commit = $1, cursor_time = $2 WHERE id = $3")
                .bind(number(commits.cursor(*pull)))
                .bind(pull.0)
                .bind(*row);
            session.run(sql).await?;
        }
        let orphanage = if summary.orphans > 0 { Some(self.alert_for_orphans().await?) } else { None };
        let columns = self.source.columns(TABLE, &COLUMNS);
        let mut after = self.known.decisions.last();
        loop {
            let page = self.source.page(TABLE, &columns, after, PAGE, read).await?;
            let count = page.len();
            let mut rows = Vec::with_capacity(count);
            for decision in page {
                after = decision.id;
                rows.extend(self.admit(decision, alerts, alert_offset, orphanage));
            }
            self.write_decisions(rows, &commits, offset).await?;
            self.advance(count);
            if count < PAGE {
                return Ok(());
            }
        }
    }

    /// A decision with its target, end and alert here; `None` when it is not taken.
    fn admit(
        &mut self,
        decision: Decision,
        alerts: &HashSet<i64>,
        alert_offset: i64,
        orphanage: Option<i64>,
    ) -> Option<(Decision, Target, UnixMillis, i64)> {
        let id = decision.id;
        let Some(until) = decision.until else {
            self.report
                .skip("a decision without an end, which CrowdSec does not serve", || format!("id {id}"));
            return None;
        };
        let alert = match decision.alert {
            Some(alert) if alerts.contains(&alert) => alert + alert_offset,
            Some(alert) => match self.known.alerts.id(alert) {
                // A later decision of an alert that was taken before.
                Some(here) if self.alerts_here.contains(&here) => here,
                _ => {
                    self.report.skip("a decision of an alert that was not taken", || format!("id {id}"));
                    return None;
                }
            },
            None if until > self.now => orphanage?,
            None => {
                self.report.skip("a decision that has ended and has no alert", || format!("id {id}"));
                return None;
            }
        };
        match Target::parse(&decision.scope, &decision.value) {
            Ok(target) => Some((decision, target, until, alert)),
            Err(_) => {
                self.report.skip("a decision whose value is no address or range", || {
                    format!("id {id}: {}", decision.value)
                });
                None
            }
        }
    }

    async fn write_decisions(
        &mut self,
        rows: Vec<(Decision, Target, UnixMillis, i64)>,
        commits: &Commits,
        offset: i64,
    ) -> Result<(), StoreError> {
        let count = rows.len();
        self.report.decisions.added += count as u64;
        let holds =
            |(one, _, until, _): &&(Decision, Target, UnixMillis, i64)| *until > self.now && !one.simulated;
        self.report.in_force += rows.iter().filter(holds).count() as u64;
        let [mut ids, mut numbers, mut created, mut untils, mut alerts] = [const { Vec::new() }; 5];
        let [mut origins, mut scenarios, mut scopes, mut kinds, mut values] = [const { Vec::new() }; 5];
        let [mut uuids, mut starts, mut ends] = [const { Vec::new() }; 3];
        let mut simulated = Vec::with_capacity(count);
        for (decision, target, until, alert) in rows {
            ids.push(decision.id + offset);
            numbers.push(number(commits.of(decision.created)));
            created.push(decision.created.0);
            untils.push(until.0);
            alerts.push(alert);
            simulated.push(decision.simulated);
            uuids.push(decision.uuid.map(|uuid| uuid.as_bytes().to_vec()));
            let (start, end) = target.prefix().map(|net| bounds(&net)).unzip();
            starts.push(start);
            ends.push(end);
            origins.push(decision.origin);
            scenarios.push(decision.scenario);
            scopes.push(target.scope.as_str().to_owned());
            kinds.push(decision.remediation);
            values.push(decision.value);
        }
        let columns = vec![
            ("id", Column::Ints(ids)),
            ("commit_no", Column::Ints(numbers)),
            ("created_at", Column::Ints(created)),
            ("until", Column::Ints(untils)),
            ("alert_id", Column::Ints(alerts)),
            ("simulated", Column::Bools(simulated)),
            ("uuid", Column::Blobs(uuids)),
            ("origin", Column::Texts(origins)),
            ("scenario", Column::Texts(scenarios)),
            ("scope", Column::Texts(scopes)),
            ("kind", Column::Texts(kinds)),
            ("value", Column::Texts(values)),
            ("start_ip", Column::Blobs(starts)),
            ("end_ip", Column::Blobs(ends)),
            ("lifted", Column::Bools(vec![false; count])),
        ];
        insert(self.tx, "decisions", columns, self.bulk).await
    }

    /// Makes an alert for decisions that hold and have none; here each has one.
    async fn alert_for_orphans(&mut self) -> Result<i64, StoreError> {
        let id = self.tx.next_alert();
        let now = self.now.0;
        let text = |text: &str| Column::Texts(vec![text.to_owned()]);
        let mut columns = vec![
            ("id", Column::Ints(vec![id])),
            ("uuid", text(&Uuid::new_v4().to_string())),
            ("scenario", text("decisions without an alert")),
            ("message", text("decisions without an alert, taken from CrowdSec's database")),
            ("machine_id", Column::MaybeInts(vec![None])),
            ("digest", Column::Blobs(vec![None])),
        ];
        columns
            .extend(["created_at", "started_at", "stopped_at"].map(|name| (name, Column::Ints(vec![now]))));
        columns.extend(["events_count", "capacity"].map(|name| (name, Column::Ints(vec![0]))));
        columns.extend(["source_latitude", "source_longitude"].map(|name| (name, Column::Reals(vec![0.0]))));
        columns.extend(
            ["simulated", "remediation", "community", "staged"]
                .map(|name| (name, Column::Bools(vec![false]))),
        );
        columns.extend(["events", "meta"].map(|name| (name, text("[]"))));
        columns.extend(
            [
                "leakspeed",
                "scenario_version",
                "scenario_hash",
                "kind",
                "source_scope",
                "source_value",
                "source_ip",
                "source_range",
                "source_as_number",
                "source_as_name",
                "source_cn",
            ]
            .map(|name| (name, text(""))),
        );
        insert(self.tx, "alerts", columns, 1).await?;
        Ok(id)
    }

    /// Ends the decisions that were taken before and have been ended at the source since.
    pub(super) async fn end_lifted(&mut self) -> Result<(), StoreError> {
        let last = self.known.decisions.last();
        let columns = self.source.columns(TABLE, &[("id", As::Int), ("until", As::Time)]);
        let mut after = 0;
        while after < last {
            let read = |row: &SqlRow| {
                let mut fields = Fields::new(row);
                Ok((fields.int()?.unwrap_or(0), fields.time()?))
            };
            let page = self.source.page(TABLE, &columns, after, PAGE, read).await?;
            let count = page.len();
            let mut over = Vec::new();
            for (id, until) in page {
                after = id;
                if id <= last && until.is_some_and(|end| end <= self.now) {
                    over.extend(self.known.decisions.id(id));
                }
            }
            for step in over.chunks(STEP) {
                self.report.decisions.removed += end(self.tx, self.now, step).await?.count;
            }
            if count < PAGE {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_separates_what_was_received_from_what_came_later() {
        let minute = 60_000;
        let commits = Commits { first: Commit(8), pulls: vec![10 * minute, 20 * minute, 20 * minute] };
        for (pull, created, announced) in [
            (10, 0, false),
            (10, 8, false),
            (10, 9, true),
            (10, 10, true),
            (10, 30, true),
            (20, 10, false),
            (20, 18, false),
            (20, 19, true),
            (20, 21, true),
        ] {
            let cursor = commits.cursor(UnixMillis(pull * minute));
            let commit = commits.of(UnixMillis(created * minute));
            assert_eq!(commit > cursor, announced, "pulled at {pull}, created at {created}");
        }
    }
}
