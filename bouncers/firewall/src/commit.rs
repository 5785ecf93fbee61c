//! Commits changes of elements to the kernel: packs them into transactions, and when the kernel refuses some, finds out
//! which, so that the rest is still committed.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use palisade_cache::Timestamp;
use rustix::io::Errno;

use crate::intervals::Interval;
use crate::layout::Layout;
use crate::netlink::{NetlinkError, Rejection, Slot, Socket, Transaction, Verb, describe, encode_elements};
use crate::plan::Change;
use crate::target::{Place, Purpose, SetId, SourceId};

/// Changes that are encoded together.
// Small enough to find a refused change soon, large enough to fill messages.
const UNIT: usize = 512;

/// Bytes of a transaction into hash sets.
// The kernel enlarges a hash table behind the transactions, on the same processor. A transaction with a whole list
// fills a table that is many times too small, which takes twice as long.
const HASH_BATCH: usize = 128 << 10;

/// Transactions spent on finding the refused changes.
// Bounds the time that a list with many bad elements takes: after these, all suspects count as refused.
const SEARCH_LIMIT: usize = 128;

/// Bytes of a host in a transaction, rounded up.
const BYTES_PER_CHANGE: usize = 48;

/// The size at which a transaction is not halved any more.
// `EMSGSIZE` for so few bytes has another cause than the buffer; halving would never end.
const SMALLEST_LIMIT: usize = 4096;

/// How to delete elements that may not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The kernel has a message for it (6.3 and later).
    Destroy,
    /// Add it, then delete it.
    // On older kernels a delete of a missing element fails the transaction (`ENOENT`). The add without the exclusive
    // flag makes sure that there is one to delete.
    AddThenDelete,
}

/// What a commit did.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) generations: Vec<u32>,
    /// Elements added or deleted, by source, without refused ones.
    pub(crate) balance: Vec<Balance>,
    pub(crate) refused: Vec<Refused>,
}

/// How many elements of a source were added (or, if negative, deleted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) source: SourceId,
    /// Single addresses.
    pub(crate) hosts: i64,
    /// Ranges, or intervals.
    pub(crate) ranges: i64,
}

/// A change that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The address or range.
    pub(crate) what: String,
    pub(crate) set: SetId,
    pub(crate) reason: Errno,
}

/// Why a commit could not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The socket failed, or the kernel does not respond.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A table or set is missing.
    #[error("a table or set is missing in the kernel; it will be built again")]
    Gone,
    /// The kernel holds other elements than expected, or is short of memory.
    #[error("the kernel refuses the transaction: {}; its sets will be read and compared", describe(*.0))]
    Refused(Errno),
}

/// How to commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit<'a> {
    pub(crate) layout: &'a Layout,
    /// Timeouts count from here.
    pub(crate) now: Timestamp,
    pub(crate) removal: Removal,
    /// Whether to find out which changes are refused and to commit the rest. Otherwise a refusal is an error, because
    /// the remembered state of the kernel may be wrong.
    pub(crate) isolate: bool,
}

