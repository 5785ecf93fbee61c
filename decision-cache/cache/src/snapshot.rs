//! An immutable view of the ledger that any number of threads read without locks.

use std::net::IpAddr;
use std::sync::Arc;

use crate::decision::{Decision, Target, source_of};
use crate::index::v4::Ipv4Index;
use crate::index::v6::Ipv6Index;
use crate::index::{Found, Index};
use crate::named::{Named, NamedEntry, NamedRow};
use crate::prefix::{V4, V6};
use crate::ranges::Ranges;
use crate::table::{NONE, Table};

/// All decisions in force at one moment. A clone is one reference count.
///
/// ```
/// use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Snapshot, Timestamp};
///
/// let mut ledger = Ledger::new(Policy::default(), 0);
/// let (ban, until) = (Reason { remediation: "ban", origin: "CAPI", scenario: "scan" }, Timestamp::from_millis(60_000));
/// let captcha = Reason { remediation: "captcha", ..ban };
/// let mut response = Batch::new();
/// response.announce_net("192.0.2.0/24".parse()?, ban, until, 1);
/// response.announce_net("192.0.2.7/32".parse()?, captcha, until, 2);
/// response.announce_name("Country", "FR", captcha, until, 3);
/// ledger.apply(Mode::Everything, response);
///
/// let snapshot: Snapshot = ledger.snapshot();
/// assert_eq!(snapshot.verdict("192.0.2.7".parse()?).unwrap().remediation, "ban", "the stronger of both");
/// assert_eq!(snapshot.covering("192.0.2.7".parse()?).len(), 2);
/// assert_eq!(snapshot.verdict_of("Country", "FR").unwrap().remediation, "captcha");
/// assert!(!snapshot.holds("198.51.100.1".parse()?));
///
/// // What an enforcer that had nothing has to add.
/// assert_eq!(snapshot.diff(&Snapshot::default()).len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    generation: u64,
    pub(crate) table: Table,
    pub(crate) v4: Ipv4Index,
    pub(crate) v6: Ipv6Index,
    named: Named,
    ranges: (Ranges<V4>, Ranges<V6>),
    live: usize,
    unlisted: usize,
}

impl Default for Inner {
    fn default() -> Self {
        let (v4, v6) = (Index::new(0), Index::new(0));
        Self {
            generation: 0,
            table: Table::default(),
            v4,
            v6,
            named: Named::default(),
            ranges: Default::default(),
            live: 0,
            unlisted: 0,
        }
    }
}

/// How many decisions share origin, scenario and remediation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<'a> {
    /// The remediation.
    pub remediation: &'a str,
    /// The origin, such as `crowdsec` or `lists`.
    pub origin: &'a str,
    /// The scenario, or the name of the list.
    pub scenario: &'a str,
    /// Decisions on IPv4 addresses and ranges.
    pub v4: u32,
    /// Decisions on IPv6 addresses and ranges.
    pub v6: u32,
    /// Decisions on anything else.
    pub named: u32,
}

impl Count<'_> {
    /// The origin as metrics name it: `lists:<list>` for subscribed lists, else the origin itself.
    pub fn source(&self) -> String {
        source_of(self.origin, self.scenario)
    }
}

impl Snapshot {
    #[expect(clippy::too_many_arguments, reason = "the parts of one value, and one caller")]
    pub(crate) fn new(
        generation: u64,
        table: Table,
        v4: Ipv4Index,
        v6: Ipv6Index,
        named: Named,
        ranges: (Ranges<V4>, Ranges<V6>),
        live: usize,
        unlisted: usize,
    ) -> Self {
        Self(Arc::new(Inner { generation, table, v4, v6, named, ranges, live, unlisted }))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Counts publications: a snapshot with a higher generation is newer. The empty default has 0.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The prefix lengths of IPv4 (or IPv6) ranges that have decisions, and how many ranges there are of each.
    pub fn range_lengths(&self, v6: bool) -> impl Iterator<Item = (u8, u32)> {
        let (four, six) = match v6 {
            false => (Some(self.0.ranges.0.counts()), None),
            true => (None, Some(self.0.ranges.1.counts())),
        };
        four.into_iter().flatten().chain(six.into_iter().flatten())
    }

    /// How many decisions are held, those that a stronger one hides included.
    pub fn len(&self) -> usize {
        self.0.live + self.0.named.len()
    }

    /// Whether no decision is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strongest decision over all prefixes that cover this address, or `None` when it is free.
    ///
    /// An IPv4-mapped IPv6 address is looked up as IPv4.
    #[inline]
    pub fn verdict(&self, ip: IpAddr) -> Option<Decision<'_>> {
        let found = self.0.find(ip);
        let table = &self.0.table;
        found.is_held.then(|| table.decision(table.row(table.stronger(found.host, found.range))))
    }

