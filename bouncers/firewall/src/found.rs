//! Reads the objects of a managed table from the kernel, and decides which of them are ours.
//!
//! An object is ours by what it carries, not by its name alone: the table may be shared with rules of the operator, of
//! docker or of ufw, and those are never flushed or deleted. The first rule of each chain of ours carries the comment
//! [`MARK`]; earlier releases and the stock bouncer begin each chain with `counter name "processed"`, and stock release
//! 0.0.25 fills it with rules about its one set. A set is ours when a chain of ours looks it up, or when it has our name
//! and the counter that is made with it.

use crate::clause::{self, Clause};
use crate::config::{Family, Hook, IpFamily};
use crate::layout::nfproto_of;
use crate::names::{self, Holds};
use crate::netlink::{NetlinkError, Socket};
use crate::rules::{self, Rule};
use crate::target::Dialect;

/// The comment of our rules and counters.
pub(crate) const MARK: &str = "palisade";

/// The comment of the `processed` counter in a table that we made.
// It marks a table that may be deleted as a whole: one that was there before is the operator's.
pub(crate) const TABLE_MARK: &str = "palisade: table";

/// `NFT_SET_*` and `NFT_TABLE_F_*` flags of `linux/netfilter/nf_tables.h`.
pub(crate) mod flags {
    /// A set that never changes.
    pub(crate) const CONSTANT: u32 = 2;
    /// A set of intervals.
    pub(crate) const INTERVAL: u32 = 4;
    /// A set whose elements may time out.
    pub(crate) const TIMEOUT: u32 = 16;
    /// A map of objects.
    pub(crate) const OBJECT: u32 = 64;
    /// A set of concatenations.
    pub(crate) const CONCATENATION: u32 = 128;
    /// A table that is switched off.
    pub(crate) const DORMANT: u32 = 1;
}

/// The policy of a base chain that lets packets on (`NF_ACCEPT`).
const ACCEPT: u32 = 1;

/// Everything in a table except elements and counts.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) table: bool,
    /// Whether it is switched off.
    pub(crate) dormant: bool,
    /// How many chains, sets and objects it holds, ours and others'.
    pub(crate) objects: u32,
    pub(crate) counters: Vec<FoundCounter>,
    /// Its sets and maps of counters, in the order they were made.
    pub(crate) sets: Vec<FoundSet>,
    pub(crate) chains: Vec<FoundChain>,
    pub(crate) rules: Vec<FoundRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundCounter {
    pub(crate) name: String,
    pub(crate) comment: String,
}

/// A set without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundSet {
    pub(crate) name: String,
    flags: u32,
    key_bytes: u32,
}

/// A chain without its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundChain {
    pub(crate) name: String,
    /// Type, hook number, priority and policy of a base chain.
    base: Option<(String, u32, i32, u32)>,
}

/// A rule of some chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRule {
    pub(crate) chain: String,
    /// Its clauses; `None` when it has an expression that rules of ours never have.
    pub(crate) rule: Option<Rule>,
    /// Whether it carries [`MARK`].
    pub(crate) marked: bool,
}

impl FoundSet {
    pub(crate) fn new(ip: IpFamily, name: String, dialect: Dialect) -> Self {
        let flags = [
            (dialect.interval, flags::INTERVAL),
            (dialect.timeout, flags::TIMEOUT),
            (dialect.counters, flags::OBJECT),
        ];
        let flags = flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).sum();
        Self { name, flags, key_bytes: key_bytes(ip) }
    }

    pub(crate) fn is_interval(&self) -> bool {
        self.flags & flags::INTERVAL != 0
    }

    /// Whether its elements may time out.
    pub(crate) fn has_timeout(&self) -> bool {
        self.flags & flags::TIMEOUT != 0
    }

    pub(crate) fn has_counters(&self) -> bool {
        self.flags & flags::OBJECT != 0
    }
}

impl FoundChain {
    /// A chain of ours; `base` is the hook and the priority of a base chain.
    pub(crate) fn new(name: String, base: Option<(Hook, i32)>) -> Self {
        let number = |hook| match hook {
            Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        };
        Self { name, base: base.map(|(hook, priority)| ("filter".into(), number(hook), priority, ACCEPT)) }
    }
}

impl Found {
    /// Reads a table. Blocks, for less than a millisecond: no element is read.
    pub(crate) fn read(socket: &mut Socket, ip: IpFamily, table: &str) -> Result<Self, NetlinkError> {
        let number = nfproto_of(ip);
        let Some(header) = socket.table(number, table)? else { return Ok(Self::default()) };
        let sets = socket.sets(number, table)?.into_iter();
        let chains = socket.chains(number, table)?.into_iter();
        let counters = socket.counters(number, table)?.into_iter();
        let rules = socket.rules(number, table, |expressions, comment| {
            (expressions.and_then(|expressions| clause::read(ip, expressions)), comment == MARK)
        })?;
        Ok(Self {
            table: true,
            dormant: header.flags & flags::DORMANT != 0,
            objects: header.objects,
            counters: counters
                .map(|counter| FoundCounter { name: counter.name, comment: counter.comment })
                .collect(),
            sets: sets
                .map(|set| FoundSet { name: set.name, flags: set.flags, key_bytes: set.key_bytes })
                .collect(),
            chains: chains.map(|chain| FoundChain { name: chain.name, base: chain.base }).collect(),
            rules: rules
                .into_iter()
                .map(|(chain, (rule, marked))| FoundRule { chain, rule, marked })
                .collect(),
        })
    }

