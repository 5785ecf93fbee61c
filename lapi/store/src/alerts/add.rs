//! Writes alerts and their decisions.

use std::collections::HashMap;

use palisade_model::{Change, Commit, NewDecision, StoredDecision};
use palisade_wire::UnixMillis;

use super::Stored;
use super::alert_row::{AlertRow, columns};
use crate::StoreError;
use crate::engine::{Column, Tx, insert};

/// How long an alert with the same digest counts as repeated, in milliseconds.
// A log processor that got no response sends the batch again within minutes. An equal alert much later is a new
// event.
const REPEAT_WINDOW: i64 = 3_600_000;

/// Records that a machine has posted; returns its row id, or `None` for an unknown machine.
pub(super) async fn record_push(
    tx: &mut Tx,
    now: UnixMillis,
    machine: &str,
) -> Result<Option<i64>, StoreError> {
    let session = tx.session();
    let sql = session
        // One statement for both, as every post needs the id anyway.
        .sql("UPDATE machines SET last_push = $1, updated_at = $1 WHERE name = $2 RETURNING id")
        .bind(now.0)
        .bind(machine);
    session.first(sql, |row| row.get(0)).await
}

/// The stored alerts with these digests: created within the last hour, and their decisions still in force.
pub(super) async fn repeated(
    tx: &mut Tx,
    now: UnixMillis,
    digests: Vec<Vec<u8>>,
) -> Result<HashMap<Vec<u8>, i64>, StoreError> {
    if digests.is_empty() {
        return Ok(HashMap::new());
    }
    let session = tx.session();
    let mut sql = session.sql("SELECT digest, MAX(id) FROM alerts WHERE digest");
    sql.in_bytes(digests).push(" AND NOT staged AND created_at > ").arg(now.0 - REPEAT_WINDOW);
    sql.push(
        // If all decisions were lifted the alert is stored again: after an operator has removed a ban, the same alert
        // may bring it back.
        " AND (EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = alerts.id AND NOT d.lifted) \
         OR NOT EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = alerts.id))",
    );
    // So it is when one has ended by itself, since the decisions of the same alert may count from its new arrival.
    sql.push(
        " AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.alert_id = alerts.id AND NOT d.lifted AND d.until <= ",
    );
    sql.arg(now.0).push(") GROUP BY digest");
    let found = session.read(sql, |row| Ok((row.get(0)?, row.get(1)?))).await?;
    Ok(found.into_iter().collect())
}

/// Inserts alert rows; returns their ids.
pub(super) async fn insert_alerts(
    tx: &mut Tx,
    now: UnixMillis,
    machine: Option<i64>,
    alerts: &mut [&mut AlertRow],
    staged: bool,
    bulk: usize,
) -> Result<Vec<i64>, StoreError> {
    // From the counters in `head`, so that decisions can refer to the alerts without `RETURNING`.
    let ids: Vec<i64> = alerts.iter().map(|_| tx.next_alert()).collect();
    let count = ids.len();
    // Moved out of the alert, not copied: events can be many kilobytes.
    fn texts(alerts: &mut [&mut AlertRow], take: impl Fn(&mut AlertRow) -> &mut String) -> Column {
        Column::Texts(alerts.iter_mut().map(|one| std::mem::take(take(one))).collect())
    }
    let ints = |of: &dyn Fn(&AlertRow) -> i64, alerts: &[&mut AlertRow]| {
        Column::Ints(alerts.iter().map(|one| of(one)).collect())
    };
    let reals = |of: &dyn Fn(&AlertRow) -> f32, alerts: &[&mut AlertRow]| {
        Column::Reals(alerts.iter().map(|one| f64::from(of(one))).collect())
    };
    let flags = |of: &dyn Fn(&AlertRow) -> bool, alerts: &[&mut AlertRow]| {
        Column::Bools(alerts.iter().map(|one| of(one)).collect())
    };
    let columns = vec![
        ("id", Column::Ints(ids.clone())),
        ("created_at", Column::Ints(vec![now.0; count])),
        ("events_count", ints(&|one| i64::from(one.alert.events_count), alerts)),
        ("started_at", ints(&|one| one.started.0, alerts)),
        ("stopped_at", ints(&|one| one.stopped.0, alerts)),
        ("capacity", ints(&|one| i64::from(one.alert.capacity), alerts)),
        ("source_latitude", reals(&|one| one.alert.source.latitude, alerts)),
        ("source_longitude", reals(&|one| one.alert.source.longitude, alerts)),
        ("simulated", flags(&|one| one.alert.simulated, alerts)),
        ("remediation", flags(&|one| one.alert.remediation, alerts)),
        ("community", flags(&|one| one.community, alerts)),
        ("staged", Column::Bools(vec![staged; count])),
        // NULL if the machine was deleted while its token is still valid.
        ("machine_id", Column::MaybeInts(vec![machine; count])),
        ("digest", Column::Blobs(alerts.iter_mut().map(|one| one.digest.take()).collect())),
        ("events", texts(alerts, |one| &mut one.events)),
        ("meta", texts(alerts, |one| &mut one.meta)),
        ("scenario", texts(alerts, |one| &mut one.alert.scenario)),
        ("message", texts(alerts, |one| &mut one.alert.message)),
        ("leakspeed", texts(alerts, |one| &mut one.alert.leakspeed)),
        ("scenario_version", texts(alerts, |one| &mut one.alert.scenario_version)),
        ("scenario_hash", texts(alerts, |one| &mut one.alert.scenario_hash)),
        ("uuid", texts(alerts, |one| &mut one.alert.uuid)),
        ("kind", texts(alerts, |one| &mut one.alert.kind)),
        ("source_scope", texts(alerts, |one| &mut one.alert.source.scope)),
        ("source_value", texts(alerts, |one| &mut one.alert.source.value)),
        ("source_ip", texts(alerts, |one| &mut one.alert.source.ip)),
        ("source_range", texts(alerts, |one| &mut one.alert.source.range)),
        ("source_as_number", texts(alerts, |one| &mut one.alert.source.as_number)),
        ("source_as_name", texts(alerts, |one| &mut one.alert.source.as_name)),
        ("source_cn", texts(alerts, |one| &mut one.alert.source.cn)),
    ];
    insert(tx, "alerts", columns, bulk).await?;
    Ok(ids)
}

