//! A record of the journal: one response with changes.

use palisade_cache::{Batch, Timestamp};

use super::format::{put_decisions, put_lifts, put_text};

/// A response with changes, encoded before it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    body: Vec<u8>,
    /// The cursor after it; empty without one.
    cursor: String,
}

impl Record {
    /// `at` is when the response arrived.
    pub(crate) fn of(batch: &Batch, at: Timestamp) -> Self {
        let mut body = at.as_millis().to_le_bytes().to_vec();
        put_decisions(&mut body, batch.announcements());
        put_lifts(&mut body, batch.lifts());
        Self { body, cursor: String::new() }
    }

    pub(crate) fn with_cursor(self, cursor: &str) -> Self {
        Self { cursor: cursor.to_owned(), ..self }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.cursor.len()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>, has_cursor: bool) {
        let mut record = Vec::with_capacity(self.bytes() + 4);
        put_text(&mut record, if has_cursor { &self.cursor } else { "" });
        record.extend_from_slice(&self.body);
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
        out.append(&mut record);
    }
}
