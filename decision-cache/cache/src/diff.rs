//! The cover of a snapshot, which is the strongest decision of each prefix, and how two snapshots differ in it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::decision::Decision;
use crate::prefix::Prefix;
use crate::snapshot::Snapshot;
use crate::table::{NONE, Table};

/// An address or range whose own decision came, went or changed between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionChange<'a> {
    /// The address, as a prefix of full length, or the range.
    pub net: IpNet,
    /// The strongest decision on exactly this prefix before; `None` when there was none.
    pub before: Option<Decision<'a>>,
    /// The same now.
    pub after: Option<Decision<'a>>,
}

impl Snapshot {
    /// Each address with a decision of its own, and the strongest such decision. A range around it may hold
    /// it too, see [`Snapshot::ranges`].
    pub fn hosts(&self) -> impl Iterator<Item = (IpAddr, Decision<'_>)> {
        self.leading(true).map(|(net, decision)| (net.addr(), decision))
    }

    /// Each range with a decision of its own, and the strongest such decision. Ranges may lie within each other.
    pub fn ranges(&self) -> impl Iterator<Item = (IpNet, Decision<'_>)> {
        self.leading(false)
    }

    fn leading(&self, hosts: bool) -> impl Iterator<Item = (IpNet, Decision<'_>)> {
        let table = &self.inner().table;
        let rows = table.rows.iter().filter(move |row| row.leads() && row.prefix().is_host() == hosts);
        rows.map(|row| (row.prefix().net(), table.decision(row)))
    }

    /// The addresses and ranges whose own decision changed since `older`, each once, sorted. A decision that only has
    /// another id counts as the same. Costs with the change: storage that both share is not looked at.
    pub fn diff<'a>(&'a self, older: &'a Self) -> Vec<DecisionChange<'a>> {
        let (old, new) = (&older.inner().table, &self.inner().table);
        let mut gone: Vec<(Prefix, u32)> = Vec::new();
        let mut come: Vec<(Prefix, u32)> = Vec::new();
        new.rows.differences(&old.rows, |at, before, after| {
            let (before, after) = (before.filter(|row| row.leads()), after.filter(|row| row.leads()));
            // Most rows of a copied chunk did not change. They are left out before anything is sorted.
            if before.is_some() && after.is_some() && new.same(at, old, at) {
                return;
            }
            gone.extend(before.map(|row| (row.prefix(), at)));
            come.extend(after.map(|row| (row.prefix(), at)));
        });
        // A decision may have moved to another row: the old one was removed and its place reused before it was
        // announced again. So both sides are matched by prefix and compared once more.
        let order = |(prefix, _): &(Prefix, u32)| (prefix.v6, prefix.hi, prefix.lo, prefix.len);
        gone.sort_unstable_by_key(order);
        come.sort_unstable_by_key(order);
        let (mut gone, mut come) = (gone.iter().peekable(), come.iter().peekable());
        let mut changes = Vec::new();
        loop {
            let first = match (gone.peek(), come.peek()) {
                (Some(a), Some(b)) => order(a).min(order(b)),
                (Some(one), None) | (None, Some(one)) => order(one),
                (None, None) => return changes,
            };
            let before = gone.next_if(|one| order(one) == first);
            let after = come.next_if(|one| order(one) == first);
            let Some((prefix, _)) = before.or(after) else { return changes };
            let (before, after) = (before.map_or(NONE, |(_, at)| *at), after.map_or(NONE, |(_, at)| *at));
            if !new.same(after, old, before) {
                let decision =
                    |table: &'a Table, at: u32| (at != NONE).then(|| table.decision(table.row(at)));
                let (before, after) = (decision(old, before), decision(new, after));
                changes.push(DecisionChange { net: prefix.net(), before, after });
            }
        }
    }
}
