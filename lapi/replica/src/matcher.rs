//! Applies a filter to many rows; the result for a label is computed once.

use std::cmp::Reverse;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::filter::Filter;
use crate::packed::Packed;
use crate::tables::Tables;

use palisade_model::Value;
use palisade_wire::UnixMillis;

/// Must not outlive the rows it is applied to: labels are identified by address.
#[derive(Debug)]
pub(crate) struct Matcher {
    filter: Filter,
    wanted: Option<Value>,
    /// Whether the filter depends on more than the label.
    beyond_label: bool,
    latest: (usize, bool),
    labels: FxHashMap<usize, bool>,
}

impl Matcher {
    pub(crate) fn new(filter: Filter) -> Self {
        let wanted = filter.value.as_deref().map(Value::new);
        let beyond_label = wanted.is_some() || filter.net.is_some() || filter.uuids.is_some();
        Self { filter, wanted, beyond_label, latest: (0, false), labels: FxHashMap::default() }
    }

    pub(crate) fn matches(&mut self, row: &Packed) -> bool {
        let label = Arc::as_ptr(&row.label).addr();
        // Rows of a list follow each other and have one label, so most need no look-up.
        if self.latest.0 != label {
            let matches = *self.labels.entry(label).or_insert_with(|| self.filter.matches_label(&row.label));
            self.latest = (label, matches);
        }
        self.latest.1 && (!self.beyond_label || self.filter.matches_value(row, self.wanted.as_ref()))
    }
}

/// How many rows of a live query are put in order of severity.
const MAX_RANKED: usize = 1000;

/// The order of remediations: a ban before a captcha before anything else, as CrowdSec's bouncers rank them.
fn severity(remediation: &str) -> u8 {
    match remediation {
        "ban" => 0,
        "captcha" => 1,
        _ => 2,
    }
}

/// The active rows that match, in ascending id, with paging applied.
#[derive(Debug)]
pub(crate) struct Selection {
    tables: Tables,
    matcher: Matcher,
    /// Candidates from an index; without one, all rows from `after` on are scanned.
    found: Option<std::vec::IntoIter<i64>>,
    after: crate::paged::Position,
    skip: usize,
    left: usize,
    now: UnixMillis,
}

impl Selection {
    pub(crate) fn new(tables: Tables, filter: &Filter, now: UnixMillis) -> Self {
        let found = if let Some(net) = filter.net {
            Some(if filter.inside { tables.within(net) } else { tables.covering(net) })
        } else {
            let value = filter.value.as_deref().map(Value::new);
            value.map(|value| tables.with_value(&value).map(|row| row.id).collect())
        };
        // Tombstones have ids below zero; they are left out by `active`.
        let first = filter.id_gt.map_or(i64::MIN, |id| id.saturating_add(1));
        let found = found.map(|mut ids| {
            ids.retain(|id| *id >= first);
            ids.sort_unstable();
            ids.into_iter()
        });
        Self {
            after: tables.rows.position(&first),
            tables,
            matcher: Matcher::new(filter.clone()),
            found,
            skip: filter.offset,
            left: filter.limit.unwrap_or(usize::MAX),
            now,
        }
    }

    /// The same rows, but the most severe first and of equal ones the longest: some live bouncers read the first only. Pages,
    /// and more rows than [`MAX_RANKED`], stay in ascending id.
    pub(crate) fn ranked(tables: Tables, filter: &Filter, now: UnixMillis) -> Self {
        let mut rows = Self::new(tables.clone(), filter, now);
        if filter.is_page() {
            return rows;
        }
        let mut ranked = Vec::new();
        while let Some(row) = rows.next() {
            if ranked.len() == MAX_RANKED {
                return Self::new(tables, filter, now);
            }
            ranked.push((severity(&row.label.kind), Reverse(row.until()), row.id));
        }
        ranked.sort_unstable();
        rows.found = Some(ranked.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>().into_iter());
        rows
    }

    /// The next row, borrowed until the next call.
    pub(crate) fn next(&mut self) -> Option<&Packed> {
        if self.left == 0 {
            return None;
        }
        loop {
            let row = match &mut self.found {
                // By id and not by reference: the iterator would borrow the tables that this struct owns.
                Some(ids) => self.tables.rows.get(&ids.next()?),
                None => Some(self.tables.rows.next(&mut self.after)?),
            };
            let Some(row) = row else { continue };
            if !row.active(self.now) || !self.matcher.matches(row) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            return Some(row);
        }
    }
}
