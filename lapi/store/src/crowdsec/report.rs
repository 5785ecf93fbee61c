//! What an import took, and what it could not take.

use std::collections::BTreeMap;

/// Rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Taken for the first time.
    pub added: u64,
    /// Changed at CrowdSec since the last import.
    pub changed: u64,
    /// Deleted, or ended, at CrowdSec since the last import.
    pub removed: u64,
    /// There already.
    pub unchanged: u64,
}

/// The result of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Machines.
    pub machines: ImportCounts,
    /// Bouncers.
    pub bouncers: ImportCounts,
    /// Allowlists.
    pub allowlists: ImportCounts,
    /// Items of allowlists.
    pub allowlist_items: ImportCounts,
    /// Alerts.
    pub alerts: ImportCounts,
    /// Decisions.
    pub decisions: ImportCounts,
    /// Decisions taken that are in force.
    pub in_force: u64,
    /// Usage reports.
    pub usage: ImportCounts,
    /// What was not taken, by reason: how many, and the first of them.
    pub skipped: BTreeMap<&'static str, (u64, String)>,
}

impl ImportReport {
    pub(super) fn skip(&mut self, reason: &'static str, which: impl FnOnce() -> String) {
        self.skip_many(reason, 1, which);
    }

    pub(super) fn skip_many(&mut self, reason: &'static str, count: u64, which: impl FnOnce() -> String) {
        self.skipped.entry(reason).or_insert_with(|| (0, which())).0 += count;
    }

    /// The kinds with their names, for tables and log lines.
    pub fn kinds(&self) -> [(&'static str, ImportCounts); 7] {
        [
            ("machines", self.machines),
            ("bouncers", self.bouncers),
            ("allowlists", self.allowlists),
            ("allowlist items", self.allowlist_items),
            ("alerts", self.alerts),
            ("decisions", self.decisions),
            ("usage reports", self.usage),
        ]
    }
}

/// How far an import has come: rows read and rows to read, of all kinds together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// Rows read.
    pub done: u64,
    /// Rows to read.
    pub total: u64,
}
