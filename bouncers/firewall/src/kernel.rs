//! Reads the kernel's sets, compares them and commits plans over a netlink socket. Blocks; owned by one task, and used
//! on a thread where blocking is allowed.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_cache::{Snapshot, Timestamp};

use crate::commit::{Commit, CommitError, Committed, Removal};
use crate::config::{Config, Family, IpFamily};
use crate::found::{Found, flags, key_bytes};
use crate::layout::{Layout, nfproto_of};
use crate::netlink::{
    NetlinkError, Reading, SetHeader, Slot, Socket, StructurePrint, Transaction, Verb, Watched,
    encode_elements, nfproto,
};
use crate::plan::{self, Comparison, KernelSets, Plan};
use crate::target::Dialect;

/// A socket and what it was found to be capable of.
#[derive(Debug)]
pub(crate) struct Kernel {
    socket: Socket,
    removal: Removal,
}

/// What an operator's set turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OperatorsSet {
    /// There is no such table.
    NoTable,
    /// The table is there, of this family, but not the set.
    NoSet(u8),
    /// The set is there and can be filled.
    Fit(u8, Dialect),
    /// The set cannot hold what it should.
    Unfit(&'static str),
}

impl Kernel {
    /// Opens the socket and finds out what this kernel can do.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::open()?;
        let removal = if socket.knows_destroy()? { Removal::Destroy } else { Removal::AddThenDelete };
        tracing::debug!(?removal, batch_bytes = socket.batch_limit(), "netfilter netlink is open");
        Ok(Self { socket, removal })
    }

    /// The number of the last committed transaction.
    pub(crate) fn generation(&mut self) -> Result<u32, NetlinkError> {
        self.socket.generation()
    }

    /// Reads the managed tables of a configuration, in the order of its families.
    pub(crate) fn find(&mut self, config: &Config) -> Result<Vec<Found>, NetlinkError> {
        let managed = config.families().filter(|(_, family)| !family.set_only);
        managed.map(|(ip, family)| Found::read(&mut self.socket, ip, &family.table)).collect()
    }

    /// The number of elements in the managed tables of a configuration, those of other programs included.
    pub(crate) fn count_elements(&mut self, config: &Config) -> Result<u64, NetlinkError> {
        let mut count = 0;
        for (ip, family) in config.families().filter(|(_, family)| !family.set_only) {
            let (number, table) = (nfproto_of(ip), &family.table);
            if self.socket.table(number, table)?.is_none() {
                continue;
            }
            for set in self.socket.sets(number, table)? {
                let interval = set.flags & flags::INTERVAL != 0;
                let held = self.socket.elements(number, table, &set.name, interval, Reading::Rough);
                count += held.map_or(0, |held| u64::try_from(held.len()).unwrap_or(u64::MAX));
            }
        }
        Ok(count)
    }

    /// Compares everything in the kernel's sets with everything wanted. `exempt` is sorted and disjoint. A rough
    /// reading may report some differences that do not exist.
    pub(crate) fn compare(
        &mut self,
        reading: Reading,
        layout: &Layout,
        wanted: &Snapshot,
        exempt: &[(IpAddr, IpAddr)],
        now: Timestamp,
    ) -> Result<Comparison, CommitError> {
        let mut sets = HashMap::new();
        for (id, target) in layout.targets() {
            let interval = target.dialect.interval;
            let held = self.socket.elements(target.nfproto, &target.table, &target.name, interval, reading);
            match held {
                Ok(held) => sets.insert(id, held),
                // Removed by another program: the structure has to be built first.
                Err(error) if error.is_missing() => return Err(CommitError::Gone),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(plan::reconcile(layout, &KernelSets(sets), wanted, exempt, now))
    }

    /// Commits a plan. With `isolate`, what the kernel refuses is left out instead of failing the rest.
    pub(crate) fn commit(
        &mut self,
        layout: &Layout,
        plan: &Plan,
        isolate: bool,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        Commit { layout, now, removal: self.removal, isolate }.apply(&mut self.socket, &plan.changes)
    }

    /// Makes the kernel collect the expired intervals of operators' sets. Returns the generations this made.
    pub(crate) fn collect_intervals(&mut self, layout: &Layout) -> Result<Vec<u32>, NetlinkError> {
        let mut generations = Vec::new();
        // The kernel collects with a transaction that changes the set, if its last collection was at least a second
        // ago. An element that is added and deleted is such a change.
        let ending = layout.targets().filter(|(_, target)| !target.dialect.grace().is_zero());
        for (_, target) in ending {
            // Loopback is exempt, so this element is in no interval of ours.
            let loopback: IpAddr = match target.ip {
                IpFamily::V4 => Ipv4Addr::LOCALHOST.into(),
                IpFamily::V6 => Ipv6Addr::LOCALHOST.into(),
            };
            let slot = Slot { marked: true, ..Slot::plain(loopback, loopback) };
            for verb in [Verb::Add, Verb::Delete] {
                let mut transaction = Transaction::default();
                transaction.elements(target.nfproto, verb, |buf| {
                    encode_elements(buf, &target.table, &target.name, true, verb, [slot])
                });
                match transaction.commit(&mut self.socket)? {
                    Ok(generation) => generations.push(generation),
                    // An element of the operator is in the way, or the set is missing: the comparison that follows
                    // notices both.
                    Err(_) => break,
                }
            }
        }
        Ok(generations)
    }

    /// Prints of the structure of some tables, as far as objects of these names are concerned.
    pub(crate) fn prints(
        &mut self,
        tables: &[Watched],
        names: &HashSet<String>,
    ) -> Result<Vec<StructurePrint>, NetlinkError> {
        tables.iter().map(|of| self.socket.structure(of.family, &of.table, names)).collect()
    }

    /// Reads one managed table.
    pub(crate) fn find_table(&mut self, ip: IpFamily, table: &str) -> Result<Found, NetlinkError> {
        Found::read(&mut self.socket, ip, table)
    }

    /// How many elements a set may hold, if that is bounded and known.
    pub(crate) fn set_size(&mut self, family: u8, table: &str, set: &str) -> Option<u32> {
        let sets = self.socket.sets(family, table).ok()?;
        sets.into_iter().find(|header| header.name == set)?.size
    }

    /// Looks for the operator's set: in a table of the address family itself, else in an `inet` table.
    pub(crate) fn operators_set(
        &mut self,
        ip: IpFamily,
        family: &Family,
    ) -> Result<OperatorsSet, NetlinkError> {
        let tables = self.socket.tables()?;
        let mut found = OperatorsSet::NoTable;
        // Only families that can match such addresses. The stock bouncer takes the first table of that name in any
        // family, so that an IPv6 set may be made in an `ip` table.
        for number in operators_families(ip) {
            if !tables.iter().any(|(of, name)| *of == number && *name == family.table) {
                continue;
            }
            let sets = self.socket.sets(number, &family.table)?;
            if let Some(set) = sets.iter().find(|set| set.name == family.set) {
                return Ok(classify(ip, number, set));
            }
            if found == OperatorsSet::NoTable {
                found = OperatorsSet::NoSet(number);
            }
        }
        Ok(found)
    }
}

/// Where an operator's set for this address family may be.
fn operators_families(ip: IpFamily) -> [u8; 2] {
    [nfproto_of(ip), nfproto::INET]
}

/// The tables whose changes concern us: our own, and every one that may be the operator's.
pub(crate) fn watched_tables(config: &Config) -> Vec<Watched> {
    config
        .families()
        .flat_map(|(ip, family)| {
            let families =
                if family.set_only { operators_families(ip).to_vec() } else { vec![nfproto_of(ip)] };
            // In a shared set elements that others add stay, so their arrival needs no comparison; a removal may be one
            // of ours.
            let additions = !family.set_only || family.exclusive;
            families.into_iter().map(move |number| Watched {
                family: number,
                table: family.table.clone(),
                additions,
            })
        })
        .collect()
}

fn classify(ip: IpFamily, number: u8, set: &SetHeader) -> OperatorsSet {
    if set.flags & flags::CONCATENATION != 0 || set.key_bytes != key_bytes(ip) {
        return OperatorsSet::Unfit("its elements are not addresses of this family");
    }
    if set.flags & flags::OBJECT != 0 {
        return OperatorsSet::Unfit("it is a map");
    }
    if set.flags & flags::CONSTANT != 0 {
        return OperatorsSet::Unfit("it is constant");
    }
    OperatorsSet::Fit(
        number,
        Dialect {
            interval: set.flags & flags::INTERVAL != 0,
            timeout: set.flags & flags::TIMEOUT != 0,
            counters: false,
        },
    )
}