/// Writes several complete alerts in one commit.
pub(super) async fn add_whole(
    tx: &mut Tx,
    now: UnixMillis,
    machine: Option<i64>,
    mut alerts: Vec<AlertRow>,
    bulk: usize,
) -> Result<(Vec<Stored>, Option<(Commit, Vec<Change>)>), StoreError> {
    let digests = alerts.iter().filter_map(|one| one.digest.clone()).collect();
    let there = repeated(tx, now, digests).await?;
    let mut stored: Vec<Option<Stored>> = alerts
        .iter()
        .map(|one| one.digest.as_ref().and_then(|digest| there.get(digest)))
        .map(|id| id.map(|&alert| Stored { alert, repeated: true }))
        .collect();
    // A batch that was interrupted midway may contain both known and new alerts.
    let mut fresh: Vec<&mut AlertRow> =
        alerts.iter_mut().zip(&stored).filter(|(_, stored)| stored.is_none()).map(|(one, _)| one).collect();
    let mut commit = None;
    if !fresh.is_empty() {
        let ids = insert_alerts(tx, now, machine, &mut fresh, false, bulk).await?;
        let count = fresh.iter().map(|one| one.decisions.len()).sum();
        let decisions = ids.iter().zip(fresh).flat_map(|(id, one)| {
            std::mem::take(&mut one.decisions).into_iter().map(|decision| (*id, decision))
        });
        commit = insert_decisions(tx, now, count, decisions, bulk).await?;
        let mut ids = ids.into_iter();
        for place in stored.iter_mut().filter(|place| place.is_none()) {
            *place = ids.next().map(|alert| Stored { alert, repeated: false });
        }
    }
    Ok((stored.into_iter().flatten().collect(), commit))
}

/// Writes `count` decisions, each with the id of its alert, in one commit; without decisions there is no commit.
pub(super) async fn insert_decisions(
    tx: &mut Tx,
    now: UnixMillis,
    count: usize,
    decisions: impl Iterator<Item = (i64, NewDecision)> + Send,
    bulk: usize,
) -> Result<Option<(Commit, Vec<Change>)>, StoreError> {
    if count == 0 {
        return Ok(None);
    }
    // Taken only if there are decisions: without a change there must be no commit, as clients would be woken for
    // nothing.
    let commit = tx.next_commit();
    let ids = tx.next_decisions(count)..;
    let mut rows = ids.zip(decisions).map(|(id, (alert, decision))| decision.stored(id, alert, commit));
    let mut changes = Vec::with_capacity(count);
    let mut next = || {
        let chunk: Vec<StoredDecision> = rows.by_ref().take(bulk.max(1)).collect();
        let columns = (!chunk.is_empty()).then(|| columns(now, &chunk));
        changes.extend(chunk.into_iter().map(Change::Put));
        columns
    };
    let mut current = next();
    while let Some(columns) = current {
        // The columns of the next statement are made while the database works on this one.
        let (done, following) = tokio::join!(insert(tx, "decisions", columns, bulk), async { next() });
        done?;
        current = following;
    }
    Ok(Some((commit, changes)))
}
