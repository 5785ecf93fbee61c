//! What an enforcer puts in force: hosts and disjoint ranges, and how two snapshots differ in them.

use std::net::IpAddr;

use crate::decision::Decision;
use crate::index::{Cell, Compiled};
use crate::prefix::{Key, Prefix, V4, V6};
use crate::snapshot::{Indexed, Inner, Snapshot};
use crate::table::NONE;

/// An address whose own decision came, went or changed between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostChange<'a> {
    /// The address.
    pub address: IpAddr,
    /// The strongest decision on exactly this address before; `None` when there was none.
    pub before: Option<Decision<'a>>,
    /// The same now.
    pub after: Option<Decision<'a>>,
}

/// A span of addresses that a range decision holds, or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'a> {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
    /// The strongest range decision over all of them. The span is a part of its range, or all of it.
    pub decision: Decision<'a>,
}

/// How the cover changed between two snapshots.
#[derive(Debug, Default)]
pub struct Diff<'a> {
    /// Addresses, each once.
    pub hosts: Vec<HostChange<'a>>,
    /// Spans that no longer stand as they did; take these away before putting `spans_in_force` up.
    pub spans_gone: Vec<Span<'a>>,
    /// Spans that stand now and did not stand just so before.
    pub spans_come: Vec<Span<'a>>,
}

impl Diff<'_> {
    /// Whether nothing changed for an enforcer.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.spans_gone.is_empty() && self.spans_come.is_empty()
    }
}

impl Snapshot {
    /// Each address with a decision of its own, and the strongest such decision. A range around it may hold
    /// it too, see [`Snapshot::spans`].
    pub fn hosts(&self) -> Vec<(IpAddr, Decision<'_>)> {
        let inner = self.inner();
        let mut out = Vec::new();
        each_host::<V4>(inner, &mut out);
        each_host::<V6>(inner, &mut out);
        out
    }

    /// The ranges made disjoint: sorted spans, each with the strongest range decision over it; neighbours
    /// with one decision are one span.
    pub fn spans(&self) -> Vec<Span<'_>> {
        let inner = self.inner();
        let mut out = spans_of::<V4>(inner, V4::FIRST, V4::LAST);
        out.extend(spans_of::<V6>(inner, V6::FIRST, V6::LAST));
        out
    }

    /// What changed in hosts and spans since `older`. Costs with the change: storage that both share is not
    /// looked at.
    pub fn diff<'a>(&'a self, older: &'a Self) -> Diff<'a> {
        let mut diff = Diff::default();
        diff_family::<V4>(older.inner(), self.inner(), &mut diff);
        diff_family::<V6>(older.inner(), self.inner(), &mut diff);
        diff
    }
}

fn each_host<'a, K: Key>(inner: &'a Inner, out: &mut Vec<(IpAddr, Decision<'a>)>)
where
    Inner: Indexed<K>,
{
    inner.index().each_host(&mut |cell: Cell<K>| {
        out.push((cell.key.address(), inner.table.decision(inner.table.row(cell.row))));
    });
}

fn spans_of<K: Key>(inner: &Inner, first: K, last: K) -> Vec<Span<'_>>
where
    Inner: Indexed<K>,
{
    let cells = inner.index().spans_within(first, last);
    let ends = cells.iter().skip(1).map(|next| next.key.previous()).chain([Some(last)]);
    let spans = cells.iter().zip(ends).filter(|(cell, _)| cell.row != NONE);
    spans
        .filter_map(|(cell, end)| {
            let decision = inner.table.decision(inner.table.row(cell.row));
            Some(Span { first: cell.key.address(), last: end?.address(), decision })
        })
        .collect()
}

fn diff_family<'a, K: Key>(old: &'a Inner, new: &'a Inner, diff: &mut Diff<'a>)
where
    Inner: Indexed<K>,
{
    let mut touched: Vec<Prefix> = Vec::new();
    let (newer, older): (&K::Index, &K::Index) = (new.index(), old.index());
    let view = |inner: &'a Inner, at: u32| (at != NONE).then(|| inner.table.decision(inner.table.row(at)));
    newer.differences(
        older,
        &mut |key, before, after| {
            if !new.table.same(after, &old.table, before) {
                let (before, after) = (view(old, before), view(new, after));
                diff.hosts.push(HostChange { address: key.address(), before, after });
            }
        },
        &mut |before, after| {
            touched.extend(changed_spans((old, before), (new, after)));
            touched.extend(changed_spans((new, after), (old, before)));
        },
    );
    touched.sort_unstable_by_key(|prefix| (K::of(prefix), prefix.len));
    touched.dedup();
    let mut reached: Option<K> = None;
    for prefix in touched {
        let (first, last) = (K::of(&prefix), prefix.last::<K>());
        if reached.is_some_and(|reached| last <= reached) {
            continue;
        }
        reached = Some(last);
        let (before, after) = (spans_of(old, first, last), spans_of(new, first, last));
        let same = |a: &Span<'_>, b: &Span<'_>| {
            a.first == b.first
                && a.last == b.last
                && Decision { id: 0, ..a.decision } == Decision { id: 0, ..b.decision }
        };
        // Both are sorted by their first address, so unchanged spans meet in one merge.
        let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
        loop {
            match (before.peek(), after.peek()) {
                (Some(b), Some(a)) if same(b, a) => {
                    before.next();
                    after.next();
                }
                (Some(b), Some(a)) if b.first <= a.first => diff.spans_gone.extend(before.next()),
                (Some(_), None) => diff.spans_gone.extend(before.next()),
                (_, Some(_)) => diff.spans_come.extend(after.next()),
                (None, None) => break,
            }
        }
    }
}

/// The prefixes of the spans that start or end otherwise in `mine` than in `theirs`.
///
/// A span never reaches past the prefix of its decision, so these prefixes hold every span that may have
/// changed.
fn changed_spans<K: Key>(mine: (&Inner, &[Cell<K>]), theirs: (&Inner, &[Cell<K>])) -> Vec<Prefix> {
    let ((inner, cells), (other, mut others)) = (mine, theirs);
    let mut out = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        others = &others[others.partition_point(|other| other.key < cell.key).min(others.len())..];
        let held = others.first().filter(|other| other.key == cell.key);
        let same = held.is_some_and(|held| inner.table.same(cell.row, &other.table, held.row));
        if !same {
            // The span before ends here.
            let rows = cells[at.saturating_sub(1)..=at].iter().filter(|cell| cell.row != NONE);
            out.extend(rows.map(|cell| inner.table.row(cell.row).prefix()));
        }
    }
    out
}
