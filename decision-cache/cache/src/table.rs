//! Rows and labels of decisions, shared by the ledger and its snapshots.

use std::sync::Arc;

use crate::chunked::Chunked;
use crate::decision::{Decision, Target};
use crate::prefix::Prefix;
use crate::{Policy, Timestamp};

pub(crate) const NONE: u32 = u32::MAX;

/// One decision on an address or range. 48 bytes: this is most of what a decision costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerRow {
    // Not a `Prefix`: it is padded to 24 bytes, and the row would take 56.
    hi: u64,
    lo: u64,
    pub(crate) until: Timestamp,
    pub(crate) id: i64,
    /// Index of the label: remediation, origin and scenario.
    pub(crate) label: u32,
    /// The next row on the same prefix, whose first row is the strongest, or, in a free row, the next free one.
    pub(crate) next: u32,
    len: u8,
    v6: bool,
    /// The strength of the remediation. Copied from the label, so that comparing two rows reads no label.
    pub(crate) rank: u8,
    pub(crate) state: State,
}

/// The use of a place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// On the list of free rows.
    Free,
    /// A decision beside a stronger one on the same prefix.
    Held,
    /// The strongest decision on its prefix: what an enforcer puts in force for exactly this prefix.
    Leading,
}

impl LedgerRow {
    pub(crate) fn new(prefix: Prefix, until: Timestamp, id: i64, label: u32, rank: u8) -> Self {
        let Prefix { hi, lo, len, v6 } = prefix;
        Self { hi, lo, until, id, label, next: NONE, len, v6, rank, state: State::Leading }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state != State::Free
    }

    pub(crate) fn leads(&self) -> bool {
        self.state == State::Leading
    }

    pub(crate) fn prefix(&self) -> Prefix {
        Prefix { hi: self.hi, lo: self.lo, len: self.len, v6: self.v6 }
    }
}

/// The remediation, origin and scenario that many rows share, and the number of these.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) remediation: Arc<str>,
    pub(crate) origin: Arc<str>,
    pub(crate) scenario: Arc<str>,
    pub(crate) rank: u8,
    /// Whether the policy lists the remediation.
    pub(crate) is_listed: bool,
    pub(crate) held: LabelCounts,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LabelCounts {
    pub(crate) v4: u32,
    pub(crate) v6: u32,
    pub(crate) named: u32,
}

impl LabelCounts {
    /// On addresses and ranges.
    pub(crate) fn nets(self) -> usize {
        self.v4 as usize + self.v6 as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.v4 == 0 && self.v6 == 0 && self.named == 0
    }
}

impl Label {
    pub(crate) fn new(policy: &Policy, remediation: &str, origin: &str, scenario: &str) -> Self {
        Self {
            rank: policy.rank(remediation),
            is_listed: policy.lists(remediation),
            remediation: remediation.into(),
            origin: origin.into(),
            scenario: scenario.into(),
            held: LabelCounts::default(),
        }
    }

    pub(crate) fn matches(&self, remediation: &str, origin: &str, scenario: &str) -> bool {
        &*self.remediation == remediation && &*self.origin == origin && &*self.scenario == scenario
    }

    pub(crate) fn same_label(&self, other: &Self) -> bool {
        // Each label allocates its own text, so one allocation is one label; tables that share history mostly share
        // it.
        Arc::ptr_eq(&self.scenario, &other.scenario)
            || self.matches(&other.remediation, &other.origin, &other.scenario)
    }
}

/// The rows and labels of one moment; a clone shares storage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) rows: Chunked<LedgerRow>,
    pub(crate) labels: Chunked<Label>,
}

impl Table {
    pub(crate) fn row(&self, index: u32) -> &LedgerRow {
        self.rows.get(index)
    }

    pub(crate) fn label(&self, row: &LedgerRow) -> &Label {
        self.labels.get(row.label)
    }

    /// The stronger of two rows: by remediation, then by end; the lower index at a tie, so that a rebuild
    /// gives the same answer.
    pub(crate) fn stronger(&self, a: u32, b: u32) -> u32 {
        if a == NONE || b == NONE {
            // NONE is the greatest number.
            return a.min(b);
        }
        let (ra, rb) = (self.row(a), self.row(b));
        if (ra.rank, std::cmp::Reverse(ra.until), a) <= (rb.rank, std::cmp::Reverse(rb.until), b) {
            a
        } else {
            b
        }
    }

    /// The rows on one prefix, from its first one on.
    pub(crate) fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        let next = |at: &u32| Some(self.row(*at).next).filter(|next| *next != NONE);
        std::iter::successors(Some(head).filter(|head| *head != NONE), next)
    }

    pub(crate) fn decision(&self, row: &LedgerRow) -> Decision<'_> {
        let (label, prefix) = (self.label(row), row.prefix());
        Decision {
            scope: if prefix.is_host() { "Ip" } else { "Range" },
            target: Target::Net(prefix.net()),
            remediation: &label.remediation,
            origin: &label.origin,
            scenario: &label.scenario,
            until: row.until,
            id: row.id,
        }
    }

    /// Whether a row of this table and one of another are the same to an enforcer.
    pub(crate) fn same(&self, mine: u32, other: &Self, theirs: u32) -> bool {
        if mine == NONE || theirs == NONE {
            return mine == theirs;
        }
        let (a, b) = (self.row(mine), other.row(theirs));
        // Without the id, which a LAPI may change for a decision that stays as it is.
        a.until == b.until && a.prefix() == b.prefix() && self.label(a).same_label(other.label(b))
    }
}