    /// What our sets in this table hold, in the order they were made.
    pub(crate) fn holds(&self, family: &Family) -> Vec<Holds> {
        let ours = self.sets.iter().filter(|set| self.owns_set(family, &set.name));
        ours.filter_map(|set| names::holds(family, &set.name)).collect()
    }

    /// The rules of a chain, in order.
    pub(crate) fn rules_of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a FoundRule> {
        self.rules.iter().filter(move |rule| rule.chain == chain)
    }

    /// Whether a chain is ours, or the stock bouncer's.
    pub(crate) fn owns_chain(&self, family: &Family, chain: &str) -> bool {
        let mut rules = self.rules_of(chain);
        // An empty chain carries no mark, so it may be anyone's.
        let Some(first) = rules.next() else { return false };
        // Stock release 0.0.25 has no `processed` counter: its chain holds nothing but rules about its one set.
        let is_stock = |rule: &FoundRule| {
            let clauses = rule.rule.iter().flatten();
            let mut sets = clauses.filter_map(|clause| match clause {
                Clause::In(_, set) => Some(set),
                _ => None,
            });
            sets.next() == Some(&family.set)
        };
        first.marked
            // The stock bouncer and earlier releases begin each chain with this rule, without a comment.
            || first.rule.as_ref() == Some(&rules::mark())
            || (is_stock(first) && rules.all(is_stock))
    }

    /// Whether a set is ours, or the stock bouncer's.
    pub(crate) fn owns_set(&self, family: &Family, set: &str) -> bool {
        let counter = |name: &str| self.counters.iter().any(|counter| counter.name == name);
        // A set carries no mark itself. It was made together with a counter: of the same name for hosts, `processed`
        // for the others.
        let by_name = match names::holds(family, set) {
            Some(Holds::Hosts(_)) => counter(set),
            Some(Holds::FormerRanges(_)) => counter(&set.replacen(".ranges-", "-", 1)),
            Some(
                Holds::Ranges(_) | Holds::Gate(_) | Holds::InnerGate(_) | Holds::FrontGate(_) | Holds::Allow,
            ) => counter(names::PROCESSED),
            // Of a former configuration with another prefix: only the comment of the counter identifies it.
            None => self.counters.iter().any(|counter| counter.name == set && counter.comment == MARK),
        };
        let uses =
            |clause: &Clause| matches!(clause, Clause::In(_, name) | Clause::CountIn(_, name) if name == set);
        let used = |rule: &&FoundRule| rule.rule.iter().flatten().any(uses);
        // The set of stock release 0.0.25 has no counter, but its chain looks it up.
        by_name || self.rules.iter().filter(used).any(|rule| self.owns_chain(family, &rule.chain))
    }

    /// The counters that are ours: marked ones, and those that were made with a set of ours.
    pub(crate) fn own_counters(&self, family: &Family) -> impl Iterator<Item = &FoundCounter> {
        self.counters.iter().filter(|counter| {
            counter.comment.starts_with(MARK)
                || (names::holds(family, &counter.name).is_some() && self.owns_set(family, &counter.name))
        })
    }

    /// Whether everything in the table is ours, and the table was made by us or the stock bouncer.
    pub(crate) fn is_wholly_ours(&self, family: &Family) -> bool {
        let chains = self.chains.iter().filter(|chain| self.owns_chain(family, &chain.name)).count();
        let sets = self.sets.iter().filter(|set| self.owns_set(family, &set.name)).count();
        let processed = self.counters.iter().find(|counter| counter.name == names::PROCESSED);
        // The stock bouncer and earlier releases give the counter no comment, so it is unknown whether they made the
        // table: it counts as made by them.
        let unmarked = processed.filter(|counter| counter.comment.is_empty()).map_or(0, |_| 1);
        let counters = self.own_counters(family).count() + unmarked;
        let made = processed.is_none_or(|counter| counter.comment != MARK);
        // The kernel counts all objects of a table. If there are more than ours, the table stays.
        made && chains + sets > 0 && usize::try_from(self.objects) == Ok(chains + sets + counters)
    }
}

/// Bytes of an address in a set.
pub(crate) fn key_bytes(ip: IpFamily) -> u32 {
    match ip {
        IpFamily::V4 => 4,
        IpFamily::V6 => 16,
    }
}