impl Commit<'_> {
    /// Commits the changes, in as few transactions as is efficient.
    pub(crate) fn apply(&self, socket: &mut Socket, changes: &[Change]) -> Result<Committed, CommitError> {
        // A transaction that touches an interval set costs time in proportion to the whole set, however small the
        // change. So all changes go into as few transactions as possible.
        let wanted_limit = if changes.iter().any(|change| self.is_interval_of_operator(change)) {
            usize::MAX
        } else {
            HASH_BATCH
        };
        let shredded = shred(changes, socket.batch_limit());
        let mut done = Committed::default();
        // A stack of lists still to be committed; a refused list is replaced by its parts.
        let mut groups = vec![shredded.as_deref().unwrap_or(changes).iter().collect::<Vec<_>>()];
        let mut rejections = 0;
        while let Some(group) = groups.pop() {
            let mut rest = group.as_slice();
            while !rest.is_empty() {
                let (transaction, units) = self.pack(rest, socket.batch_limit().min(wanted_limit));
                let (packed, later) = rest.split_at(units.last().map_or(0, |unit| unit.changes.end));
                rest = later;
                let bytes = transaction.len();
                match transaction.commit(socket)? {
                    Ok(generation) => {
                        done.generations.push(generation);
                        packed.iter().for_each(|change| done.count(self.layout, change));
                    }
                    Err(rejection) if rejection.whole == Some(Errno::MSGSIZE) && bytes > SMALLEST_LIMIT => {
                        // The send buffer has room for it, yet the kernel does not take it. The lower limit holds for
                        // the life of the socket.
                        socket.lower_batch_limit(bytes / 2);
                        groups.push(packed.to_vec());
                    }
                    // The interval has just expired. The sets have to be read before anything is removed from them: see
                    // `encode`.
                    Err(rejection)
                        if rejection.names(Errno::NOENT)
                            && packed.iter().any(|change| self.removes_exactly(change)) =>
                    {
                        return Err(CommitError::Refused(Errno::NOENT));
                    }
                    // Every other removal tolerates a missing element, so a missing object is a table or set.
                    Err(rejection) if rejection.names(Errno::NOENT) => return Err(CommitError::Gone),
                    // Shortage of memory and the like are not the fault of single changes: a search would blame the
                    // wrong ones.
                    Err(rejection) if !self.isolate || is_passing(&rejection) => {
                        return Err(CommitError::Refused(rejection.reason()));
                    }
                    Err(rejection) => {
                        rejections += 1;
                        let search = rejections <= SEARCH_LIMIT;
                        groups.extend(self.narrow(&rejection, &units, packed, search, &mut done));
                    }
                }
            }
        }
        // Without its gate cell an element is never looked up, so a refused cell must not be reported as one lost
        // element. The caller reads and compares everything.
        let is_gate = |refused: &&Refused| self.layout.target(refused.set).purpose.is_gate();
        match done.refused.iter().find(is_gate) {
            Some(refused) => Err(CommitError::Refused(refused.reason)),
            None => Ok(done),
        }
    }

    /// After a refusal: records changes that are certainly at fault as refused, and returns the lists still to be
    /// tried. The last of them, which is tried next, holds the changes that no refusal names.
    fn narrow<'c>(
        &self,
        rejection: &Rejection,
        units: &[Unit],
        packed: &[&'c Change],
        search: bool,
        done: &mut Committed,
    ) -> Vec<Vec<&'c Change>> {
        // The kernel goes on after a refused message and names every refused one. It names none when its responses did
        // not fit into the receive buffer; then each unit is suspect.
        let reason_for = |unit: &Unit| {
            let named = rejection.messages.iter().find(|(message, _)| unit.messages.contains(message));
            named.map(|(_, reason)| *reason).or(rejection.messages.is_empty().then(|| rejection.reason()))
        };
        let (mut suspects, mut innocent) = (Vec::new(), Vec::new());
        for unit in units {
            let changes = &packed[unit.changes.clone()];
            match reason_for(unit) {
                None => innocent.extend_from_slice(changes),
                Some(reason) if !search || packed.len() == 1 => {
                    done.refused.extend(changes.iter().map(|change| refused(change, reason)));
                }
                Some(_) => {
                    // One refused change fails all others in its transaction, so halves are tried until it is alone.
                    let (left, right) = changes.split_at(changes.len() / 2);
                    suspects.extend([left.to_vec(), right.to_vec()]);
                }
            }
        }
        // Committed first: most bans are in force before the search for the few refused ones begins.
        suspects.push(innocent);
        suspects
    }

    /// Encodes as many of the changes as one transaction may hold.
    fn pack(&self, changes: &[&Change], limit: usize) -> (Transaction, Vec<Unit>) {
        let mut transaction = Transaction::with_capacity((changes.len() * BYTES_PER_CHANGE).min(limit));
        let mut units: Vec<Unit> = Vec::new();
        for chunk in changes.chunks((limit / (4 * BYTES_PER_CHANGE)).clamp(1, UNIT)) {
            let (message, change) = (transaction.messages(), units.last().map_or(0, |unit| unit.changes.end));
            self.encode(&mut transaction, chunk);
            // The first unit goes in even when it is too large; otherwise the loop in `apply` would make no progress.
            if transaction.len() > limit && !units.is_empty() {
                transaction.truncate(message);
                break;
            }
            let messages = message..transaction.messages();
            units.push(Unit { messages, changes: change..change + chunk.len() });
        }
        (transaction, units)
    }

    /// Writes the messages of some changes: all removals before all additions, set by set.
    fn encode(&self, transaction: &mut Transaction, changes: &[&Change]) {
        // The kernel executes messages in order. Removals first: an add does not change the timeout of an existing
        // element before kernel 6.12, and overlapping intervals are refused. Within a transaction no packet sees the
        // gap.
        let (mut gone, mut gone_exactly, mut come) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Cell { set, cell, add } => {
                    let cell = (*set, Slot::plain(*cell, *cell));
                    if *add { &mut come } else { &mut gone }.push(cell);
                }
                Change::Element { net, remove, add } => {
                    let slot = |place: &Place, until| {
                        (place.set, self.slot(place.set, (net.addr(), net.addr()), Some(place.source), until))
                    };
                    let removed =
                        remove.as_ref().map(|place| (slot(place, None), self.is_removed_exactly(place)));
                    gone_exactly.extend(removed.filter(|(_, exactly)| *exactly).map(|(slot, _)| slot));
                    gone.extend(removed.filter(|(_, exactly)| !exactly).map(|(slot, _)| slot));
                    come.extend(add.as_ref().map(|(place, until)| slot(place, Some(*until))));
                }
                Change::Intervals { remove, add } => {
                    let slot = |one: &Interval| {
                        (one.set, self.slot(one.set, (one.first, one.last), None, one.until))
                    };
                    gone_exactly.extend(remove.iter().map(slot));
                    come.extend(add.iter().map(slot));
                }
            }
        }
        match self.removal {
            Removal::Destroy => self.write(transaction, Verb::Destroy, &mut gone),
            Removal::AddThenDelete => {
                self.write(transaction, Verb::Add, &mut gone);
                self.write(transaction, Verb::Delete, &mut gone);
            }
        }
        // Not `Destroy`: if the interval has expired, the kernel would find only its closing element and remove that.
        // The next interval would then reach up to the one after it.
        self.write(transaction, Verb::Delete, &mut gone_exactly);
        self.write(transaction, Verb::Add, &mut come);
    }

    fn is_interval_of_operator(&self, change: &Change) -> bool {
        let Change::Intervals { remove, add } = change else { return false };
        let mut intervals = remove.iter().chain(add);
        intervals.any(|one| self.layout.target(one.set).purpose == Purpose::Everything)
    }

    /// Whether a change fails when what it removes does not exist.
    fn removes_exactly(&self, change: &Change) -> bool {
        match change {
            Change::Cell { .. } => false,
            Change::Element { remove, .. } => remove.is_some_and(|place| self.is_removed_exactly(&place)),
            Change::Intervals { remove, .. } => !remove.is_empty(),
        }
    }

    fn is_removed_exactly(&self, place: &Place) -> bool {
        // Where removal means adding first, that would turn an element of the operator into one to be deleted.
        self.removal == Removal::AddThenDelete && self.layout.target(place.set).purpose == Purpose::Everything
    }

    /// The verb for a set: elements of the operator must not become ours by an add that finds them.
    fn exact(&self, set: SetId, verb: Verb) -> Verb {
        if verb == Verb::Add && self.layout.target(set).purpose == Purpose::Everything {
            Verb::AddNew
        } else {
            verb
        }
    }

    fn write(&self, transaction: &mut Transaction, verb: Verb, slots: &mut [(SetId, Slot<'_>)]) {
        // A message is about one set. The sort is stable, so that the order within a set stays.
        slots.sort_by_key(|(set, _)| *set);
        for of_set in slots.chunk_by(|(a, _), (b, _)| a == b) {
            let target = self.layout.target(of_set[0].0);
            let verb = self.exact(of_set[0].0, verb);
            let mut rest = of_set;
            while !rest.is_empty() {
                // A message has room for a part of a long list only.
                let written = transaction.elements(target.nfproto, verb, |buf| {
                    let slots = rest.iter().map(|(_, slot)| *slot);
                    encode_elements(buf, &target.table, &target.name, target.dialect.interval, verb, slots)
                });
                rest = &rest[written..];
            }
        }
    }

    fn slot(
        &self,
        set: SetId,
        (first, last): (IpAddr, IpAddr),
        source: Option<SourceId>,
        until: Option<Timestamp>,
    ) -> Slot<'_> {
        let target = self.layout.target(set);
        // A set without the timeout flag refuses elements with one; there the decision's end removes them.
        let until = until.filter(|_| target.dialect.timeout);
        // The kernel takes a timeout of zero for none at all, which would make the ban permanent.
        let left = until.map(|until| until.saturating_duration_since(self.now).max(Duration::from_millis(1)));
        let timeout = left.map(|left| left + target.dialect.grace());
        let counter = source.filter(|_| target.dialect.counters).map(|source| self.layout.counter(source));
        Slot { first, last, timeout, counter, marked: target.purpose == Purpose::Everything }
    }
}

