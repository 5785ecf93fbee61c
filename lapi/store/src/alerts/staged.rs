//! Writes one large alert in several transactions; it becomes visible with the last.

use palisade_model::{Change, Commit, NewDecision};
use palisade_wire::UnixMillis;

use super::add::{insert_alerts, insert_decisions, record_push, repeated};
use super::alert_row::AlertRow;
use super::{CommitSink, STAGED_FROM, Stored};
use crate::engine::Tx;
use crate::{Store, StoreError};

/// Writes the alert and its decisions in steps, and passes each commit on. Returns the last one.
pub(super) async fn import(
    store: &Store,
    now: UnixMillis,
    machine: Option<String>,
    mut alert: AlertRow,
    sink: &CommitSink,
) -> Result<(Stored, Option<Commit>), StoreError> {
    let bulk = store.bulk;
    let doing = "import decisions";
    let mut decisions = std::mem::take(&mut alert.decisions).into_iter();
    let begun = store
        .writer
        .write(doing, move |tx| {
            Box::pin(async move {
                // In the transaction that inserts it, so that two equal posts cannot both find nothing.
                let there = repeated(tx, now, alert.digest.iter().cloned().collect()).await?;
                if let Some(&alert) = there.values().next() {
                    return Ok((Stored { alert, repeated: true }, None, decisions));
                }
                let machine = match machine {
                    Some(name) => record_push(tx, now, &name).await?,
                    None => None,
                };
                let ids = insert_alerts(tx, now, machine, &mut [&mut alert], true, bulk).await?;
                let id = ids.into_iter().next().unwrap_or_default();
                let commit = insert_step(tx, now, id, &mut decisions, bulk).await?;
                Ok((Stored { alert: id, repeated: false }, commit, decisions))
            })
        })
        .await?;
    let (stored, mut commit, mut decisions) = begun;
    if stored.repeated {
        return Ok((stored, None));
    }
    let mut last = None;
    while let Some((number, changes)) = commit.take() {
        last = Some(number);
        // At once, so that a large import is not in memory once more, and is not read back by the next poll.
        sink(number, changes);
        if decisions.len() == 0 {
            break;
        }
        // The last step also makes the alert visible, in the same transaction as the last decisions.
        let complete = decisions.len() <= STAGED_FROM;
        (commit, decisions) = store
            .writer
            .write(doing, move |tx| {
                Box::pin(async move {
                    resume_alert(tx, stored.alert, complete).await?;
                    let commit = insert_step(tx, now, stored.alert, &mut decisions, bulk).await?;
                    Ok((commit, decisions))
                })
            })
            .await?;
    }
    Ok((stored, last))
}

/// Takes the decisions of a step from the rest, which is moved in and out of the transactions instead of being copied.
async fn insert_step(
    tx: &mut Tx,
    now: UnixMillis,
    alert: i64,
    rest: &mut std::vec::IntoIter<NewDecision>,
    bulk: usize,
) -> Result<Option<(Commit, Vec<Change>)>, StoreError> {
    let count = rest.len().min(STAGED_FROM);
    let step = rest.by_ref().take(count).map(|decision| (alert, decision));
    insert_decisions(tx, now, count, step, bulk).await
}

/// Checks that the alert was not removed as the remains of an interrupted import.
async fn resume_alert(tx: &mut Tx, alert: i64, last: bool) -> Result<(), StoreError> {
    let session = tx.session();
    let sql = session.sql("UPDATE alerts SET staged = $1 WHERE id = $2 AND staged").bind(!last).bind(alert);
    // The lock may have been lost with its connection, after which another process may remove what is staged.
    if session.run(sql).await? == 0 {
        return Err(session.fails("the import was removed while it was written; try it again"));
    }
    Ok(())
}
