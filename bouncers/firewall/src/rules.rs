//! Builds the rules of each chain, as data. Pure.
//!
//! ```text
//!  crowdsec-chain-input         counter name processed                            every packet
//!                               iifname "lo" return                               loopback, chosen interfaces
//!                               ip saddr & 255.255.252.0 @….gate-22 jump ….source anything banned near it?
//!                               ip saddr & 255.252.0.0 @….gate-14 jump ….source.gate-14
//!  crowdsec-chain.source        ip saddr @….allow return                          never banned
//!                               ip saddr @….inner-32 jump ….source.inner-32       a banned host?
//!                               ip saddr & 255.255.255.0 @….inner-24 jump ….source.inner-24
//!  crowdsec-chain.source.inner-32
//!                               ip saddr @crowdsec-blacklists-CAPI counter name … goto ….deny
//!  crowdsec-chain.source.inner-24
//!                               counter name ip saddr & 255.255.255.0 map @….ranges-24 goto ….deny
//!  crowdsec-chain.deny          limit rate 10/second log prefix "crowdsec drop: "
//!                               drop
//! ```
//!
//! A packet from an address in no cell of a gate passes the gates only, and one in no cell of an inner gate the inner
//! gates as well. Only behind these does the price grow with the number of sources and prefix lengths. A group of sets
//! without an inner gate is looked up where its inner gate would be.

use crate::clause::{Clause, Side};
use crate::config::{Config, Deny, DenyLog, Family, Hook, IpFamily, RejectWith};
use crate::gate;
use crate::layout::{Layout, Managed, full_length};
use crate::names;
use crate::target::SetId;

pub(crate) type Rule = Vec<Clause>;

/// The base chains, and the sides of a packet that each matches.
pub(crate) fn chains(config: &Config) -> Vec<(Hook, Vec<Side>)> {
    let mut chains: Vec<(Hook, Vec<Side>)> =
        config.hooks.iter().map(|hook| (*hook, vec![Side::Source])).collect();
    if config.block_outbound {
        for (hook, sides) in &mut chains {
            if matches!(hook, Hook::Forward | Hook::Output | Hook::Postrouting) {
                sides.push(Side::Destination);
            }
        }
        // Without an output chain nothing that this host sends would be looked at, whatever `nftables_hooks` lists.
        if !chains.iter().any(|(hook, _)| *hook == Hook::Output) {
            chains.push((Hook::Output, vec![Side::Destination]));
        }
    }
    chains
}

pub(crate) fn sides(config: &Config) -> Vec<Side> {
    let chains = chains(config);
    Side::ALL.into_iter().filter(|side| chains.iter().any(|(_, sides)| sides.contains(side))).collect()
}

/// The rules of a base chain: exemptions by interface, then the gates.
pub(crate) fn base_rules(
    config: &Config,
    ip: IpFamily,
    family: &Family,
    hook: Hook,
    sides: &[Side],
    (layout, managed): (&Layout, &Managed),
) -> Vec<Rule> {
    let mut rules = vec![mark()];
    let (incoming, outgoing) = match hook {
        Hook::Prerouting | Hook::Input => (true, false),
        Hook::Output | Hook::Postrouting => (false, true),
        Hook::Forward => (true, sides.contains(&Side::Destination)),
    };
    // Forwarded packets never use the loopback interface.
    let loopback = (hook != Hook::Forward).then_some("lo");
    for interface in loopback.into_iter().chain(config.allow.interfaces.iter().map(String::as_str)) {
        if incoming {
            rules.push(vec![Clause::ComesThrough(interface.to_owned()), Clause::Return]);
        }
        if outgoing {
            rules.push(vec![Clause::LeavesThrough(interface.to_owned()), Clause::Return]);
        }
    }
    for side in sides {
        if let Some((width, gate)) = managed.front {
            let near = Clause::In(side.bits(ip, width), layout.target(gate).name.clone());
            rules.push(vec![near, Clause::Jump(names::front_chain(family, side.as_str()))]);
        }
        // Gates wider than the front gate have no cells in it.
        rules.extend(gate_rules(ip, family, *side, (layout, managed), false));
    }
    rules
}

/// The rules that look into the gates: those behind the front gate, or the others.
fn gate_rules(
    ip: IpFamily,
    family: &Family,
    side: Side,
    (layout, managed): (&Layout, &Managed),
    behind_front: bool,
) -> impl Iterator<Item = Rule> {
    let front = managed.front.map(|(width, _)| width);
    // Narrow gates first, so that an address is denied, and counted, by its longest prefix.
    let gates = managed.gates.iter().rev();
    let gates = gates.filter(move |(width, _)| front.is_some_and(|front| **width >= front) == behind_front);
    gates.map(move |(width, gate)| {
        let near = Clause::In(side.bits(ip, *width), layout.target(*gate).name.clone());
        // An unrefined gate leads to every set: the kernel may hold elements whose cells are in other gates.
        let chain = if managed.is_refined && *width != gate::main_width(ip) {
            names::gate_chain(family, side.as_str(), *width)
        } else {
            names::side_chain(family, side.as_str())
        };
        vec![near, Clause::Jump(chain)]
    })
}

