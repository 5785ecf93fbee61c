//! Describes the tables, chains, sets, counters and rules that a managed family needs, and computes the commands that
//! change what was found into that. Pure.

use nftables::schema::{self, NfCmd, NfListObject, NfObject, SetFlag, SetType, SetTypeValue};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Value, json};

use crate::config::{Config, Family, Hook, IpFamily};
use crate::found::{Found, FoundChain, FoundCounter, FoundRule, FoundSet, MARK, TABLE_MARK};
use crate::layout::{FamilyLayout, Layout};
use crate::names;
use crate::nft::{Command, command};
use crate::rules::{self, Rule};

/// The objects of one managed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Structure {
    ip: IpFamily,
    family: Family,
    counters: Vec<String>,
    sets: Vec<FoundSet>,
    /// In an order in which each chain follows those that its rules jump to.
    chains: Vec<WantedChain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct WantedChain {
    name: String,
    /// Hook and priority of a base chain.
    base: Option<(Hook, i32)>,
    rules: Vec<Rule>,
}

/// A foreign object with the name of one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collision {
    /// `chain` or `set`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl Structure {
    /// The objects that a managed family needs for its layout.
    pub(crate) fn wanted(config: &Config, ip: IpFamily, family: &Family, layout: &Layout) -> Self {
        let FamilyLayout::Managed(managed) = layout.part(ip) else { return Self::empty(ip, family) };
        let sets = layout.targets().filter(|(_, target)| target.ip == ip);
        let sources = layout.sources().filter(|(_, source)| source.ip == ip);
        let counters = sources.map(|(id, _)| layout.counter(id).to_owned());
        let deny =
            WantedChain { name: names::deny_chain(family), base: None, rules: rules::deny_rules(config, ip) };
        let sides = rules::sides(config).into_iter();
        let sides = sides.flat_map(|side| rules::side_chains(ip, family, side, (layout, managed)));
        let sides = sides.map(|(name, rules)| WantedChain { name, base: None, rules });
        let hooks = rules::chains(config).into_iter().map(|(hook, sides)| WantedChain {
            name: names::chain(family, hook),
            base: Some((hook, family.priority)),
            rules: rules::base_rules(config, ip, family, hook, &sides, (layout, managed)),
        });
        Self {
            ip,
            family: family.clone(),
            counters: [names::PROCESSED.to_owned()].into_iter().chain(counters).collect(),
            sets: sets.map(|(_, target)| FoundSet::new(ip, target.name.clone(), target.dialect)).collect(),
            chains: [deny].into_iter().chain(sides).chain(hooks).collect(),
        }
    }

    /// No objects: everything of ours is removed.
    pub(crate) fn empty(ip: IpFamily, family: &Family) -> Self {
        let (counters, sets, chains) = (Vec::new(), Vec::new(), Vec::new());
        Self { ip, family: family.clone(), counters, sets, chains }
    }

    pub(crate) fn chain_names(&self) -> impl Iterator<Item = String> {
        self.chains.iter().map(|chain| chain.name.clone())
    }

    pub(crate) fn ip(&self) -> IpFamily {
        self.ip
    }

    /// What would be found if exactly this stood in the kernel.
    pub(crate) fn as_found(&self) -> Found {
        let rules = |chain: &WantedChain| {
            let name = chain.name.clone();
            let rules = chain.rules.clone().into_iter().enumerate();
            rules.map(move |(at, rule)| FoundRule { chain: name.clone(), rule: Some(rule), marked: at == 0 })
        };
        let counters = self.counters.iter().cloned();
        Found {
            table: true,
            dormant: false,
            objects: 0,
            counters: counters.map(|name| FoundCounter { name, comment: MARK.to_owned() }).collect(),
            sets: self.sets.clone(),
            chains: self.chains.iter().map(WantedChain::as_found).collect(),
            rules: self.chains.iter().flat_map(rules).collect(),
        }
    }

    /// The first foreign object that has the name of one of ours.
    pub(crate) fn collision(&self, found: &Found) -> Option<Collision> {
        let foreign_chain = |chain: &&FoundChain| {
            let wanted = self.chains.iter().find(|wanted| wanted.name == chain.name);
            // An empty chain with our properties loses nothing by being filled.
            let adoptable = |wanted: &WantedChain| {
                wanted.as_found() == **chain && found.rules_of(&chain.name).next().is_none()
            };
            wanted.is_some_and(|wanted| !adoptable(wanted)) && !found.owns_chain(&self.family, &chain.name)
        };
        // Also a name that a later source, prefix length or gate would need: the error must come at the start, and not
        // with the first decision of that source.
        let foreign_set = |set: &&FoundSet| {
            names::holds(&self.family, &set.name).is_some() && !found.owns_set(&self.family, &set.name)
        };
        let chain = found.chains.iter().find(foreign_chain).map(|chain| ("chain", &chain.name));
        let set = || found.sets.iter().find(foreign_set).map(|set| ("set", &set.name));
        chain.or_else(set).map(|(kind, name)| Collision { kind, name: name.clone() })
    }

    /// The commands that change the found objects into the wanted ones, as one transaction. Empty when there is nothing
    /// to change. Objects of others stay, and so do those that [`Structure::leftovers`] removes.
    pub(crate) fn changes(&self, found: &Found) -> Vec<Command> {
        let mut commands = self.containers(found);
        commands.extend(self.rule_changes(found));
        commands
    }

    /// The part of [`Structure::changes`] that changes no rule: table, counters and sets.
    pub(crate) fn additions(&self, found: &Found) -> Vec<Command> {
        // Sets that rules look up cannot be deleted, so these changes need the rules as well: see
        // [`Structure::must_remake`].
        if self.must_remake(found) { Vec::new() } else { self.containers(found) }
    }

    /// Whether a set of ours has other properties than it should, so that it must be replaced.
    pub(crate) fn must_remake(&self, found: &Found) -> bool {
        self.sets.iter().any(|set| is_wrong(set, found))
    }

    fn containers(&self, found: &Found) -> Vec<Command> {
        let mut commands = Vec::new();
        if !found.table || found.dormant {
            // Adding a table without flags wakes a dormant one.
            commands.push(add(NfListObject::Table(schema::Table {
                family: nf_family(self.ip),
                name: self.family.table.clone().into(),
                handle: None,
            })));
        }
        for name in &self.counters {
            if !found.counters.iter().any(|counter| counter.name == *name) {
                let made_table = !found.table && name == names::PROCESSED;
                // Existing counters are kept, so that their values survive a restart.
                commands.push(json!({"add": {"counter": {
                    "family": nf_family(self.ip),
                    "table": self.family.table,
                    "name": name,
                    "comment": if made_table { TABLE_MARK } else { MARK },
                }}}));
            }
        }
        if self.must_remake(found) {
            // The kernel refuses to delete a set that rules use: every chain of ours is emptied first, and filled again
            // by `rule_changes`.
            let ours = found.chains.iter().filter(|chain| found.owns_chain(&self.family, &chain.name));
            commands.extend(ours.map(|chain| self.flush_chain(&chain.name)));
        }
        for set in &self.sets {
            if is_wrong(set, found) {
                commands.push(self.delete_set(set));
            }
            if is_wrong(set, found) || !found.sets.iter().any(|is| is.name == set.name) {
                commands.push(self.add_set(set));
            }
        }
        commands
    }

    /// The part of [`Structure::changes`] that changes chains and rules.
    pub(crate) fn rule_changes(&self, found: &Found) -> Vec<Command> {
        let flushed = self.must_remake(found);
        let (mut chains, mut rules) = (Vec::new(), Vec::new());
        for wanted in &self.chains {
            let mut unchanged = 0;
            match found.chains.iter().find(|chain| chain.name == wanted.name) {
                None => chains.push(self.add_chain(wanted)),
                Some(is) if *is != wanted.as_found() => {
                    // Neither hook nor priority can be changed in place. As one transaction the replacement lets no
                    // packet pass.
                    chains.push(self.flush_chain(&wanted.name));
                    chains.push(self.delete_chain(&wanted.name));
                    chains.push(self.add_chain(wanted));
                }
                Some(_) if flushed => {}
                Some(_) => {
                    let is: Vec<_> = found.rules_of(&wanted.name).collect();
                    // If only rules at the end are missing they are appended, so that a new source does not rewrite the
                    // chain.
                    let alike = is.len() <= wanted.rules.len()
                        && is.iter().zip(&wanted.rules).all(|(is, like)| is.rule.as_ref() == Some(like))
                        && is.first().is_none_or(|first| first.marked);
                    if alike {
                        unchanged = is.len();
                    } else {
                        chains.push(self.flush_chain(&wanted.name));
                    }
                }
            }
            let missing = wanted.rules.iter().enumerate().skip(unchanged);
            rules.extend(missing.map(|(at, rule)| self.add_rule(&wanted.name, rule, at == 0)));
        }
        // A rule may jump to any of the chains, so all of them are made first.
        chains.extend(rules);
        chains
    }

    /// The commands that remove chains and sets of ours that are not wanted: of earlier releases, other settings or the
    /// stock bouncer. To be run when everything wanted is in force.
    pub(crate) fn leftovers(&self, found: &Found) -> Vec<Command> {
        let wanted_chain = |name: &str| self.chains.iter().any(|chain| chain.name == name);
        let wanted_set = |name: &str| self.sets.iter().any(|set| set.name == name);
        self.removal(found, &|name| !wanted_chain(name), &|name| !wanted_set(name))
    }

    /// The commands that remove everything of ours: the table as a whole when nothing else is in it.
    pub(crate) fn retirement(&self, found: &Found) -> Vec<Command> {
        if found.is_wholly_ours(&self.family) {
            return vec![delete(NfListObject::Table(schema::Table {
                family: nf_family(self.ip),
                name: self.family.table.clone().into(),
                handle: None,
            }))];
        }
        let mut commands = self.removal(found, &|_| true, &|_| true);
        commands.extend(found.own_counters(&self.family).map(|counter| {
            json!({"delete": {"counter": {
                "family": nf_family(self.ip), "table": self.family.table, "name": counter.name,
            }}})
        }));
        commands
    }

    fn removal(
        &self,
        found: &Found,
        chain_goes: &dyn Fn(&str) -> bool,
        set_goes: &dyn Fn(&str) -> bool,
    ) -> Vec<Command> {
        let chains = found.chains.iter().map(|chain| chain.name.as_str());
        let chains: Vec<_> =
            chains.filter(|name| chain_goes(name) && found.owns_chain(&self.family, name)).collect();
        let sets = found.sets.iter();
        let sets = sets.filter(|set| set_goes(&set.name) && found.owns_set(&self.family, &set.name));
        // Chains may jump to each other, and the kernel refuses to delete a chain that is jumped to: all are emptied
        // before the first is deleted.
        let mut commands: Vec<_> = chains.iter().map(|name| self.flush_chain(name)).collect();
        commands.extend(chains.iter().map(|name| self.delete_chain(name)));
        commands.extend(sets.map(|set| self.delete_set(set)));
        commands
    }

    fn add_set(&self, set: &FoundSet) -> Command {
        let kind = match self.ip {
            IpFamily::V4 => SetType::Ipv4Addr,
            IpFamily::V6 => SetType::Ipv6Addr,
        };
        if set.has_counters() {
            return json!({"add": {"map": {
                "family": nf_family(self.ip), "table": self.family.table, "name": set.name,
                "type": kind, "map": "counter", "flags": ["timeout"],
            }}});
        }
        let flags = [(set.is_interval(), SetFlag::Interval), (set.has_timeout(), SetFlag::Timeout)];
        add(NfListObject::Set(Box::new(schema::Set {
            family: nf_family(self.ip),
            table: self.family.table.clone().into(),
            name: set.name.clone().into(),
            set_type: SetTypeValue::Single(kind),
            flags: Some(flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).collect()),
            ..Default::default()
        })))
    }

    fn delete_set(&self, set: &FoundSet) -> Command {
        let kind = if set.has_counters() { "map" } else { "set" };
        json!({"delete": {kind: {
            "family": nf_family(self.ip), "table": self.family.table, "name": set.name,
        }}})
    }

    fn chain(&self, name: &str) -> schema::Chain<'static> {
        schema::Chain {
            family: nf_family(self.ip),
            table: self.family.table.clone().into(),
            name: name.to_owned().into(),
            ..Default::default()
        }
    }

    fn add_chain(&self, wanted: &WantedChain) -> Command {
        let chain = self.chain(&wanted.name);
        add(NfListObject::Chain(match wanted.base {
            None => chain,
            Some((hook, priority)) => schema::Chain {
                _type: Some(NfChainType::Filter),
                hook: Some(nf_hook(hook)),
                prio: Some(priority),
                policy: Some(NfChainPolicy::Accept),
                ..chain
            },
        }))
    }

    fn add_rule(&self, chain: &str, rule: &Rule, marked: bool) -> Command {
        let clauses: Vec<Value> = rule.iter().map(|clause| clause.statement(self.ip)).collect();
        let mut body = json!({
            "family": nf_family(self.ip), "table": self.family.table, "chain": chain, "expr": clauses,
        });
        if marked {
            body["comment"] = MARK.into();
        }
        json!({"add": {"rule": body}})
    }

    fn delete_chain(&self, name: &str) -> Command {
        delete(NfListObject::Chain(self.chain(name)))
    }

    fn flush_chain(&self, name: &str) -> Command {
        command(NfObject::CmdObject(NfCmd::Flush(schema::FlushObject::Chain(self.chain(name)))))
    }
}

impl WantedChain {
    fn as_found(&self) -> FoundChain {
        FoundChain::new(self.name.clone(), self.base)
    }
}

/// Whether a set of this name exists with other properties.
fn is_wrong(set: &FoundSet, found: &Found) -> bool {
    found.sets.iter().any(|is| is.name == set.name && is != set)
}

fn add(object: NfListObject<'static>) -> Command {
    command(NfObject::CmdObject(NfCmd::Add(object)))
}

fn delete(object: NfListObject<'static>) -> Command {
    command(NfObject::CmdObject(NfCmd::Delete(object)))
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
