//! The ledger: all decisions received, owned by one writer.
//!
//! There is a row per target, remediation and origin (and list, for origin `lists`), so overlapping decisions have rows
//! of their own. Responses have CrowdSec's meaning: an announcement is the longest decision of its target and remediation
//! at that moment, and a reported end means that *no* decision of that target and remediation is left, whatever its
//! origin or id.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::batch::{Batch, NewName, NewNet, Reasons};
use crate::family::Family;
use crate::index::v4::Ipv4Index;
use crate::index::v6::Ipv6Index;
use crate::labels::Labels;
use crate::named::{Named, NamedRow};
use crate::prefix::Prefix;
use crate::snapshot::Snapshot;
use crate::table::{LabelCounts, LedgerRow, NONE, State, Table};
use crate::{Policy, Timestamp};

/// Two ends this close, in milliseconds, are one: durations on the wire are rounded to seconds and age on the
/// way, and a full response must not look like a change of every decision.
const SAME_END: i64 = 2000;

/// How a response relates to the decisions held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The response lists changes.
    Changes,
    /// The response is complete: decisions that it does not announce are removed.
    Everything,
    /// The response should be complete but is not confirmed: its announcements are applied, and nothing is removed.
    Additions,
}

/// The numbers of decisions that a response changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Not held before.
    pub added: usize,
    /// Held before, with another end, scenario or list.
    pub renewed: usize,
    /// Held before just so.
    pub unchanged: usize,
    /// Held before and gone.
    pub removed: usize,
}