    /// Whether any decision covers this address: faster than [`Snapshot::verdict`], as no decision is read.
    #[inline]
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.0.find(ip).is_held
    }

    /// The strongest decision on a value of another scope, such as `("Country", "FR")`.
    pub fn verdict_of(&self, scope: &str, value: &str) -> Option<Decision<'_>> {
        let entry = self.0.named.get(scope, value)?;
        let row = entry.rows.iter().min_by_key(|row| (row.rank, std::cmp::Reverse(row.until)))?;
        Some(self.0.named_decision(entry, row))
    }

    /// The strongest decision on this address by the caller's own measure: the one with the smallest number, of equal
    /// ones the one that ends last. A decision for which `strength` is `None` does not count, and hides no other.
    ///
    /// Costs with the number of prefixes around the address, not with the table, but more than [`Snapshot::verdict`].
    ///
    /// ```
    /// use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};
    ///
    /// let mut ledger = Ledger::new(Policy::default(), 0);
    /// let (ban, until) = (Reason { remediation: "ban", origin: "CAPI", scenario: "scan" }, Timestamp::from_millis(60_000));
    /// let captcha = Reason { remediation: "captcha", origin: "cscli", scenario: "manual" };
    /// let mut response = Batch::new();
    /// response.announce_net("192.0.2.7/32".parse()?, ban, until, 1);
    /// response.announce_net("192.0.2.0/24".parse()?, captcha, until, 2);
    /// ledger.apply(Mode::Everything, response);
    ///
    /// let snapshot = ledger.snapshot();
    /// let from_cscli = snapshot.verdict_by("192.0.2.7".parse()?, |decision| (decision.origin == "cscli").then_some(0));
    /// assert_eq!(from_cscli.unwrap().1.remediation, "captcha", "the ban, which does not count, does not hide it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verdict_by(
        &self,
        ip: IpAddr,
        mut strength: impl FnMut(&Decision<'_>) -> Option<u8>,
    ) -> Option<(u8, Decision<'_>)> {
        let decisions = self.decisions_over(ip);
        let counted = decisions.filter_map(|decision| Some((strength(&decision)?, decision)));
        counted.min_by_key(|(strength, decision)| (*strength, std::cmp::Reverse(decision.until)))
    }

    /// The decisions on a value of another scope, in no useful order.
    pub fn decisions_of(&self, scope: &str, value: &str) -> impl Iterator<Item = Decision<'_>> {
        let entry = self.0.named.get(scope, value);
        entry.into_iter().flat_map(|entry| entry.rows.iter().map(|row| self.0.named_decision(entry, row)))
    }

    /// Whether there is any decision of this scope, which is none of `Ip` and `Range`.
    #[inline]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.named.has_scope(scope)
    }

    /// Whether there is a decision on an address or range whose remediation the ledger's policy does not list.
    #[inline]
    pub fn has_unlisted(&self) -> bool {
        self.0.unlisted > 0
    }

    /// Every decision whose address or range covers this address, strongest first. Costs with the number of prefixes
    /// around the address.
    pub fn covering(&self, ip: IpAddr) -> Vec<Decision<'_>> {
        let policy_order = |row: &u32| {
            let row = self.0.table.row(*row);
            (row.rank, std::cmp::Reverse(row.until))
        };
        let mut rows: Vec<u32> = self.rows_over(ip).collect();
        rows.sort_by_key(policy_order);
        rows.into_iter().map(|row| self.0.table.decision(self.0.table.row(row))).collect()
    }

    pub(crate) fn decisions_over(&self, ip: IpAddr) -> impl Iterator<Item = Decision<'_>> {
        self.rows_over(ip).map(|row| self.0.table.decision(self.0.table.row(row)))
    }

    /// The rows on the address and on the ranges around it.
    fn rows_over(&self, ip: IpAddr) -> impl Iterator<Item = u32> {
        let found = self.0.find(ip);
        // Without a strongest range there is none to search for.
        let has_range = found.range != NONE;
        let (four, six) = match ip.to_canonical() {
            IpAddr::V4(ip) => (Some(self.0.ranges.0.around(ip.to_bits())), None),
            IpAddr::V6(ip) => (None, Some(self.0.ranges.1.around(V6::from_bits(ip.to_bits())))),
        };
        let ranges = four.into_iter().flatten().chain(six.into_iter().flatten());
        let heads = std::iter::once(found.host).chain(has_range.then_some(ranges).into_iter().flatten());
        heads.flat_map(|head| self.0.table.chain(head))
    }

    /// Every decision held, in no useful order.
    pub fn decisions(&self) -> impl Iterator<Item = Decision<'_>> {
        let table = &self.0.table;
        let nets = table.rows.iter().filter(|row| row.is_live()).map(|row| table.decision(row));
        let named = self.0.named.iter();
        nets.chain(named.flat_map(|entry| entry.rows.iter().map(|row| self.0.named_decision(entry, row))))
    }

    /// How many decisions there are of each remediation, origin and scenario. Costs with the number of those,
    /// not with the number of decisions.
    pub fn counts(&self) -> impl Iterator<Item = Count<'_>> {
        self.0.table.labels.iter().filter(|label| !label.held.is_empty()).map(|label| Count {
            remediation: &label.remediation,
            origin: &label.origin,
            scenario: &label.scenario,
            v4: label.held.v4,
            v6: label.held.v6,
            named: label.held.named,
        })
    }
}

impl Inner {
    pub(crate) fn named(&self) -> &Named {
        &self.named
    }

    // Always inlined: only in the caller the compiler sees which rows are not used, and leaves them unread.
    #[inline(always)]
    fn find(&self, ip: IpAddr) -> Found {
        match ip {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.find_v6(V6::from_bits(ip.to_bits())).into(),
        }
    }

    // Not inlined, so that the lookup of an IPv4 address is small enough to be. Address and rows are passed in
    // registers: bytes that are written and read again at once would stall the lookups that follow.
    #[inline(never)]
    fn find_v6(&self, ip: V6) -> (u32, u32) {
        match ip.as_mapped() {
            Some(ip) => self.find_mapped(ip),
            None => self.v6.find(ip).rows(),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_mapped(&self, ip: V4) -> (u32, u32) {
        self.v4.find(ip).rows()
    }

    fn named_decision<'a>(&'a self, entry: &'a NamedEntry, row: &NamedRow) -> Decision<'a> {
        let label = self.table.labels.get(row.label);
        Decision {
            scope: &entry.scope,
            target: Target::Name(&entry.value),
            remediation: &label.remediation,
            origin: &label.origin,
            scenario: &label.scenario,
            until: row.until,
            id: row.id,
        }
    }
}