impl Committed {
    fn count(&mut self, layout: &Layout, change: &Change) {
        let mut add = |source: SourceId, host: bool, by: i64| {
            let balance = match self.balance.iter_mut().find(|balance| balance.source == source) {
                Some(balance) => balance,
                None => {
                    self.balance.push(Balance { source, hosts: 0, ranges: 0 });
                    self.balance.last_mut().expect("it was just pushed")
                }
            };
            *(if host { &mut balance.hosts } else { &mut balance.ranges }) += by;
        };
        match change {
            Change::Cell { .. } => {}
            Change::Element { net, remove, add: put } => {
                let host = net.prefix_len() == net.max_prefix_len();
                remove.iter().for_each(|place| add(place.source, host, -1));
                put.iter().for_each(|(place, _)| add(place.source, host, 1));
            }
            Change::Intervals { remove, add: put } => {
                let source = |one: &Interval| layout.operators_source(one.set);
                remove.iter().filter_map(source).for_each(|source| add(source, false, -1));
                put.iter().filter_map(source).for_each(|source| add(source, false, 1));
            }
        }
    }
}

/// Changes that were encoded together, and the range of their messages.
#[derive(Debug)]
struct Unit {
    messages: Range<usize>,
    changes: Range<usize>,
}

/// Whether a refusal is temporary and not about the changes.
fn is_passing(rejection: &Rejection) -> bool {
    // `ERESTART`: other programs changed the ruleset during every attempt.
    [Errno::NOMEM, Errno::RESTART, Errno::AGAIN, Errno::INTR]
        .into_iter()
        .any(|passing| rejection.names(passing))
}