/// All decisions held, and the index over them.
///
/// One task applies responses and publishes snapshots; readers keep the snapshot that they have.
///
/// ```
/// use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};
///
/// let mut ledger = Ledger::new(Policy::default(), 0);
/// let reason = Reason { remediation: "ban", origin: "crowdsec", scenario: "ssh-bf" };
/// let mut response = Batch::new();
/// response.announce_net("192.0.2.1/32".parse()?, reason, Timestamp::from_millis(60_000), 1);
/// assert_eq!(ledger.apply(Mode::Everything, response).added, 1);
/// let first = ledger.snapshot();
///
/// let mut response = Batch::new();
/// response.announce_net("2001:db8::/48".parse()?, reason, Timestamp::from_millis(90_000), 2);
/// response.lift_net("192.0.2.1/32".parse()?, "ban");
/// ledger.apply(Mode::Changes, response);
/// let second = ledger.snapshot();
///
/// assert!(first.holds("192.0.2.1".parse()?), "an older snapshot stays as it was");
/// assert!(!second.holds("192.0.2.1".parse()?));
/// assert!(second.holds("2001:db8::1".parse()?));
/// assert_eq!(ledger.expire(Timestamp::from_millis(90_000)), 1);
/// assert!(ledger.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ledger {
    policy: Policy,
    table: Table,
    labels: Labels,
    /// Prefix → first row on it.
    heads: HashTable<u32>,
    hasher: rustc_hash::FxSeededState,
    free: u32,
    live: usize,
    v4: Family<Ipv4Index>,
    v6: Family<Ipv6Index>,
    /// Ends to come as `seconds << 32 | row`. An entry may be stale: the row has the true end.
    ends: BinaryHeap<Reverse<u64>>,
    named: Named,
    named_ends: BTreeSet<(Timestamp, Arc<str>, Arc<str>)>,
    named_changed: bool,
    published: Snapshot,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("decisions", &self.len()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// An empty ledger. `seed` should differ between processes, so that an attacker cannot choose addresses that
    /// collide in a hash table.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            table: Table::default(),
            labels: Labels::default(),
            heads: HashTable::new(),
            hasher: rustc_hash::FxSeededState::with_seed(seed as usize),
            free: NONE,
            live: 0,
            v4: Family::new(seed),
            v6: Family::new(seed),
            ends: BinaryHeap::new(),
            named: Named::default(),
            named_ends: BTreeSet::new(),
            named_changed: false,
            published: Snapshot::default(),
        }
    }

    /// How many decisions are held.
    pub fn len(&self) -> usize {
        self.live + self.named.len()
    }

    /// Whether no decision is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies a whole response: ends first, then announcements.
    pub fn apply(&mut self, mode: Mode, batch: Batch) -> Applied {
        let mut applied = Applied::default();
        // Ends first: when one decision has ended and another begun on the same target, a LAPI puts both into one
        // response. A complete response needs no ends: what it does not announce is removed below. An unconfirmed one
        // removes nothing.
        if mode == Mode::Changes {
            for (prefix, words, newest) in &batch.lifted_nets {
                applied.removed += self.lift_net(prefix, batch.words.get(*words).remediation, *newest);
            }
            for (scope, value, words, newest) in &batch.lifted_names {
                let remediation = batch.words.get(*words).remediation;
                applied.removed += self.lift_name(scope, value, remediation, *newest);
            }
        }
        // The first response is mostly the whole list. Growing step by step would copy the tables many times.
        if self.table.rows.len() == 0 {
            let hash = |at: &u32| hash_prefix(&self.hasher, &self.table.row(*at).prefix());
            self.heads.reserve(batch.nets.len(), hash);
            self.ends.reserve(batch.nets.len());
        }
        let mut seen = SeenRows::new(self.table.rows.len());
        // The response's label → the ledger's, looked up once each.
        let mut labels = vec![NONE; batch.words.len()];
        for new in batch.nets {
            let label = self.label(&mut labels, &batch.words, new.words);
            self.announce_net(&new, label, &mut seen, &mut applied);
        }
        let mut seen_names = BTreeSet::new();
        for new in batch.names {
            let label = self.label(&mut labels, &batch.words, new.words);
            self.announce_name(&new, label, &mut seen_names, &mut applied);
        }
        if mode == Mode::Everything {
            applied.removed += self.remove_unseen(&seen, &seen_names);
        }
        // A label interned for decisions that were all unchanged is not kept.
        self.labels.sweep(&mut self.table.labels, labels.into_iter().filter(|label| *label != NONE));
        self.compact_ends();
        applied
    }

    /// Removes what has ended by `now`; returns how many.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let mut ended = 0;
        let mut not_yet = Vec::new();
        while let Some(&Reverse(entry)) = self.ends.peek() {
            let (second, at) = ((entry >> 32) as u32, entry as u32);
            if second > now.coarse() {
                break;
            }
            self.ends.pop();
            let row = self.table.row(at);
            // Renewed or removed since: entries cannot be taken out of the middle of a heap. The end in force has an
            // entry of its own.
            if !row.is_live() || row.until.coarse() != second {
                continue;
            }
            if row.until <= now {
                self.remove(at);
                ended += 1;
            } else {
                // It ends later within this second. Put back after the loop, which would find it again at once.
                not_yet.push(Reverse(entry));
            }
        }
        self.ends.extend(not_yet);
        while let Some((until, scope, value)) = self.named_ends.first().cloned()
            && until <= now
        {
            // If the decision was renewed, this removes nothing: its new end is an entry of its own.
            ended += self.retain_name(&scope, &value, |row, _| row.until > now);
            self.named_ends.remove(&(until, scope, value));
        }
        self.labels.sweep(&mut self.table.labels, []);
        ended
    }

    /// When the next decision ends, if any is held. May be up to a second late for one of several that end
    /// within the same second, and early (never late) for one that was renewed since.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let net = self.ends.peek().map(|Reverse(entry)| {
            let (second, row) = ((entry >> 32) as u32, self.table.row(*entry as u32));
            let coarse = Timestamp::from_millis(i64::from(second) * 1000);
            if row.is_live() && row.until.coarse() == second { row.until } else { coarse }
        });
        net.into_iter().chain(self.named_ends.first().map(|(until, ..)| *until)).min()
    }

    /// The ledger as of now, for readers. Costs with what changed since the last call; returns the last
    /// snapshot again when nothing did.
    pub fn snapshot(&mut self) -> Snapshot {
        let changed = self.v4.is_dirty() || self.v6.is_dirty() || self.named_changed;
        if !changed {
            return self.published.clone();
        }
        let (table, heads, hasher) = (&self.table, &self.heads, &self.hasher);
        // The first row of a prefix is its strongest.
        let strongest = |prefix: &Prefix| find_head(heads, hasher, table, prefix).unwrap_or(NONE);
        self.v4.compile(table, &strongest);
        self.v6.compile(table, &strongest);
        self.named_changed = false;
        self.published = Snapshot::new(
            self.published.generation() + 1,
            self.table.clone(),
            self.v4.index.clone(),
            self.v6.index.clone(),
            self.named.clone(),
            (self.v4.ranges.clone(), self.v6.ranges.clone()),
            self.live,
            self.labels.unlisted(),
        );
        self.published.clone()
    }

    fn label(&mut self, labels: &mut [u32], words: &Reasons, at: u32) -> u32 {
        let label = &mut labels[at as usize];
        if *label == NONE {
            *label = self.labels.intern(&mut self.table.labels, &self.policy, words.get(at));
        }
        *label
    }

    fn announce_net(&mut self, new: &NewNet, label: u32, seen: &mut SeenRows, applied: &mut Applied) {
        let head = find_head(&self.heads, &self.hasher, &self.table, &new.prefix);
        // The rows of a prefix are a list linked by number. It is nearly always one row, and no row pays for a
        // vector.
        let mut at = head.unwrap_or(NONE);
        while at != NONE && !self.same_slot(self.table.row(at).label, label) {
            at = self.table.row(at).next;
        }
        if at == NONE {
            at = self.insert(new, label, head);
            seen.mark(at);
            applied.added += 1;
            return;
        }
        let held = *self.table.row(at);
        // An end that moves by rounding would make every decision of a full response a change, down to the kernel.
        let close = held.label == label && (held.until.as_millis() - new.until.as_millis()).abs() <= SAME_END;
        let again = seen.mark(at);
        // Within one response the longest wins. Across responses the last one wins, so that a shorter re-ban
        // shortens.
        if (again && new.until <= held.until) || close {
            // A LAPI may repeat a decision under a new id, which is no change to a reader.
            // No `touch`: an id alone is not worth a new snapshot.
            if held.id != new.id && !again {
                self.table.rows.get_mut(at).id = new.id;
            }
            applied.unchanged += 1;
            return;
        }
        if held.label != label {
            self.count(held.label, &held.prefix(), -1);
            self.count(label, &held.prefix(), 1);
        }
        let rank = self.table.labels.get(label).rank;
        let row = self.table.rows.get_mut(at);
        (row.until, row.id, row.label, row.rank) = (new.until, new.id, label, rank);
        // The entry of the old end stays in the heap; `expire` recognises it.
        self.ends.push(end_entry(new.until, at));
        self.choose_leading(head.unwrap_or(at));
        self.touch(new.prefix);
        applied.renewed += 1;
    }

    fn announce_name(
        &mut self,
        new: &NewName,
        label: u32,
        seen: &mut BTreeSet<(Box<str>, Box<str>, u32)>,
        applied: &mut Applied,
    ) {
        let again = !seen.insert((new.scope.clone(), new.value.clone(), label));
        let held = self.named.get(&new.scope, &new.value).and_then(|entry| {
            let at = entry.rows.iter().position(|row| self.same_slot(row.label, label))?;
            Some((at, entry.rows[at].clone()))
        });
        let row = NamedRow { until: new.until, id: new.id, label, rank: self.table.labels.get(label).rank };
        let edit = |rows: &mut Vec<NamedRow>| match &held {
            Some((at, _)) => rows[*at] = row,
            None => rows.push(row),
        };
        match &held {
            Some((_, old)) if again && new.until <= old.until => {
                applied.unchanged += 1;
                return;
            }
            Some((_, old))
                if old.label == label
                    && (old.until.as_millis() - new.until.as_millis()).abs() <= SAME_END =>
            {
                applied.unchanged += 1;
                return;
            }
            Some((_, old)) => {
                // Up before down: with one label for both the count must not pass through zero, which would list the
                // label as unused.
                self.labels.count(&mut self.table.labels, label, |held| held.named += 1);
                self.labels.count(&mut self.table.labels, old.label, |held| held.named -= 1);
                applied.renewed += 1;
            }
            None => {
                self.labels.count(&mut self.table.labels, label, |held| held.named += 1);
                applied.added += 1;
            }
        }
        self.named.edit(&new.scope, &new.value, edit);
        self.named_ends.insert((new.until, (*new.scope).into(), (*new.value).into()));
        self.named_changed = true;
    }

    /// Whether two labels on one target belong to one decision.
    fn same_slot(&self, held: u32, new: u32) -> bool {
        // Equal in nearly all cases, and compared without reading a text.
        if held == new {
            return true;
        }
        let (held, new) = (self.table.labels.get(held), self.table.labels.get(new));
        held.remediation == new.remediation
            && held.origin == new.origin
            // Each subscribed list is a source of its own, and all have the origin `lists`.
            && (&*held.origin != "lists" || held.scenario == new.scenario)
    }

    fn insert(&mut self, new: &NewNet, label: u32, head: Option<u32>) -> u32 {
        let rank = self.table.labels.get(label).rank;
        let mut row = LedgerRow::new(new.prefix, new.until, new.id, label, rank);
        if let Some(head) = head {
            // Second in the list, so that the hash table keeps its entry unless the new row is the strongest.
            row.next = self.table.row(head).next;
        }
        let at = if self.free == NONE {
            self.table.rows.push(row);
            u32::try_from(self.table.rows.len() - 1).expect("fewer than 2^32 rows fit into memory")
        } else {
            let at = self.free;
            let place = self.table.rows.get_mut(at);
            self.free = place.next;
            *place = row;
            at
        };
        match head {
            Some(head) => {
                self.table.rows.get_mut(head).next = at;
                self.choose_leading(head);
            }
            None => {
                let (table, hasher) = (&self.table, &self.hasher);
                self.heads.insert_unique(hash_prefix(hasher, &new.prefix), at, |at| {
                    hash_prefix(hasher, &table.row(*at).prefix())
                });
                if new.prefix.v6 { self.v6.open(&new.prefix) } else { self.v4.open(&new.prefix) }
            }
        }
        self.count(label, &new.prefix, 1);
        self.ends.push(end_entry(new.until, at));
        self.touch(new.prefix);
        self.live += 1;
        at
    }

    fn remove(&mut self, at: u32) {
        let row = *self.table.row(at);
        let prefix = row.prefix();
        let table = &self.table;
        let hash = hash_prefix(&self.hasher, &prefix);
        let entry = self.heads.find_entry(hash, |head| table.row(*head).prefix() == prefix);
        match entry {
            Ok(mut entry) if *entry.get() == at => {
                if row.next == NONE {
                    entry.remove();
                    if prefix.v6 { self.v6.close(&prefix) } else { self.v4.close(&prefix) }
                } else {
                    *entry.get_mut() = row.next;
                    self.choose_leading(row.next);
                }
            }
            Ok(entry) => {
                let head = *entry.get();
                let mut before = head;
                while self.table.row(before).next != at {
                    before = self.table.row(before).next;
                }
                self.table.rows.get_mut(before).next = row.next;
                self.choose_leading(head);
            }
            Err(_) => {}
        }
        let free = self.free;
        let place = self.table.rows.get_mut(at);
        (place.state, place.next) = (State::Free, free);
        self.free = at;
        self.live -= 1;
        self.count(row.label, &prefix, -1);
        self.touch(prefix);
    }

    /// Marks the strongest of the rows on one prefix, from its first row on, and makes it the first. Rows are only
    /// written to when something of them changes: a row that is written to counts as changed for [`Snapshot::diff`].
    fn choose_leading(&mut self, head: u32) {
        let (mut leading, mut before_leading) = (NONE, NONE);
        let (mut before, mut at) = (NONE, head);
        while at != NONE {
            if self.table.stronger(leading, at) == at {
                (leading, before_leading) = (at, before);
            }
            (before, at) = (at, self.table.row(at).next);
        }
        at = head;
        while at != NONE {
            let state = if at == leading { State::Leading } else { State::Held };
            if self.table.row(at).state != state {
                self.table.rows.get_mut(at).state = state;
            }
            at = self.table.row(at).next;
        }
        // Readers know only the strongest row, from the index. As the first one it leads them to all others.
        if leading != head {
            self.table.rows.get_mut(before_leading).next = self.table.row(leading).next;
            self.table.rows.get_mut(leading).next = head;
            let prefix = self.table.row(head).prefix();
            let hash = hash_prefix(&self.hasher, &prefix);
            if let Some(entry) = self.heads.find_mut(hash, |at| *at == head) {
                *entry = leading;
            }
        }
    }

    fn lift_net(&mut self, prefix: &Prefix, remediation: &str, newest: i64) -> usize {
        let head = find_head(&self.heads, &self.hasher, &self.table, prefix).unwrap_or(NONE);
        let ends = |at: u32| {
            let row = self.table.row(at);
            // Not by origin: a LAPI announces one decision of several on a target, and may report the end of another.
            // The id matters only where a stock LAPI may repeat an end for which a newer decision has come meanwhile.
            row.id <= newest && &*self.table.labels.get(row.label).remediation == remediation
        };
        // Collected first, as each removal may change the order of those that are left.
        let gone: Vec<u32> = self.table.chain(head).filter(|at| ends(*at)).collect();
        gone.iter().for_each(|at| self.remove(*at));
        gone.len()
    }

    fn lift_name(&mut self, scope: &str, value: &str, remediation: &str, newest: i64) -> usize {
        if self.named.get(scope, value).is_none() {
            return 0;
        }
        self.retain_name(scope, value, |row, word| row.id > newest || word != remediation)
    }

    fn retain_name(&mut self, scope: &str, value: &str, keep: impl Fn(&NamedRow, &str) -> bool) -> usize {
        let labels = &self.table.labels;
        let gone: Vec<NamedRow> = self.named.edit(scope, value, |rows| {
            rows.extract_if(.., |row| !keep(row, &labels.get(row.label).remediation)).collect()
        });
        for row in &gone {
            self.labels.count(&mut self.table.labels, row.label, |held| held.named -= 1);
        }
        self.named_changed |= !gone.is_empty();
        gone.len()
    }

    fn remove_unseen(&mut self, seen: &SeenRows, seen_names: &BTreeSet<(Box<str>, Box<str>, u32)>) -> usize {
        let rows = self.table.rows.iter().enumerate();
        // Collected first, as removals change the rows that are iterated over.
        let gone: Vec<u32> =
            rows.filter(|(at, row)| row.is_live() && !seen.contains(*at)).map(|(at, _)| at as u32).collect();
        gone.iter().for_each(|at| self.remove(*at));
        let names: Vec<_> =
            self.named.iter().map(|entry| (entry.scope.clone(), entry.value.clone())).collect();
        let mut removed = gone.len();
        for (scope, value) in names {
            removed += self.retain_name(&scope, &value, |row, _| {
                seen_names.contains(&((*scope).into(), (*value).into(), row.label))
            });
        }
        removed
    }

    fn touch(&mut self, prefix: Prefix) {
        if prefix.v6 { self.v6.touch(prefix) } else { self.v4.touch(prefix) }
    }

    fn count(&mut self, label: u32, prefix: &Prefix, by: i32) {
        self.labels.count(&mut self.table.labels, label, |held: &mut LabelCounts| {
            let count = if prefix.v6 { &mut held.v6 } else { &mut held.v4 };
            *count = count.saturating_add_signed(by);
        });
    }

    /// Removes stale ends before they outnumber the rows.
    fn compact_ends(&mut self) {
        // Each renewal leaves an entry behind. At this bound rebuilding the heap costs each of them a constant, and a
        // small ledger is not rebuilt all the time.
        if self.ends.len() > 2 * self.live + 1024 {
            let rows = self.table.rows.iter().enumerate().filter(|(_, row)| row.is_live());
            self.ends = rows.map(|(at, row)| end_entry(row.until, at as u32)).collect();
        }
    }
}

fn end_entry(until: Timestamp, row: u32) -> Reverse<u64> {
    Reverse(u64::from(until.coarse()) << 32 | u64::from(row))
}

fn find_head(
    heads: &HashTable<u32>,
    hasher: &rustc_hash::FxSeededState,
    table: &Table,
    prefix: &Prefix,
) -> Option<u32> {
    heads.find(hash_prefix(hasher, prefix), |at| table.row(*at).prefix() == *prefix).copied()
}

fn hash_prefix(hasher: &rustc_hash::FxSeededState, prefix: &Prefix) -> u64 {
    hasher.hash_one(prefix)
}

/// The rows that a response announced.
struct SeenRows(Vec<u64>);

impl SeenRows {
    fn new(rows: usize) -> Self {
        Self(vec![0; rows / 64 + 1])
    }

    /// Marks a row; returns whether it was marked before.
    fn mark(&mut self, at: u32) -> bool {
        let (word, bit) = (at as usize / 64, 1 << (at % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word] & bit != 0;
        self.0[word] |= bit;
        before
    }

    fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}
