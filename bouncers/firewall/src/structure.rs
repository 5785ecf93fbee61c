//! Tables, chains, sets, counters and rules of a managed family: what is wanted, as data, and how what is found
//! becomes that.

use nftables::schema::{self, NfCmd, NfListObject, NfObject, SetFlag, SetType, SetTypeValue};
use nftables::stmt::Statement;
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use crate::config::{Config, Family, Hook, IpFamily};
use crate::layout::{FamilyLayout, Layout, Purpose};
use crate::names;
use crate::rules::{self, SourceNames};

/// The objects of one managed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Structure {
    ip: IpFamily,
    table: String,
    counters: Vec<String>,
    sets: Vec<WantedSet>,
    chains: Vec<WantedChain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct WantedSet {
    name: String,
    interval: bool,
    timeout: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct WantedChain {
    name: String,
    hook: Hook,
    priority: i32,
    rules: Vec<Vec<Statement<'static>>>,
}

/// The objects of one table as `nft` lists them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    table: bool,
    counters: Vec<String>,
    sets: Vec<schema::Set<'static>>,
    chains: Vec<schema::Chain<'static>>,
    /// Chain and statements; `None` for statements we have no words for.
    rules: Vec<(String, Option<Vec<Statement<'static>>>)>,
}

impl Structure {
    /// What a managed family needs for the sources in its layout.
    pub(crate) fn wanted(config: &Config, ip: IpFamily, family: &Family, layout: &Layout) -> Self {
        let sets = || layout.targets().filter(|(_, target)| target.ip == ip);
        let hosts = || sets().filter(|(_, target)| target.purpose == Purpose::Hosts);
        let sources: Vec<_> = hosts()
            .filter_map(|(id, hosts)| {
                let FamilyLayout::Managed { sources, .. } = layout.part(ip) else { return None };
                let ranges = sources.values().find(|sets| sets.hosts == id)?.ranges;
                Some(SourceNames { hosts: &hosts.name, ranges: &layout.target(ranges).name })
            })
            .collect();
        let allow = match layout.part(ip) {
            FamilyLayout::Managed { allow: Some(set), .. } => Some(layout.target(*set).name.as_str()),
            _ => None,
        };
        let chains = rules::chains(config).into_iter().map(|(hook, sides)| WantedChain {
            name: names::chain(family, hook),
            hook,
            priority: family.priority,
            rules: rules::rules(config, ip, hook, &sides, allow, &sources),
        });
        let counters = hosts().map(|(_, target)| target.name.clone());
        Self {
            ip,
            table: family.table.clone(),
            counters: [names::PROCESSED.to_owned()].into_iter().chain(counters).collect(),
            sets: sets()
                .map(|(_, target)| WantedSet {
                    name: target.name.clone(),
                    interval: target.dialect.interval,
                    timeout: target.dialect.timeout,
                })
                .collect(),
            chains: chains.collect(),
        }
    }

    /// What would be found if exactly this stood in the kernel.
    pub(crate) fn as_found(&self) -> Found {
        Found {
            table: true,
            counters: self.counters.clone(),
            sets: self.sets.iter().map(|set| self.set(set)).collect(),
            chains: self.chains.iter().map(|chain| self.chain(chain)).collect(),
            rules: self
                .chains
                .iter()
                .flat_map(|chain| chain.rules.iter().map(|rule| (chain.name.clone(), Some(rule.clone()))))
                .collect(),
        }
    }

    /// The commands that make the found objects the wanted ones, to be run as one transaction. None when all is
    /// as it should be. What is not ours in the table, and what [`Structure::leftovers`] takes away, stays.
    pub(crate) fn changes(&self, found: &Found) -> Vec<NfObject<'static>> {
        let mut commands = Vec::new();
        if !found.table {
            commands.push(add(NfListObject::Table(schema::Table {
                family: nf_family(self.ip),
                name: self.table.clone().into(),
                handle: None,
            })));
        }
        for name in self.counters.iter().filter(|name| !found.counters.contains(name)) {
            commands.push(add(NfListObject::Counter(schema::Counter {
                family: nf_family(self.ip),
                table: self.table.clone().into(),
                name: name.clone().into(),
                ..Default::default()
            })));
        }
        let wrong: Vec<_> = self
            .sets
            .iter()
            .filter(|set| {
                let like = self.set(set);
                let same = |is: &schema::Set<'_>| is.set_type == like.set_type && is.flags == like.flags;
                found.sets.iter().any(|is| is.name == like.name && !same(is))
            })
            .map(|set| set.name.as_str())
            .collect();
        if !wrong.is_empty() {
            // A set that rules use cannot go: empty every chain first, and fill them again below.
            commands.extend(found.chains.iter().map(|chain| flush_chain(self.ip, &self.table, &chain.name)));
        }
        for set in &self.sets {
            let wrong = wrong.contains(&set.name.as_str());
            if wrong {
                commands.push(delete(NfListObject::Set(Box::new(self.set(set)))));
            }
            if wrong || !found.sets.iter().any(|is| is.name == set.name) {
                commands.push(add(NfListObject::Set(Box::new(self.set(set)))));
            }
        }
        for chain in &self.chains {
            commands.extend(self.chain_changes(chain, found, !wrong.is_empty()));
        }
        commands
    }

    fn chain_changes(&self, wanted: &WantedChain, found: &Found, flushed: bool) -> Vec<NfObject<'static>> {
        let mut commands = Vec::new();
        let mut standing = 0;
        let like = self.chain(wanted);
        match found.chains.iter().find(|chain| chain.name == wanted.name) {
            None => commands.push(add(NfListObject::Chain(like))),
            Some(is) if !same_chain(is, &like) => {
                // Neither hook nor priority can be changed in place. In one transaction no packet slips by.
                commands.push(flush_chain(self.ip, &self.table, &wanted.name));
                commands.push(delete(NfListObject::Chain(self.named_chain(&wanted.name))));
                commands.push(add(NfListObject::Chain(like)));
            }
            Some(_) if flushed => {}
            Some(_) => {
                let rules: Vec<_> = found.rules.iter().filter(|(chain, _)| *chain == wanted.name).collect();
                let alike = rules.len() <= wanted.rules.len()
                    && rules.iter().zip(&wanted.rules).all(|((_, is), like)| is.as_ref() == Some(like));
                if alike {
                    standing = rules.len();
                } else {
                    commands.push(flush_chain(self.ip, &self.table, &wanted.name));
                }
            }
        }
        commands.extend(wanted.rules[standing..].iter().map(|rule| {
            add(NfListObject::Rule(schema::Rule {
                family: nf_family(self.ip),
                table: self.table.clone().into(),
                chain: wanted.name.clone().into(),
                expr: rule.clone().into(),
                ..Default::default()
            }))
        }));
        commands
    }

    /// The commands that take away what earlier versions, other settings or the stock bouncer left in the table:
    /// chains and sets that are named like ours and not wanted. To be run when everything wanted is in force.
    pub(crate) fn leftovers(&self, family: &Family, found: &Found) -> Vec<NfObject<'static>> {
        let stale_chain = |name: &str| {
            let ours = name == family.chain
                || Hook::ALL.iter().any(|hook| name == names::chain(family, *hook))
                || name == format!("{}-ingress", family.chain);
            ours && !self.chains.iter().any(|chain| chain.name == name)
        };
        let stale_set = |name: &str| {
            let ours = name == family.set || name == names::allow_set(family);
            ours && !self.sets.iter().any(|set| set.name == name)
        };
        let mut commands = Vec::new();
        for chain in found.chains.iter().filter(|chain| stale_chain(&chain.name)) {
            commands.push(flush_chain(self.ip, &self.table, &chain.name));
            commands.push(delete(NfListObject::Chain(self.named_chain(&chain.name))));
        }
        for set in found.sets.iter().filter(|set| stale_set(&set.name)) {
            commands.push(delete(NfListObject::Set(Box::new(schema::Set { handle: None, ..set.clone() }))));
        }
        commands
    }

    fn set(&self, set: &WantedSet) -> schema::Set<'static> {
        let flags = [(set.interval, SetFlag::Interval), (set.timeout, SetFlag::Timeout)];
        schema::Set {
            family: nf_family(self.ip),
            table: self.table.clone().into(),
            name: set.name.clone().into(),
            set_type: SetTypeValue::Single(match self.ip {
                IpFamily::V4 => SetType::Ipv4Addr,
                IpFamily::V6 => SetType::Ipv6Addr,
            }),
            flags: Some(flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).collect()),
            ..Default::default()
        }
    }

    fn named_chain(&self, name: &str) -> schema::Chain<'static> {
        schema::Chain {
            family: nf_family(self.ip),
            table: self.table.clone().into(),
            name: name.to_owned().into(),
            ..Default::default()
        }
    }

    fn chain(&self, chain: &WantedChain) -> schema::Chain<'static> {
        schema::Chain {
            _type: Some(NfChainType::Filter),
            hook: Some(nf_hook(chain.hook)),
            prio: Some(chain.priority),
            policy: Some(NfChainPolicy::Accept),
            ..self.named_chain(&chain.name)
        }
    }
}