fn refused(change: &Change, reason: Errno) -> Refused {
    let (what, set) = match change {
        Change::Cell { set, cell, .. } => (format!("cell {cell}"), *set),
        Change::Element { net, remove, add } => {
            let place = add.as_ref().map(|(place, _)| *place).or(*remove);
            let host = net.prefix_len() == net.max_prefix_len();
            let what = if host { net.addr().to_string() } else { net.to_string() };
            (what, place.map_or(SetId(0), |place| place.set))
        }
        Change::Intervals { remove, add } => match add.iter().chain(remove).next() {
            Some(interval) => (format!("{}-{}", interval.first, interval.last), interval.set),
            None => (String::new(), SetId(0)),
        },
    };
    Refused { what, set, reason }
}

/// Splits groups of intervals that alone would not fit into a transaction: first all removals, then all additions.
fn shred(changes: &[Change], limit: usize) -> Option<Vec<Change>> {
    // Between these transactions some addresses of the group are not banned, which cannot be avoided: overlapping
    // intervals have to be removed first. Only tiny send buffers cause it.
    let most = (limit / (4 * BYTES_PER_CHANGE)).max(1);
    let oversized = |change: &Change| match change {
        Change::Cell { .. } | Change::Element { .. } => false,
        Change::Intervals { remove, add } => remove.len() + add.len() > most,
    };
    if !changes.iter().any(oversized) {
        return None;
    }
    let mut pieces = Vec::with_capacity(changes.len() + 16);
    for change in changes {
        match change {
            Change::Intervals { remove, add } if oversized(change) => {
                let part = |remove: &[Interval], add: &[Interval]| Change::Intervals {
                    remove: remove.to_vec(),
                    add: add.to_vec(),
                };
                pieces.extend(remove.chunks(most).map(|gone| part(gone, &[])));
                pieces.extend(add.chunks(most).map(|come| part(&[], come)));
            }
            change => pieces.push(change.clone()),
        }
    }
    Some(pieces)
}
