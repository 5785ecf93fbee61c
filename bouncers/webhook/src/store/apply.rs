//! Writes a commit in a transaction, and drops what exceeds the limits with it.

use palisade_cache::Timestamp;
use redb::{ReadableTable as _, ReadableTableMetadata as _, Table, WriteTransaction};

use super::error::Problem;
use super::format::{decode_event, encode_dead_letter, encode_event, encode_record};
use super::labels::Labels;
use super::record::{Commit, Committed, Dropped, MAX_DROPPED_BY_COMMIT, StoreLimits, is_too_old};
use super::tables::{Counters, DEAD, LABELS, META, QUEUE, VALUES, write_rows};
use crate::config::HistoryConfig;
use crate::event::{Event, Value};

type Numbered<'t> = Table<'t, u64, &'static [u8]>;

/// What queueing an event costs besides its bytes: its number.
const EVENT_OVERHEAD: u64 = 8;

/// Writes `commit`. Nothing is stored before the transaction is committed.
pub(super) fn apply(
    transaction: &WriteTransaction,
    commit: &Commit,
    now: Timestamp,
    limits: &StoreLimits,
    labels: &mut Labels,
    counters: &mut Counters,
) -> Result<Committed, Problem> {
    write_records(transaction, &commit.records, labels)?;
    let mut committed = Committed::default();
    update_queue(transaction, commit, now, limits.history.as_ref(), (labels, counters), &mut committed)?;
    update_dead(transaction, commit, limits.max_dead_letters, counters, &mut committed.dropped)?;
    let sum = &mut counters.dropped;
    sum.too_old += committed.dropped.too_old;
    sum.no_room += committed.dropped.no_room;
    sum.dead_letters += committed.dropped.dead_letters;
    write_rows(&mut transaction.open_table(META)?, commit.state.as_ref(), counters)?;
    Ok(committed)
}

fn write_records(
    transaction: &WriteTransaction,
    records: &[(Value, Option<super::ValueRecord>)],
    labels: &mut Labels,
) -> Result<(), Problem> {
    if records.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(VALUES)?;
    // In order of their keys, which touches each page once. The sort is stable: the last record of a value is the one kept.
    let mut by_key: Vec<_> = records.iter().map(|(value, record)| (value.to_key(), record)).collect();
    by_key.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, record) in by_key {
        match record.as_ref().filter(|record| !record.is_nothing()) {
            Some(record) => drop(table.insert(key.as_slice(), encode_record(record, labels).as_slice())?),
            None => drop(table.remove(key.as_slice())?),
        }
    }
    let added = labels.take_added();
    if !added.is_empty() {
        let mut table = transaction.open_table(LABELS)?;
        for (number, text) in added {
            table.insert(number, &*text)?;
        }
    }
    Ok(())
}

fn update_queue(
    transaction: &WriteTransaction,
    commit: &Commit,
    now: Timestamp,
    history: Option<&HistoryConfig>,
    (labels, counters): (&mut Labels, &mut Counters),
    committed: &mut Committed,
) -> Result<(), Problem> {
    if commit.enqueue.is_empty()
        && commit.dequeue.is_empty()
        && (history.is_none() || counters.queued_bytes == 0)
    {
        return Ok(());
    }
    let mut queue = transaction.open_table(QUEUE)?;
    for number in &commit.dequeue {
        if let Some(event) = queue.remove(number)? {
            counters.queued_bytes = counters.queued_bytes.saturating_sub(stored_size(event.value()));
        }
    }
    for event in &commit.enqueue {
        committed.enqueued.push(enqueue(&mut queue, event, counters)?);
    }
    if let Some(history) = history {
        drop_events(&mut queue, history, now, (labels, counters), &mut committed.dropped)?;
    }
    Ok(())
}

fn enqueue(queue: &mut Numbered<'_>, event: &Event, counters: &mut Counters) -> Result<u64, Problem> {
    let number = counters.next_event;
    let bytes = encode_event(event);
    queue.insert(number, bytes.as_slice())?;
    counters.next_event += 1;
    counters.queued_bytes += stored_size(&bytes);
    Ok(number)
}

/// Drops from the front only: the queue stays without gaps, and one event with a wrong time is kept no longer than
/// there is room.
fn drop_events(
    queue: &mut Numbered<'_>,
    history: &HistoryConfig,
    now: Timestamp,
    (labels, counters): (&mut Labels, &mut Counters),
    dropped: &mut Dropped,
) -> Result<(), Problem> {
    while dropped.too_old + dropped.no_room < MAX_DROPPED_BY_COMMIT {
        let Some((number, size, at)) = (match queue.first()? {
            Some((number, event)) => {
                let at = decode_event(event.value(), labels)?.at;
                Some((number.value(), stored_size(event.value()), at))
            }
            None => None,
        }) else {
            break;
        };
        if is_too_old(at, now, history.max_age) {
            dropped.too_old += 1;
        } else if counters.queued_bytes > history.max_bytes {
            dropped.no_room += 1;
        } else {
            break;
        }
        queue.remove(number)?;
        counters.queued_bytes = counters.queued_bytes.saturating_sub(size);
    }
    Ok(())
}

fn update_dead(
    transaction: &WriteTransaction,
    commit: &Commit,
    max: usize,
    counters: &mut Counters,
    dropped: &mut Dropped,
) -> Result<(), Problem> {
    if commit.dead.is_empty() && commit.undead.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(DEAD)?;
    for number in &commit.undead {
        table.remove(number)?;
    }
    for letter in &commit.dead {
        table.insert(counters.next_dead, encode_dead_letter(letter).as_slice())?;
        counters.next_dead += 1;
    }
    while table.len()? > max as u64 && dropped.dead_letters < MAX_DROPPED_BY_COMMIT {
        table.pop_first()?;
        dropped.dead_letters += 1;
    }
    Ok(())
}

fn stored_size(event: &[u8]) -> u64 {
    event.len() as u64 + EVENT_OVERHEAD
}