impl Found {
    /// Picks the objects of one table out of a listing.
    pub(crate) fn pick(objects: &[serde_json::Value], ip: IpFamily, table: &str) -> Self {
        let mut found = Self::default();
        let family = serde_json::to_value(nf_family(ip)).unwrap_or_default();
        for object in objects {
            let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else {
                continue;
            };
            let field = |name: &str| body.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
            let table_name = if kind == "table" { field("name") } else { field("table") };
            if body.get("family") != Some(&family) || table_name != table {
                continue;
            }
            // What this crate's types cannot read is certainly not as wanted: sets and chains of that kind are
            // left out, rules count as different.
            match kind.as_str() {
                "table" => found.table = true,
                "counter" => found.counters.push(field("name").to_owned()),
                "set" => found.sets.extend(serde_json::from_value::<schema::Set<'_>>(body.clone()).ok()),
                "chain" => {
                    found.chains.extend(serde_json::from_value::<schema::Chain<'_>>(body.clone()).ok())
                }
                "rule" => {
                    let statements = body.get("expr").cloned().unwrap_or_default();
                    found.rules.push((field("chain").to_owned(), serde_json::from_value(statements).ok()));
                }
                _ => {}
            }
        }
        found
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

fn same_chain(is: &schema::Chain<'_>, like: &schema::Chain<'_>) -> bool {
    is._type == like._type && is.hook == like.hook && is.prio == like.prio && is.policy == like.policy
}

fn flush_chain(ip: IpFamily, table: &str, name: &str) -> NfObject<'static> {
    NfObject::CmdObject(NfCmd::Flush(schema::FlushObject::Chain(schema::Chain {
        family: nf_family(ip),
        table: table.to_owned().into(),
        name: name.to_owned().into(),
        ..Default::default()
    })))
}

fn add(object: NfListObject<'static>) -> NfObject<'static> {
    NfObject::CmdObject(NfCmd::Add(object))
}

fn delete(object: NfListObject<'static>) -> NfObject<'static> {
    NfObject::CmdObject(NfCmd::Delete(object))
}

/// The command that takes a managed table away with everything in it.
pub(crate) fn delete_table(ip: IpFamily, table: &str) -> NfObject<'static> {
    delete(NfListObject::Table(schema::Table {
        family: nf_family(ip),
        name: table.to_owned().into(),
        handle: None,
    }))
}

fn nf_family(ip: IpFamily) -> NfFamily {
    match ip {
        IpFamily::V4 => NfFamily::IP,
        IpFamily::V6 => NfFamily::IP6,
    }
}

fn nf_hook(hook: Hook) -> NfHook {
    match hook {
        Hook::Prerouting => NfHook::Prerouting,
        Hook::Input => NfHook::Input,
        Hook::Forward => NfHook::Forward,
        Hook::Output => NfHook::Output,
        Hook::Postrouting => NfHook::Postrouting,
    }
}
