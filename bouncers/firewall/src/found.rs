//! The objects of a managed table as the kernel holds them.

use crate::clause;
use crate::config::{Family, Hook, IpFamily};
use crate::layout::{Dialect, nfproto_of};
use crate::names;
use crate::netlink::{NetlinkError, Socket};
use crate::rules::Rule;

/// `NFT_SET_*` and `NFT_TABLE_F_*` flags of `linux/netfilter/nf_tables.h`.
pub(crate) mod flags {
    /// A set that never changes.
    pub(crate) const CONSTANT: u32 = 2;
    /// A set of intervals.
    pub(crate) const INTERVAL: u32 = 4;
    /// A set whose elements may end by themselves.
    pub(crate) const TIMEOUT: u32 = 16;
    /// A set of concatenations.
    pub(crate) const CONCATENATION: u32 = 128;
    /// A table that is switched off.
    pub(crate) const DORMANT: u32 = 1;
}

/// The policy of a base chain that lets packets on (`NF_ACCEPT`).
const ACCEPT: u32 = 1;

/// Everything in a table but elements and counts.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Whether there is such a table.
    pub(crate) table: bool,
    /// Whether it is switched off.
    pub(crate) dormant: bool,
    /// Names of its counters.
    pub(crate) counters: Vec<String>,
    /// Its sets, in the order they were made.
    pub(crate) sets: Vec<FoundSet>,
    /// Its chains.
    pub(crate) chains: Vec<FoundChain>,
    /// Its rules by chain, in order; `None` for what we have no words for.
    pub(crate) rules: Vec<(String, Option<Rule>)>,
}

/// A set without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundSet {
    /// Its name.
    pub(crate) name: String,
    flags: u32,
    key_bytes: u32,
}

/// A chain without its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundChain {
    /// Its name.
    pub(crate) name: String,
    /// Type, hook number, priority and policy of a base chain.
    base: Option<(String, u32, i32, u32)>,
}

impl FoundSet {
    /// A set of ours.
    pub(crate) fn new(ip: IpFamily, name: String, dialect: Dialect) -> Self {
        let interval = if dialect.interval { flags::INTERVAL } else { 0 };
        let timeout = if dialect.timeout { flags::TIMEOUT } else { 0 };
        Self { name, flags: interval | timeout, key_bytes: key_bytes(ip) }
    }

    /// Whether its elements are intervals.
    pub(crate) fn is_interval(&self) -> bool {
        self.flags & flags::INTERVAL != 0
    }

    /// Whether its elements may end by themselves.
    pub(crate) fn has_timeout(&self) -> bool {
        self.flags & flags::TIMEOUT != 0
    }
}

impl FoundChain {
    /// A base chain of ours.
    pub(crate) fn base(name: String, hook: Hook, priority: i32) -> Self {
        let number = match hook {
            Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        };
        Self { name, base: Some(("filter".to_owned(), number, priority, ACCEPT)) }
    }
}

impl Found {
    /// Reads a table. Blocks, for less than a millisecond: no element is read.
    pub(crate) fn read(socket: &mut Socket, ip: IpFamily, table: &str) -> Result<Self, NetlinkError> {
        let number = nfproto_of(ip);
        let Some(table_flags) = socket.table_flags(number, table)? else { return Ok(Self::default()) };
        let sets = socket.sets(number, table)?.into_iter();
        let chains = socket.chains(number, table)?.into_iter();
        Ok(Self {
            table: true,
            dormant: table_flags & flags::DORMANT != 0,
            counters: socket.counters(number, table)?.into_iter().map(|counter| counter.name).collect(),
            sets: sets
                .map(|set| FoundSet { name: set.name, flags: set.flags, key_bytes: set.key_bytes })
                .collect(),
            chains: chains.map(|chain| FoundChain { name: chain.name, base: chain.base }).collect(),
            rules: socket.rules(number, table, |expressions| clause::read(ip, expressions))?,
        })
    }

    /// The sources that sets in this table stand for, in the order the sets were made.
    pub(crate) fn sources(&self, family: &Family) -> Vec<String> {
        let mut sources: Vec<String> = Vec::new();
        for (source, _) in self.sets.iter().filter_map(|set| names::source_of(family, &set.name)) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        sources
    }
}

/// Bytes of an address in a set.
pub(crate) fn key_bytes(ip: IpFamily) -> u32 {
    match ip {
        IpFamily::V4 => 4,
        IpFamily::V6 => 16,
    }
}
