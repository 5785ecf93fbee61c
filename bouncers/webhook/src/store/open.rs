//! Opens a store's file: checks all of it, sets an unusable one aside, makes it smaller when most of it is empty.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::error::Problem;
use super::format::labels_of;
use super::labels::{Labels, MAX_LABELS};
use super::medium::{Backend, Medium};
use super::record::{Counts, EndpointState};
use super::tables::{self, Counters, DEAD, LABELS, QUEUE, VALUES, read_labels, read_rows};

/// Smallest file that is made smaller.
const MIN_COMPACTED_BYTES: u64 = 8 << 20;

/// How many times its content a file may be. Pages are half full at worst and two thirds full on average, and a commit
/// needs room for the pages that it replaces.
const MAX_EMPTINESS: u64 = 4;

/// An open file.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) database: Database,
    pub(super) labels: Labels,
    pub(super) counters: Counters,
    pub(super) state: EndpointState,
    pub(super) counts: Counts,
    /// Commits since the last that was synced.
    pub(super) unsynced: u32,
}

/// Opens what is there or begins anew; in that case with the reason.
pub(super) fn open_or_begin(
    medium: &dyn Medium,
    cache_bytes: usize,
) -> Result<(Open, Option<String>), Problem> {
    let reason = match medium.existing()? {
        None => "it is missing".to_owned(),
        Some(backend) => match open(backend, medium, cache_bytes) {
            Ok(open) => return Ok((open, None)),
            Err(Problem::Damaged(reason)) => {
                set_aside(medium, &reason)?;
                reason
            }
            Err(problem) => return Err(problem),
        },
    };
    begin(medium, cache_bytes).map(|open| (open, Some(reason)))
}

/// Moves an unusable file away. The decisions are the LAPI's: nothing is lost but that its endpoint is sent all of them
/// again.
pub(super) fn set_aside(medium: &dyn Medium, reason: &str) -> Result<(), Problem> {
    let aside = medium.set_aside()?;
    tracing::error!(
        store = %medium.path().display(),
        moved_to = %aside.display(),
        reason,
        "set an unusable store aside; its endpoint is sent all decisions again"
    );
    Ok(())
}

fn begin(medium: &dyn Medium, cache_bytes: usize) -> Result<Open, Problem> {
    let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(medium.create()?)?;
    let transaction = database.begin_write()?;
    tables::create(&transaction)?;
    transaction.commit()?;
    medium.publish()?;
    Open::read(database)
}

fn open(backend: Backend, medium: &dyn Medium, cache_bytes: usize) -> Result<Open, Problem> {
    let checked = || {
        let mut builder = Builder::new();
        // Without the check, redb trusts a file that was closed in order, and may panic on one that was damaged since.
        // After a crash it reads all of the file in any case.
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
        let mut database = builder.create_with_backend(backend)?;
        let size = medium.size()?;
        if size >= MIN_COMPACTED_BYTES && is_mostly_empty(&database, size)? {
            compact(&mut database, medium, size)?;
        }
        let mut open = Open::read(database)?;
        open.forget_unused_labels()?;
        Ok(open)
    };
    // Debug builds of redb panic on some damage that release builds report.
    catch_unwind(AssertUnwindSafe(checked))
        .unwrap_or_else(|_| Err(Problem::damaged("its pages are inconsistent")))
}

fn is_mostly_empty(database: &Database, size: u64) -> Result<bool, Problem> {
    let transaction = database.begin_write()?;
    let stored = transaction.stats()?.stored_bytes();
    transaction.abort()?;
    Ok(stored.saturating_mul(MAX_EMPTINESS) < size)
}

fn compact(database: &mut Database, medium: &dyn Medium, before: u64) -> Result<(), Problem> {
    database.compact()?;
    let after = medium.size()?;
    tracing::info!(store = %medium.path().display(), before, after, "gave back unused space of a store");
    Ok(())
}

impl Open {
    fn read(database: Database) -> Result<Self, Problem> {
        let transaction = database.begin_read()?;
        let (state, counters) = read_rows(&transaction)?;
        let labels = read_labels(&transaction)?;
        let records = transaction.open_table(VALUES)?.len()?;
        let queued = transaction.open_table(QUEUE)?.len()?;
        let dead = transaction.open_table(DEAD)?.len()?;
        let Counters { queued_bytes, dropped, .. } = counters;
        drop(transaction);
        let counts = Counts { records, queued, queued_bytes, dead, dropped };
        Ok(Self { database, labels, counters, state, counts, unsynced: 0 })
    }

    /// Makes room for new labels when it becomes scarce. This reads all records, so it is done when the file is opened,
    /// which reads them in any case.
    fn forget_unused_labels(&mut self) -> Result<(), Problem> {
        if self.labels.len() < MAX_LABELS / 2 {
            return Ok(());
        }
        let mut used = vec![false; MAX_LABELS];
        let transaction = self.database.begin_read()?;
        for row in transaction.open_table(VALUES)?.iter()? {
            labels_of(row?.1.value(), |number| {
                if let Some(used) = usize::try_from(number).ok().and_then(|number| used.get_mut(number)) {
                    *used = true;
                }
            })?;
        }
        drop(transaction);
        let unused: Vec<u16> = self.labels.numbers().filter(|number| !used[usize::from(*number)]).collect();
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(LABELS)?;
        for number in unused {
            table.remove(number)?;
            self.labels.remove(number);
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }
}
