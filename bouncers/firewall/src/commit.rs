//! Brings changes into the kernel: packs them into as few transactions as the socket allows, and when the kernel
//! refuses some, finds out which, so that the rest still goes in.

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

/// Changes that are encoded together: small enough to find a culprit soon, large enough to fill messages.
const UNIT: usize = 512;

/// Bytes of a transaction into hash sets. The kernel makes a hash table larger behind the transactions, on the same
/// processor: one that brings a whole list fills a table that is many times too small, which takes twice as long.
const HASH_BATCH: usize = 128 << 10;

/// Transactions spent on finding out which changes are refused, before all that are left count as refused.
const SEARCH_LIMIT: usize = 128;

/// Bytes of a host in a batch, generously.
const BYTES_PER_CHANGE: usize = 48;

/// A transaction this small that does not fit will not fit in halves either.
const SMALLEST_LIMIT: usize = 4096;

/// How elements that may not be there are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The kernel has a message for it (6.3 and later).
    Destroy,
    /// Put it in, then delete it.
    AddThenDelete,
}

/// What a commit did.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The generations it made.
    pub(crate) generations: Vec<u32>,
    /// Elements put in or taken out, by source, refused ones left out.
    pub(crate) balance: Vec<Balance>,
    /// What the kernel did not take.
    pub(crate) refused: Vec<Refused>,
}

/// How many elements of a source were put in (or, negative, taken out).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Balance {
    /// The source.
    pub(crate) source: SourceId,
    /// Single addresses.
    pub(crate) hosts: i64,
    /// Ranges, or intervals.
    pub(crate) ranges: i64,
}

/// A change the kernel did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What it was about: an address or a range.
    pub(crate) what: String,
    /// The set it was meant for.
    pub(crate) set: SetId,
    /// The kernel's reason.
    pub(crate) reason: Errno,
}

/// Why a commit could not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The socket or the kernel's readiness failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A table or set is gone.
    #[error("a table or set is missing in the kernel; it will be built again")]
    Gone,
    /// The kernel holds something else than expected, or is short of memory.
    #[error("the kernel refuses the transaction: {}; its sets will be read and compared", describe(*.0))]
    Refused(Errno),
}

/// How to commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit<'a> {
    /// The sets.
    pub(crate) layout: &'a Layout,
    /// Timeouts count from here.
    pub(crate) now: Timestamp,
    /// How to take out what may not be there.
    pub(crate) removal: Removal,
    /// Whether to find out which changes are refused and to bring in the rest. Otherwise a refusal is an error:
    /// the caller's picture of the kernel may be wrong.
    pub(crate) isolate: bool,
}

impl Commit<'_> {
    /// Applies the changes, in as few transactions as are quick.
    pub(crate) fn apply(&self, socket: &mut Socket, changes: &[Change]) -> Result<Committed, CommitError> {
        // In an operator's interval set every transaction costs with the whole set.
        let wanted_limit = if changes.iter().any(|change| self.is_interval_of_operator(change)) {
            usize::MAX
        } else {
            HASH_BATCH
        };
        let shredded = shred(changes, socket.batch_limit());
        let mut done = Committed::default();
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
                        // The buffer promised more than the kernel takes.
                        socket.lower_batch_limit(bytes / 2);
                        groups.push(packed.to_vec());
                    }
                    // An interval that had just ended by itself: what is left has to be read first.
                    Err(rejection)
                        if rejection.names(Errno::NOENT)
                            && packed.iter().any(|change| self.removes_exactly(change)) =>
                    {
                        return Err(CommitError::Refused(Errno::NOENT));
                    }
                    Err(rejection) if rejection.names(Errno::NOENT) => return Err(CommitError::Gone),
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
        // Without its gate cell an element is never looked up: that is no refusal of one element.
        let is_gate = |refused: &&Refused| self.layout.target(refused.set).purpose.is_gate();
        match done.refused.iter().find(is_gate) {
            Some(refused) => Err(CommitError::Refused(refused.reason)),
            None => Ok(done),
        }
    }

    /// After a refusal: counts what is certainly at fault as refused, and returns what is left to try, the
    /// unsuspected last (it is taken from there).
    fn narrow<'c>(
        &self,
        rejection: &Rejection,
        units: &[Unit],
        packed: &[&'c Change],
        search: bool,
        done: &mut Committed,
    ) -> Vec<Vec<&'c Change>> {
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
                    let (left, right) = changes.split_at(changes.len() / 2);
                    suspects.extend([left.to_vec(), right.to_vec()]);
                }
            }
        }
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
            if transaction.len() > limit && !units.is_empty() {
                transaction.truncate(message);
                break;
            }
            let messages = message..transaction.messages();
            units.push(Unit { messages, changes: change..change + chunk.len() });
        }
        (transaction, units)
    }

    /// Writes the messages of some changes: everything that goes, then everything that comes, set by set.
    fn encode(&self, transaction: &mut Transaction, changes: &[&Change]) {
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
        // An interval goes whole or not at all: if it has ended by itself, only its closing half would be found, and
        // without that the next interval reaches up to the one after.
        self.write(transaction, Verb::Delete, &mut gone_exactly);
        self.write(transaction, Verb::Add, &mut come);
    }

    fn is_interval_of_operator(&self, change: &Change) -> bool {
        let Change::Intervals { remove, add } = change else { return false };
        let mut intervals = remove.iter().chain(add);
        intervals.any(|one| self.layout.target(one.set).purpose == Purpose::Everything)
    }

    /// Whether a change fails when what it removes is not there.
    fn removes_exactly(&self, change: &Change) -> bool {
        match change {
            Change::Cell { .. } => false,
            Change::Element { remove, .. } => remove.is_some_and(|place| self.is_removed_exactly(&place)),
            Change::Intervals { remove, .. } => !remove.is_empty(),
        }
    }

    fn is_removed_exactly(&self, place: &Place) -> bool {
        // (Where removal means adding first, an operator's own element would be taken along.)
        self.removal == Removal::AddThenDelete && self.layout.target(place.set).purpose == Purpose::Everything
    }

    /// An element of the operator's own must not be made ours by adding to it.
    fn exact(&self, set: SetId, verb: Verb) -> Verb {
        if verb == Verb::Add && self.layout.target(set).purpose == Purpose::Everything {
            Verb::AddNew
        } else {
            verb
        }
    }

    fn write(&self, transaction: &mut Transaction, verb: Verb, slots: &mut [(SetId, Slot<'_>)]) {
        slots.sort_by_key(|(set, _)| *set);
        for of_set in slots.chunk_by(|(a, _), (b, _)| a == b) {
            let target = self.layout.target(of_set[0].0);
            let verb = self.exact(of_set[0].0, verb);
            let mut rest = of_set;
            while !rest.is_empty() {
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
        let until = until.filter(|_| target.dialect.timeout);
        // Zero would mean for ever: what has just ended gets the shortest life there is.
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

/// Changes that were encoded together, with their messages.
#[derive(Debug)]
struct Unit {
    messages: Range<usize>,
    changes: Range<usize>,
}

/// Refusals that are not about the changes and pass by themselves.
fn is_passing(rejection: &Rejection) -> bool {
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

/// Cuts groups of intervals that alone would not fit into a transaction: first all that goes, then all that comes.
/// Between these transactions the last of it is missing for a moment, which only happens where the send buffer is tiny.
fn shred(changes: &[Change], limit: usize) -> Option<Vec<Change>> {
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
