//! The task that persists decisions: when to append to the journal, and when to rewrite the file.

use std::time::Duration;

use palisade_cache::Timestamp;
use palisade_go_compat::with_causes;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::PersistError;
use super::file::StateFile;
use super::journal::Journal;
use super::state::Written;
use crate::publish::{CacheHandle, Unsaved};

/// After the whole file was written, the next whole write waits this many times as long as that took: at most a
/// twentieth of the time is spent writing. 100,000 decisions (4 MB) take some tens of milliseconds.
const WHOLE_WRITE_PAUSE_FACTOR: u32 = 20;
/// The journal is merged into the file when it is larger than this and than half of the file.
const MIN_JOURNAL_BYTES: u64 = 256 * 1024;
/// When a failed write is retried.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct OnDisk {
    base: Option<Written>,
    journal: Option<Journal>,
    cursor: String,
}

/// Persists changes, at most once per `pause`, until `stop`; then once more.
///
/// A response with changes is appended to the journal, at a cost independent of the number of decisions. Anything
/// else, such as a full pull with differences, rewrites the file, which is delayed when that takes long; later changes
/// are appended meanwhile.
///
/// Generation 0 (nothing known yet) is never written, nor is anything before the LAPI has answered. Failures are
/// logged when they begin and end, and retried.
pub async fn keep(memory: StateFile, cache: CacheHandle, pause: Duration, stop: CancellationToken) {
    let mut changed = cache.changed();
    let _collecting = cache.collect_unsaved();
    let mut disk = OnDisk::default();
    let mut saved_generation = 0;
    let mut failing = false;
    let mut whole_not_before = Instant::now();
    loop {
        let stopping = stop.is_cancelled();
        let mut whole_waits = false;
        // Until the LAPI has answered, what is on disk is all that is known; writing now could only lose some of it.
        if cache.freshness().is_complete() && cache.read().generation() != 0 {
            // Taken before it is written: what comes meanwhile is collected for the next round.
            let unsaved = cache.take_unsaved();
            saved_generation = unsaved.latest.snapshot.generation();
            // A cursor that moved past changes irrelevant here is only written at the end.
            let tidy = stopping && (disk.journal.is_some() || unsaved.latest.cursor != disk.cursor);
            let wants_whole = unsaved.whole || tidy || disk.is_grown();
            let whole = wants_whole && (stopping || Instant::now() >= whole_not_before);
            if unsaved.whole && !whole {
                // The demand was taken with the rest and has to be put back.
                cache.save_whole();
            }
            whole_waits = wants_whole && !whole;
            // Without a file of this process there is nothing that a journal could belong to.
            if whole || !unsaved.records.is_empty() && disk.base.is_some() {
                let begun = Instant::now();
                let memory = memory.clone();
                // Syncing blocks for as long as the disk takes, and would block other tasks of the runtime's thread.
                let task = move || write(&memory, disk, &unsaved, whole, crate::now());
                let Ok((on_disk, result)) = tokio::task::spawn_blocking(task).await else {
                    return; // the runtime is shutting down
                };
                disk = on_disk;
                if whole {
                    whole_not_before = Instant::now() + begun.elapsed() * WHOLE_WRITE_PAUSE_FACTOR;
                }
                match result {
                    Ok(()) if std::mem::take(&mut failing) => info!("decisions are remembered on disk again"),
                    Ok(()) => {}
                    Err(error) => {
                        cache.save_whole();
                        whole_waits = true;
                        whole_not_before = Instant::now() + RETRY;
                        if !std::mem::replace(&mut failing, true) {
                            warn!(
                                error = with_causes(&error),
                                "decisions are enforced but not remembered: after a reboot this host waits for the \
                                 LAPI; tried again until it works"
                            );
                        }
                    }
                }
            }
        }
        if stopping {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => continue,
            // The pause follows a write and comes before the wait: the first change after a quiet time is written at
            // once, and those in quick succession become one write.
            () = sleep(pause) => {}
        }
        let whole_due = async {
            if whole_waits { sleep_until(whole_not_before).await } else { std::future::pending().await }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = whole_due => {}
            _ = changed.wait_for(|generation| *generation != saved_generation) => {}
        }
    }
}

impl OnDisk {
    /// Whether the journal should be merged into the file.
    fn is_grown(&self) -> bool {
        let base = self.base.map_or(0, |base| base.bytes);
        self.journal.as_ref().is_some_and(|journal| journal.bytes > MIN_JOURNAL_BYTES.max(base / 2))
    }
}

/// Performs one write; returns what is on disk afterwards.
fn write(
    memory: &StateFile,
    mut disk: OnDisk,
    unsaved: &Unsaved,
    whole: bool,
    now: Timestamp,
) -> (OnDisk, Result<(), PersistError>) {
    let result = match disk.base {
        Some(base) if !whole => {
            // While other changes still require a whole write, no cursor belongs to the journal's state.
            // With it a restart would continue from a position whose decisions are not all on disk.
            let cursor = if unsaved.whole { "" } else { unsaved.latest.cursor.as_str() };
            let has_cursor = !unsaved.whole;
            Journal::append(disk.journal.take(), &memory.journal(), base, &unsaved.records, has_cursor)
                .map(|journal| OnDisk { base: disk.base, journal: Some(journal), cursor: cursor.to_owned() })
        }
        _ => memory.save_at(&unsaved.latest.snapshot, &unsaved.latest.cursor, now).map(|base| OnDisk {
            base: Some(base),
            journal: None,
            cursor: unsaved.latest.cursor.clone(),
        }),
    };
    match result {
        Ok(disk) => (disk, Ok(())),
        // The write may have failed before or after the rename, so the file is not known to be the one of the
        // journal. Without a base the next write is a whole one.
        Err(error) => (OnDisk::default(), Err(error)),
    }
}
