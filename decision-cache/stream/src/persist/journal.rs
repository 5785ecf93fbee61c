//! The journal of a state file: the changes since the file was written.
//!
//! `PLSDJNL1`, checksum and length of its file, then records: length, CRC-32 and body (time of writing, cursor,
//! announcements, lifts). A record torn by a crash is detected by length or checksum and ends the journal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use palisade_cache::{Batch, Timestamp};

use super::disk::{create, sync_directory};
use super::error::PersistError;
use super::format::Input;
use super::record::Record;
use super::state::{PersistedState, Written};

const MAGIC: &[u8; 8] = b"PLSDJNL1";

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    pub(super) bytes: u64,
}

impl Journal {
    /// Creates the journal of a file that was just written.
    fn begin(path: &Path, base: Written) -> io::Result<Self> {
        let mut file = create(path)?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&base.checksum.to_le_bytes());
        head.extend_from_slice(&base.bytes.to_le_bytes());
        file.write_all(&head)?;
        // The head need not be synced: it is synced together with the first record.
        sync_directory(path)?;
        Ok(Self { file, bytes: head.len() as u64 })
    }

    /// Appends records in one write and syncs. Without `has_cursor`, no cursor belongs to the resulting state.
    pub(super) fn append(
        journal: Option<Self>,
        path: &Path,
        base: Written,
        records: &[Record],
        has_cursor: bool,
    ) -> Result<Self, PersistError> {
        let appended = (|| {
            let mut journal = journal.map_or_else(|| Self::begin(path, base), Ok)?;
            let mut bytes = Vec::new();
            records.iter().for_each(|record| record.put(&mut bytes, has_cursor));
            // One write and one sync for all records since the last time. A crash in between leaves a torn record at
            // the end.
            journal.file.write_all(&bytes)?;
            // `sync_data` also writes the file's new length, and not its times.
            journal.file.sync_data()?;
            journal.bytes += bytes.len() as u64;
            Ok(journal)
        })();
        appended.map_err(|cause| PersistError::Io { doing: "write", path: path.to_owned(), cause })
    }
}

/// Adds the journal's records to the state of its file; ignores the journal of another file.
pub(super) fn read(bytes: &[u8], base: Written, remembered: &mut PersistedState) {
    let mut input = Input(bytes);
    let head = (input.take::<8>(), input.take::<4>(), input.take::<8>());
    // A crash between renaming the file and removing the journal leaves the journal of the file before.
    if head != (Some(*MAGIC), Some(base.checksum.to_le_bytes()), Some(base.bytes.to_le_bytes())) {
        return;
    }
    while let Some((batch, written, cursor)) = record(&mut input) {
        remembered.changes.push(batch);
        remembered.written = written;
        cursor.clone_into(&mut remembered.cursor);
    }
}

fn record<'a>(input: &mut Input<'a>) -> Option<(Batch, Timestamp, &'a str)> {
    let length = u32::from_le_bytes(input.take()?) as usize;
    let checksum = u32::from_le_bytes(input.take()?);
    let mut record = Input(input.bytes(length)?);
    if crc32fast::hash(record.0) != checksum {
        return None;
    }
    let cursor = record.text()?;
    let written = Timestamp::from_millis(i64::from_le_bytes(record.take()?));
    let mut batch = Batch::new();
    // Including ended decisions, which may have replaced decisions with a later end.
    record.decisions(Timestamp::from_millis(i64::MIN), &mut batch)?;
    record.lifts(&mut batch)?;
    record.0.is_empty().then_some((batch, written, cursor))
}
