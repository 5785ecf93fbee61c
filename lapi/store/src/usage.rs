//! Usage metrics as bouncers and log processors post them.

use palisade_wire::UnixMillis;

use crate::{Store, StoreError};

/// Who measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageKind {
    /// A bouncer, `RC`.
    RemediationComponent,
    /// A machine, `LP`.
    LogProcessor,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Who measured.
    pub kind: UsageKind,
    /// The bouncer's or machine's name.
    pub producer: String,
    /// When it came.
    pub received_at: UnixMillis,
    /// JSON: `metrics`, and `type` for bouncers.
    pub payload: String,
}

impl Store {
    /// Stores a report.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn add_usage(&self, row: UsageRow) -> Result<(), StoreError> {
        let _ = row;
        todo!()
    }

    /// The reports of one kind, or of one producer of that kind, in the order they came.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn usage(&self, kind: UsageKind, producer: Option<&str>) -> Result<Vec<UsageRow>, StoreError> {
        let _ = (kind, producer);
        todo!()
    }
}
