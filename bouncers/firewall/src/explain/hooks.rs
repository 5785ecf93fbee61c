//! Evaluates each hook that has a chain of ours, or rules that look at the operator's set. Pure.

use std::collections::HashSet;

use super::arguments::Protocol;
use super::evaluate::{Outcome, Step, base_chain};
use super::packet::Packet;
use super::report::{ChainReport, HookReport};
use super::reporter::{Own, Reporter};
use super::ruleset::{Chain, Expression, Verdict};
use super::words::{doubt_of, family_name, looks_at, title, verdict_of};
use crate::clause::Side;
use crate::config::{Family, Hook};
use crate::layout::nfproto_of;
use crate::names::{self, Holds};
use crate::rules;

/// Number of chains in the report of one hook.
const CHAINS: usize = 32;
/// Number of rules in the report of one chain.
pub(super) const RULES: usize = 32;

impl<'a> Reporter<'a> {
    /// The hooks to report, and which side of a packet has the address there.
    pub(super) fn hooks(&self, family: Option<&Family>) -> Vec<(Hook, Side)> {
        let mut hooks: Vec<(Hook, Side)> = match family {
            None => Vec::new(),
            Some(family) if family.set_only => {
                let looking = |hook: &Hook| self.looks_at_set(family, *hook);
                Hook::ALL.into_iter().filter(looking).map(|hook| (hook, usual_side(hook))).collect()
            }
            Some(_) => {
                let chains = rules::chains(&self.enforcer_config.config).into_iter();
                chains.flat_map(|(hook, sides)| sides.into_iter().map(move |side| (hook, side))).collect()
            }
        };
        // A packet dropped before routing never reaches the other hooks.
        let before = (Hook::Prerouting, Side::Source);
        let incoming = hooks.iter().any(|(hook, side)| *side == Side::Source && *hook != Hook::Output);
        if incoming && !hooks.contains(&before) && self.attached(Hook::Prerouting).next().is_some() {
            hooks.insert(0, before);
        }
        hooks
    }

    /// The base chains at a hook, unordered.
    fn attached(&self, hook: Hook) -> impl Iterator<Item = &'a Chain> + use<'a> {
        let chains = self.ruleset.chains.iter();
        chains.filter(move |chain| chain.base.as_ref().is_some_and(|base| base.hook == number(hook)))
    }

    /// Whether rules at a hook look up the operator's set.
    fn looks_at_set(&self, family: &Family, hook: Hook) -> bool {
        let Some((number, table, set)) = self.operators_set(family) else { return false };
        let in_table = |chain: &&Chain| chain.family == number && chain.table == table;
        // Chains may be reached over several jumps, so each is visited once.
        let mut reached: HashSet<&str> = HashSet::new();
        let mut open: Vec<&Chain> = self.attached(hook).filter(in_table).collect();
        while let Some(chain) = open.pop() {
            if !reached.insert(&chain.name) {
                continue;
            }
            for rule in &chain.rules {
                if looks_at(&rule.expressions, &set) {
                    return true;
                }
                let targets = rule.expressions.iter().filter_map(|expression| match expression {
                    Expression::Verdict(Verdict::Jump(name) | Verdict::Goto(name)) => Some(name),
                    _ => None,
                });
                let chains = self.ruleset.chains.iter().filter(in_table);
                let targets: HashSet<&String> = targets.collect();
                open.extend(chains.filter(|chain| targets.contains(&chain.name)));
            }
        }
        false
    }

