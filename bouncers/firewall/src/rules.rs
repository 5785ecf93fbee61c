//! The rules of a chain, as data.
//!
//! ```text
//!  counter name processed                             every packet
//!  iifname "lo" return                                loopback and chosen interfaces
//!  ip saddr @crowdsec-blacklists.allow return         chosen addresses, the LAPI's own
//!  ip saddr @crowdsec-blacklists-CAPI limit rate 10/second log prefix "crowdsec drop: "
//!  ip saddr @crowdsec-blacklists-CAPI counter name crowdsec-blacklists-CAPI drop
//!  ip saddr @crowdsec-blacklists.ranges-CAPI counter name crowdsec-blacklists-CAPI drop
//! ```

use crate::clause::{Clause, Side};
use crate::config::{Config, Deny, DenyLog, Hook, IpFamily, RejectWith};
use crate::names;

/// A rule.
pub(crate) type Rule = Vec<Clause>;

/// The sets of one source; its counter is named as the host set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceNames<'a> {
    /// Its hash set.
    pub(crate) hosts: &'a str,
    /// Its interval set.
    pub(crate) ranges: &'a str,
}

/// Which chains there are, and what each matches.
pub(crate) fn chains(config: &Config) -> Vec<(Hook, Vec<Side>)> {
    let mut chains: Vec<(Hook, Vec<Side>)> =
        config.hooks.iter().map(|hook| (*hook, vec![Side::Source])).collect();
    if config.block_outbound {
        for (hook, sides) in &mut chains {
            if matches!(hook, Hook::Forward | Hook::Output | Hook::Postrouting) {
                sides.push(Side::Destination);
            }
        }
        if !chains.iter().any(|(hook, _)| *hook == Hook::Output) {
            chains.push((Hook::Output, vec![Side::Destination]));
        }
    }
    chains
}

/// The rules of one chain: what is let through, then what each source denies.
pub(crate) fn rules(
    config: &Config,
    ip: IpFamily,
    hook: Hook,
    sides: &[Side],
    allow: Option<&str>,
    sources: &[SourceNames<'_>],
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
        rules.extend(allow.map(|set| vec![Clause::In(*side, set.to_owned()), Clause::Return]));
    }
    for source in sources {
        for side in sides {
            for set in [source.hosts, source.ranges] {
                let matched = Clause::In(*side, set.to_owned());
                if let Some(log) = &config.log {
                    // A rule of its own, so that its limit never decides about the verdict.
                    rules.push([vec![matched.clone()], logging(log)].concat());
                }
                for (extra, verdict) in verdicts(config.deny, ip) {
                    let count = Clause::Count(source.hosts.to_owned());
                    rules.push(
                        [Some(matched.clone()), extra, Some(count), Some(verdict)]
                            .into_iter()
                            .flatten()
                            .collect(),
                    );
                }
            }
        }
    }
    rules
}

/// The rule that every chain of ours begins with, and every one of the stock bouncer since it counts.
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
        Deny::Reject(RejectWith::Stock) => vec![by_family(3, 3)],
        Deny::Reject(RejectWith::PortUnreachable) => vec![by_family(3, 4)],
        Deny::Reject(RejectWith::AdminProhibited) => vec![by_family(13, 1)],
        Deny::Reject(RejectWith::HostUnreachable) => vec![by_family(1, 3)],
        Deny::Reject(RejectWith::TcpReset) => vec![(Some(Clause::IsTcp), Clause::Reset), by_family(3, 4)],
    }
}
