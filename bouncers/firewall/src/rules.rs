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

use nftables::expr::{Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField};
use nftables::stmt::{Counter, Limit, Log, Match, Operator, Reject, RejectType, Return, Statement};
use nftables::types::RejectCode;

use crate::config::{Config, Deny, DenyLog, Hook, IpFamily, RejectWith};
use crate::names;

/// What a packet is matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

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
) -> Vec<Vec<Statement<'static>>> {
    let mut rules = vec![vec![count(names::PROCESSED)]];
    let (incoming, outgoing) = match hook {
        Hook::Prerouting | Hook::Input => (true, false),
        Hook::Output | Hook::Postrouting => (false, true),
        Hook::Forward => (true, sides.contains(&Side::Destination)),
    };
    // Forwarded packets never use the loopback interface.
    let loopback = (hook != Hook::Forward).then_some("lo");
    for interface in loopback.into_iter().chain(config.allow.interfaces.iter().map(String::as_str)) {
        for (wanted, key) in [(incoming, MetaKey::Iifname), (outgoing, MetaKey::Oifname)] {
            if wanted {
                rules.push(vec![matches(meta(key), interface.to_owned()), pass()]);
            }
        }
    }
    for side in sides {
        rules.extend(allow.map(|set| vec![in_set(ip, *side, set), pass()]));
    }
    for source in sources {
        for side in sides {
            for set in [source.hosts, source.ranges] {
                if let Some(log) = &config.log {
                    // A rule of its own, so that its limit never decides about the verdict.
                    rules.push([vec![in_set(ip, *side, set)], logging(log)].concat());
                }
                for (extra, verdict) in verdicts(config.deny, ip) {
                    rules.push(
                        [vec![in_set(ip, *side, set)], extra, vec![count(source.hosts), verdict]].concat(),
                    );
                }
            }
        }
    }
    rules
}

fn logging(log: &DenyLog) -> Vec<Statement<'static>> {
    let limit = log.rate.map(|rate| {
        Statement::Limit(Limit {
            rate: rate.packets,
            rate_unit: None,
            per: Some(rate.per.as_str().into()),
            burst: Some(5),
            burst_unit: None,
            inv: None,
        })
    });
    let line = Log { prefix: Some(log.prefix.clone().into()), ..Log::new(log.group.map(u32::from)) };
    limit.into_iter().chain([Statement::Log(Some(line))]).collect()
}

/// The verdict, or several with what they apply to in addition.
fn verdicts(deny: Deny, ip: IpFamily) -> Vec<(Vec<Statement<'static>>, Statement<'static>)> {
    let icmp = |v4: RejectCode, v6: RejectCode| {
        let (kind, code) = match ip {
            IpFamily::V4 => (RejectType::ICMP, v4),
            IpFamily::V6 => (RejectType::ICMPv6, v6),
        };
        (Vec::new(), Statement::Reject(Some(Reject::new(Some(kind), Some(code)))))
    };
    match deny {
        Deny::Drop => vec![(Vec::new(), Statement::Drop(None))],
        Deny::Reject(RejectWith::Stock) => vec![icmp(RejectCode::PortUnreach, RejectCode::AddrUnreach)],
        Deny::Reject(RejectWith::PortUnreachable) => {
            vec![icmp(RejectCode::PortUnreach, RejectCode::PortUnreach)]
        }
        Deny::Reject(RejectWith::AdminProhibited) => {
            vec![icmp(RejectCode::AdminProhibited, RejectCode::AdminProhibited)]
        }
        Deny::Reject(RejectWith::HostUnreachable) => {
            vec![icmp(RejectCode::HostUnreach, RejectCode::AddrUnreach)]
        }
        Deny::Reject(RejectWith::TcpReset) => vec![
            (
                vec![matches(meta(MetaKey::L4proto), "tcp".to_owned())],
                Statement::Reject(Some(Reject::new(Some(RejectType::TCPReset), None))),
            ),
            icmp(RejectCode::PortUnreach, RejectCode::PortUnreach),
        ],
    }
}

fn in_set(ip: IpFamily, side: Side, set: &str) -> Statement<'static> {
    let protocol = match ip {
        IpFamily::V4 => "ip",
        IpFamily::V6 => "ip6",
    };
    let field = match side {
        Side::Source => "saddr",
        Side::Destination => "daddr",
    };
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    matches(NamedExpression::Payload(Payload::PayloadField(field)), format!("@{set}"))
}

fn meta(key: MetaKey) -> NamedExpression<'static> {
    NamedExpression::Meta(Meta { key })
}

fn matches(left: NamedExpression<'static>, right: String) -> Statement<'static> {
    Statement::Match(Match {
        left: Expression::Named(left),
        right: Expression::String(right.into()),
        op: Operator::EQ,
    })
}

fn count(counter: &str) -> Statement<'static> {
    Statement::Counter(Counter::Named(counter.to_owned().into()))
}

/// Out of our chain, on to whatever other rules the host has.
fn pass() -> Statement<'static> {
    Statement::Return(None::<Return>)
}