    pub(super) fn hook(
        &mut self,
        family: Option<&Family>,
        hook: Hook,
        side: Side,
    ) -> (HookReport, Option<Own>) {
        let managed = family.filter(|family| !family.set_only);
        let own_name = managed
            .filter(|_| rules::chains(&self.enforcer_config.config).iter().any(|(of, _)| *of == hook))
            .map(|family| (family, names::chain(family, hook)));
        let port = self.packet.port.map(|(protocol, port)| (protocol_number(protocol), port));
        let packet = Packet::new(self.packet.source, side, port);
        let mut chains: Vec<&Chain> = self.attached(hook).collect();
        // The kernel's order. An `accept` ends one base chain only, a `drop` all of them.
        chains.sort_by_key(|chain| chain.base.as_ref().map(|base| base.priority));
        let mut report = HookReport {
            hook: hook.as_str(),
            side: side.as_str(),
            denied: false,
            verdict: "accept: no chain denies it".to_owned(),
            may_deny: Vec::new(),
            missing: None,
            chains: Vec::new(),
        };
        let mut own = None;
        for chain in chains {
            let outcome = base_chain(self.ruleset, self.sets, chain, &packet);
            let ours = own_name.as_ref().filter(|(family, name)| {
                chain.family == nfproto_of(self.ip) && chain.table == family.table && chain.name == *name
            });
            if let Some((family, _)) = ours {
                own = Some(self.own(family, hook, &outcome));
            }
            let reached = !report.denied;
            if reached {
                // A doubt ahead of a denial by the same chain changes nothing.
                let doubts = outcome.may_deny().filter(|_| !outcome.verdict.denies()).take(RULES);
                report.may_deny.extend(doubts.map(|doubt| doubt_of(chain, doubt)));
                if outcome.verdict.denies() {
                    report.denied = true;
                    report.verdict = verdict_of(chain, &outcome);
                }
            }
            // Ours and the one that denies are never left out.
            let shown = report.chains.len() < CHAINS || ours.is_some() || report.denied && reached;
            if shown {
                let of_interest = ours.map(|(family, _)| *family).or(family.filter(|family| family.set_only));
                let one = self.chain(of_interest, chain, &outcome, (ours.is_some(), reached));
                report.chains.push(one);
            }
        }
        report.may_deny.truncate(RULES);
        // A missing chain is the most important result: nothing is denied at this hook.
        if let (None, Some((family, name))) = (&own, own_name) {
            let why_not = self.absent(family, &name);
            report.missing = Some(why_not.clone());
            own = Some(Own { hook: hook.as_str(), denies: None, why_not });
        }
        (report, own)
    }

    /// Why a chain of ours is missing.
    fn absent(&self, family: &Family, chain: &str) -> String {
        let number = nfproto_of(self.ip);
        let table = format!("{} {}", family_name(number), family.table);
        let found = self.ruleset.tables.iter().find(|(of, name, _)| *of == number && *name == family.table);
        match found {
            None => format!("there is no table {table}"),
            Some((_, _, true)) => format!("table {table} is dormant"),
            Some(_) => format!("there is no chain {chain} in table {table} at this hook"),
        }
    }

    fn own(&self, family: &Family, hook: Hook, outcome: &Outcome) -> Own {
        let hits = outcome.steps.iter().flat_map(|step| &step.lookups);
        let hits = hits.filter_map(|looked| {
            let element = looked.element.as_ref()?;
            Some((names::holds(family, &looked.set)?, looked, element))
        });
        let (mut bans, mut near, mut allow) = (Vec::new(), false, None);
        for (holds, looked, element) in hits {
            match holds {
                Holds::Gate(_) | Holds::InnerGate(_) | Holds::FrontGate(_) => near = true,
                Holds::Allow => allow = Some(format!("{} has it", looked.set)),
                Holds::Hosts(_) | Holds::Ranges(_) | Holds::FormerRanges(_) => {
                    bans.push(self.banned(family, looked, element));
                }
            }
        }
        let why_not = allow.unwrap_or_else(|| {
            let reason =
                if near { "a gate has its cell, but no set of bans has it" } else { "no gate has its cell" };
            reason.to_owned()
        });
        let denies = outcome.verdict.denies().then(|| bans.join(", "));
        Own { hook: hook.as_str(), denies, why_not }
    }

    fn chain(
        &self,
        family: Option<&Family>,
        chain: &Chain,
        outcome: &Outcome,
        (ours, reached): (bool, bool),
    ) -> ChainReport {
        let texts = |step: &Step| family.and_then(|family| self.step(family, step));
        // Doubts that would deny are listed with the hook. One that lets a packet pass counts only where the chain
        // denies.
        let doubts =
            outcome.doubts.iter().filter(|doubt| outcome.verdict.denies() && !doubt.verdict.denies());
        ChainReport {
            chain: title(chain),
            priority: chain.base.as_ref().map_or(0, |base| base.priority),
            ours,
            denies: outcome.verdict.denies(),
            reached,
            verdict: verdict_of(chain, outcome),
            rules: outcome.steps.iter().filter_map(texts).take(RULES).collect(),
            doubts: doubts.take(RULES).map(|doubt| doubt_of(chain, doubt)).collect(),
        }
    }
}

fn usual_side(hook: Hook) -> Side {
    match hook {
        Hook::Prerouting | Hook::Input | Hook::Forward => Side::Source,
        Hook::Output | Hook::Postrouting => Side::Destination,
    }
}

/// The kernel's number of a hook.
fn number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}
