//! Brings changes into the kernel: packs them into as few transactions as the socket allows, and when the kernel
//! refuses some, finds out which, so that the rest still goes in.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use palisade_cache::Timestamp;
use rustix::io::Errno;

use crate::layout::{Layout, SetId};
use crate::netlink::{NetlinkError, Rejection, Slot, Socket, Transaction, Verb, encode_elements};
use crate::plan::Change;

/// Changes that are encoded together: small enough to find a culprit soon, large enough to fill messages.
const UNIT: usize = 512;

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
    /// Elements put in or taken out, by set, refused ones left out.
    pub(crate) balance: Vec<(SetId, i64)>,
    /// What the kernel did not take.
    pub(crate) refused: Vec<Refused>,
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
    #[error("the kernel refuses the transaction: {0}; its sets will be read and compared")]
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
    /// Applies the changes, in one transaction if it fits into the socket's buffer.
    pub(crate) fn apply(&self, socket: &mut Socket, changes: &[Change]) -> Result<Committed, CommitError> {
        let shredded = shred(changes, socket.batch_limit());
        let mut done = Committed::default();
        let mut groups = vec![shredded.as_deref().unwrap_or(changes).iter().collect::<Vec<_>>()];
        let mut rejections = 0;
        while let Some(group) = groups.pop() {
            let mut rest = group.as_slice();
            while !rest.is_empty() {
                let (transaction, units) = self.pack(rest, socket.batch_limit());
                let (packed, later) = rest.split_at(units.last().map_or(0, |unit| unit.changes.end));
                rest = later;
                let bytes = transaction.len();
                match transaction.commit(socket)? {
                    Ok(generation) => {
                        done.generations.push(generation);
                        packed.iter().for_each(|change| done.count(change));
                    }
                    Err(rejection) if rejection.whole == Some(Errno::MSGSIZE) && bytes > SMALLEST_LIMIT => {
                        // The buffer promised more than the kernel takes.
                        socket.lower_batch_limit(bytes / 2);
                        groups.push(packed.to_vec());
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
        Ok(done)
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
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Host { address, remove, add } => {
                    gone.extend(remove.map(|set| (set, slot(*address, *address))));
                    come.extend(
                        add.map(|(set, until)| (set, self.timed(set, *address, *address, Some(until)))),
                    );
                }
                Change::Knot { remove, add } => {
                    gone.extend(remove.iter().map(|s| (s.set, slot(s.first, s.last))));
                    come.extend(add.iter().map(|s| (s.set, self.timed(s.set, s.first, s.last, s.until))));
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
        self.write(transaction, Verb::Add, &mut come);
    }

    fn write(&self, transaction: &mut Transaction, verb: Verb, slots: &mut [(SetId, Slot)]) {
        slots.sort_by_key(|(set, _)| *set);
        for of_set in slots.chunk_by(|(a, _), (b, _)| a == b) {
            let target = self.layout.target(of_set[0].0);
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

    fn timed(&self, set: SetId, first: IpAddr, last: IpAddr, until: Option<Timestamp>) -> Slot {
        let until = until.filter(|_| self.layout.target(set).dialect.timeout);
        // Zero would mean for ever: what has just ended gets the shortest life there is.
        let timeout =
            until.map(|until| until.saturating_duration_since(self.now).max(Duration::from_millis(1)));
        Slot { first, last, timeout }
    }
}

impl Committed {
    fn count(&mut self, change: &Change) {
        let mut add = |set: SetId, by: i64| match self.balance.iter_mut().find(|(of, _)| *of == set) {
            Some((_, balance)) => *balance += by,
            None => self.balance.push((set, by)),
        };
        match change {
            Change::Host { remove, add: put, .. } => {
                remove.iter().for_each(|set| add(*set, -1));
                put.iter().for_each(|(set, _)| add(*set, 1));
            }
            Change::Knot { remove, add: put } => {
                remove.iter().for_each(|stretch| add(stretch.set, -1));
                put.iter().for_each(|stretch| add(stretch.set, 1));
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

fn slot(first: IpAddr, last: IpAddr) -> Slot {
    Slot { first, last, timeout: None }
}

/// Refusals that say nothing about the changes and pass by themselves.
fn is_passing(rejection: &Rejection) -> bool {
    [Errno::NOMEM, Errno::RESTART, Errno::AGAIN, Errno::INTR]
        .into_iter()
        .any(|passing| rejection.names(passing))
}

fn refused(change: &Change, reason: Errno) -> Refused {
    let (what, set) = match change {
        Change::Host { address, remove, add } => {
            (address.to_string(), add.map(|(set, _)| set).or(*remove).unwrap_or(SetId(0)))
        }
        Change::Knot { remove, add } => match add.iter().chain(remove).next() {
            Some(stretch) => (format!("{}-{}", stretch.first, stretch.last), stretch.set),
            None => (String::new(), SetId(0)),
        },
    };
    Refused { what, set, reason }
}

/// Cuts knots that alone would not fit into a transaction: first all that goes, then all that comes. Between
/// these transactions the last of it is missing for a moment, which only happens where the send buffer is tiny.
fn shred(changes: &[Change], limit: usize) -> Option<Vec<Change>> {
    let most = (limit / (4 * BYTES_PER_CHANGE)).max(1);
    let oversized = |change: &Change| match change {
        Change::Host { .. } => false,
        Change::Knot { remove, add } => remove.len() + add.len() > most,
    };
    if !changes.iter().any(oversized) {
        return None;
    }
    let mut pieces = Vec::with_capacity(changes.len() + 16);
    for change in changes {
        match change {
            Change::Knot { remove, add } if oversized(change) => {
                let gone =
                    remove.chunks(most).map(|part| Change::Knot { remove: part.to_vec(), add: Vec::new() });
                let come =
                    add.chunks(most).map(|part| Change::Knot { remove: Vec::new(), add: part.to_vec() });
                pieces.extend(gone.chain(come));
            }
            change => pieces.push(change.clone()),
        }
    }
    Some(pieces)
}