/// The chains that find out whether one side of a packet is banned, by name: those behind inner gates, those behind
/// gates, and the one behind the front gate, each after those that it goes to.
pub(crate) fn side_chains(
    ip: IpFamily,
    family: &Family,
    side: Side,
    (layout, managed): (&Layout, &Managed),
) -> Vec<(String, Vec<Rule>)> {
    let deny = || Clause::Goto(names::deny_chain(family));
    let name = |set| layout.target(set).name.clone();
    // In the chains behind the gates, where few packets come, and not ahead of them, where each would pay for it.
    let allow =
        || managed.allow.map(|set| vec![Clause::In(side.whole(), name(set)), Clause::Return]).into_iter();
    // The map is the match and the counter at once: the rule ends if the key is missing.
    let ranges = |(length, map)| vec![Clause::CountIn(side.bits(ip, length), name(map)), deny()];
    let hosts = managed.host_sources().into_iter().map(|source| {
        let hosts = layout.counter(source).to_owned();
        vec![Clause::In(side.whole(), hosts.clone()), Clause::Count(hosts), deny()]
    });
    let (full, main) = (full_length(ip), gate::main_width(ip));

    // By inner gate: its chain, and the rules in it.
    let mut inner: Vec<(SetId, String, Vec<Rule>)> = Vec::new();
    let mut rules: Vec<Rule> = allow().collect();
    let mut behind = |gate: Option<(u8, SetId)>, rule: Rule| match gate {
        None => rules.push(rule),
        Some((width, set)) => match inner.iter_mut().find(|(of, ..)| *of == set) {
            Some((.., behind)) => behind.push(rule),
            None => {
                let chain = names::inner_chain(family, side.as_str(), width);
                rules.push(vec![Clause::In(side.bits(ip, width), name(set)), Clause::Jump(chain.clone())]);
                inner.push((set, chain, vec![rule]));
            }
        },
    };
    let of_hosts = managed.inner.get(&full).map(|set| (full, *set));
    hosts.for_each(|rule| behind(of_hosts, rule));
    for (length, map) in managed.ranges.iter().rev().map(|(length, map)| (*length, *map)) {
        if !managed.is_refined || managed.guarded_by(main).any(|(of, _)| of == length) {
            behind(managed.inner_gate(length), ranges((length, map)));
        }
    }
    let wider = managed.gates.keys().filter(|width| managed.is_refined && **width != main);
    let wider = wider.map(|width| {
        let chain = names::gate_chain(family, side.as_str(), *width);
        (chain, allow().chain(managed.guarded_by(*width).map(ranges)).collect())
    });
    let main = (names::side_chain(family, side.as_str()), rules);
    let front = managed.front.map(|_| {
        let rules = gate_rules(ip, family, side, (layout, managed), true).collect();
        (names::front_chain(family, side.as_str()), rules)
    });
    let inner = inner.into_iter().map(|(_, chain, rules)| (chain, rules));
    inner.chain([main]).chain(wider).chain(front).collect()
}

/// The rules of the chain that denies.
pub(crate) fn deny_rules(config: &Config, ip: IpFamily) -> Vec<Rule> {
    // A rule of its own: in the rule of the verdict, packets above the limit would not be denied.
    let log = config.log.as_ref().map(logging);
    let verdicts = verdicts(config.deny, ip).into_iter();
    log.into_iter()
        .chain(verdicts.map(|(extra, verdict)| extra.into_iter().chain([verdict]).collect()))
        .collect()
}

/// The first rule of every base chain of ours, and of the stock bouncer's since it counts.
pub(crate) fn mark() -> Rule {
    vec![Clause::Count(names::PROCESSED.to_owned())]
}

fn logging(log: &DenyLog) -> Rule {
    let line = Clause::Log { prefix: log.prefix.clone(), group: log.group };
    log.rate.map(Clause::Limit).into_iter().chain([line]).collect()
}

/// The verdict, or several with what they apply to in addition.
fn verdicts(deny: Deny, ip: IpFamily) -> Vec<(Option<Clause>, Clause)> {
    let by_family = |v4: u8, v6: u8| {
        let code = match ip {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        };
        (None, Clause::Unreachable(code))
    };
    match deny {
        Deny::Drop => vec![(None, Clause::Drop)],
        // The stock bouncer sends code 3 in both families, which in IPv6 is "address unreachable".
        Deny::Reject(RejectWith::Stock) => vec![by_family(3, 3)],
        Deny::Reject(RejectWith::PortUnreachable) => vec![by_family(3, 4)],
        Deny::Reject(RejectWith::AdminProhibited) => vec![by_family(13, 1)],
        Deny::Reject(RejectWith::HostUnreachable) => vec![by_family(1, 3)],
        // A reset fits TCP only; everything else gets "port unreachable".
        Deny::Reject(RejectWith::TcpReset) => vec![(Some(Clause::IsTcp), Clause::Reset), by_family(3, 4)],
    }
}
