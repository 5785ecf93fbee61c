//! Tables, chains, sets, counters and rules of a managed family: what is wanted, as data, and the commands that
//! make of what is found what is wanted.

use nftables::schema::{self, NfCmd, NfListObject, NfObject, SetFlag, SetType, SetTypeValue};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use crate::config::{Config, Family, Hook, IpFamily};
use crate::found::{Found, FoundChain, FoundSet};
use crate::layout::{FamilyLayout, Layout, Purpose};
use crate::names;
use crate::rules::{self, Rule, SourceNames};

/// The objects of one managed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Structure {
    ip: IpFamily,
    table: String,
    counters: Vec<String>,
    sets: Vec<FoundSet>,
    chains: Vec<WantedChain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct WantedChain {
    name: String,
    hook: Hook,
    priority: i32,
    rules: Vec<Rule>,
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
            sets: sets().map(|(_, target)| FoundSet::new(ip, target.name.clone(), target.dialect)).collect(),
            chains: chains.collect(),
        }
    }

    /// What would be found if exactly this stood in the kernel.
    pub(crate) fn as_found(&self) -> Found {
        let rules = |chain: &WantedChain| {
            let name = chain.name.clone();
            chain.rules.clone().into_iter().map(move |rule| (name.clone(), Some(rule)))
        };
        Found {
            table: true,
            dormant: false,
            counters: self.counters.clone(),
            sets: self.sets.clone(),
            chains: self.chains.iter().map(WantedChain::as_found).collect(),
            rules: self.chains.iter().flat_map(rules).collect(),
        }
    }

    /// The commands that make the found objects the wanted ones, to be run as one transaction. None when all is
    /// as it should be. What is not ours in the table, and what [`Structure::leftovers`] takes away, stays.
    pub(crate) fn changes(&self, found: &Found) -> Vec<NfObject<'static>> {
        let mut commands = Vec::new();
        if !found.table || found.dormant {
            // (Adding it without flags wakes a dormant table.)
            commands.push(add(NfListObject::Table(self.table())));
        }
        for name in self.counters.iter().filter(|name| !found.counters.contains(name)) {
            commands.push(add(NfListObject::Counter(schema::Counter {
                family: nf_family(self.ip),
                table: self.table.clone().into(),
                name: name.clone().into(),
                ..Default::default()
            })));
        }
        let is_wrong = |set: &FoundSet| found.sets.iter().any(|is| is.name == set.name && is != set);
        let remake = self.sets.iter().any(is_wrong);
        if remake {
            // A set that rules use cannot go: empty every chain first, and fill them again below.
            commands.extend(found.chains.iter().map(|chain| self.flush_chain(&chain.name)));
        }
        for set in &self.sets {
            if is_wrong(set) {
                commands.push(delete(self.set(set)));
            }
            if is_wrong(set) || !found.sets.iter().any(|is| is.name == set.name) {
                commands.push(add(self.set(set)));
            }
        }
        for chain in &self.chains {
            commands.extend(self.chain_changes(chain, found, remake));
        }
        commands
    }

    fn chain_changes(&self, wanted: &WantedChain, found: &Found, flushed: bool) -> Vec<NfObject<'static>> {
        let mut commands = Vec::new();
        let mut standing = 0;
        match found.chains.iter().find(|chain| chain.name == wanted.name) {
            None => commands.push(add(NfListObject::Chain(self.base_chain(wanted)))),
            Some(is) if *is != wanted.as_found() => {
                // Neither hook nor priority can be changed in place. In one transaction no packet slips by.
                commands.push(self.flush_chain(&wanted.name));
                commands.push(delete(NfListObject::Chain(self.chain(&wanted.name))));
                commands.push(add(NfListObject::Chain(self.base_chain(wanted))));
            }
            Some(_) if flushed => {}
            Some(_) => {
                let rules: Vec<_> = found.rules.iter().filter(|(chain, _)| *chain == wanted.name).collect();
                let alike = rules.len() <= wanted.rules.len()
                    && rules.iter().zip(&wanted.rules).all(|((_, is), like)| is.as_ref() == Some(like));
                if alike {
                    standing = rules.len();
                } else {
                    commands.push(self.flush_chain(&wanted.name));
                }
            }
        }
        commands.extend(wanted.rules[standing..].iter().map(|rule| {
            add(NfListObject::Rule(schema::Rule {
                family: nf_family(self.ip),
                table: self.table.clone().into(),
                chain: wanted.name.clone().into(),
                expr: rule.iter().map(|clause| clause.statement(self.ip)).collect(),
                ..Default::default()
            }))
        }));
        commands
    }

    /// The commands that take away what earlier versions, other settings or the stock bouncer left in the table:
    /// chains and sets that are ours by name or by content, and not wanted. To be run when everything wanted is in
    /// force.
    pub(crate) fn leftovers(&self, family: &Family, found: &Found) -> Vec<NfObject<'static>> {
        let mark = rules::mark();
        let is_marked = |name: &str| {
            let first =
                found.rules.iter().find(|(chain, _)| chain == name).and_then(|(_, rule)| rule.as_ref());
            first == Some(&mark)
        };
        let stale_chain = |name: &str| {
            let ours = name == family.chain
                || Hook::ALL.iter().any(|hook| name == names::chain(family, *hook))
                || is_marked(name);
            ours && !self.chains.iter().any(|chain| chain.name == name)
        };
        // Every host set of ours and of the stock bouncer has a counter of the same name.
        let stale_set = |name: &str| {
            let host_set = name.replacen(".ranges-", "-", 1);
            let ours =
                name == family.set || name == names::allow_set(family) || found.counters.contains(&host_set);
            ours && !self.sets.iter().any(|set| set.name == name)
        };
        let mut commands = Vec::new();
        for chain in found.chains.iter().filter(|chain| stale_chain(&chain.name)) {
            commands.push(self.flush_chain(&chain.name));
            commands.push(delete(NfListObject::Chain(self.chain(&chain.name))));
        }
        commands
            .extend(found.sets.iter().filter(|set| stale_set(&set.name)).map(|set| delete(self.set(set))));
        commands
    }

    fn table(&self) -> schema::Table<'static> {
        schema::Table { family: nf_family(self.ip), name: self.table.clone().into(), handle: None }
    }

    fn set(&self, set: &FoundSet) -> NfListObject<'static> {
        let flags = [(set.is_interval(), SetFlag::Interval), (set.has_timeout(), SetFlag::Timeout)];
        NfListObject::Set(Box::new(schema::Set {
            family: nf_family(self.ip),
            table: self.table.clone().into(),
            name: set.name.clone().into(),
            set_type: SetTypeValue::Single(match self.ip {
                IpFamily::V4 => SetType::Ipv4Addr,
                IpFamily::V6 => SetType::Ipv6Addr,
            }),
            flags: Some(flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).collect()),
            ..Default::default()
        }))
    }

    fn chain(&self, name: &str) -> schema::Chain<'static> {
        schema::Chain {
            family: nf_family(self.ip),
            table: self.table.clone().into(),
            name: name.to_owned().into(),
            ..Default::default()
        }
    }

    fn base_chain(&self, chain: &WantedChain) -> schema::Chain<'static> {
        schema::Chain {
            _type: Some(NfChainType::Filter),
            hook: Some(nf_hook(chain.hook)),
            prio: Some(chain.priority),
            policy: Some(NfChainPolicy::Accept),
            ..self.chain(&chain.name)
        }
    }

    fn flush_chain(&self, name: &str) -> NfObject<'static> {
        NfObject::CmdObject(NfCmd::Flush(schema::FlushObject::Chain(self.chain(name))))
    }
}

impl WantedChain {
    fn as_found(&self) -> FoundChain {
        FoundChain::base(self.name.clone(), self.hook, self.priority)
    }
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
