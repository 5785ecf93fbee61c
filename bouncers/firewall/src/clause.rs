//! Defines the parts of rules: written to `nft` as statements, read back from the kernel as expressions. Pure.
//!
//! Read back over netlink and not through `nft -j`: that reads foreign tables too, and release 1.0.6 prints garbage
//! as soon as one of them has a flag.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_bindings::nftables::{
    ExprOps, IterableExprBitwiseAttrs, IterableExprListAttrs, IterableExprMetaAttrs,
    IterableExprPayloadAttrs, IterableLogAttrs, IterableVerdictAttrs, MetaKeys,
};
use netlink_bindings::utils::find_attr;
use nftables::expr::{Expression, Meta, MetaKey, NamedExpression};
use nftables::stmt::{Counter, JumpTarget, Limit, Log, Match, Operator, Reject, RejectType, Statement};
use nftables::types::RejectCode;
use serde_json::{Value, json};

use crate::config::{IpFamily, LogRate, RatePeriod};
use crate::gate::truncate;

/// The attribute with the register for the result of a look-up.
// The bindings number it otherwise than the kernel.
const NFTA_LOOKUP_DREG: u16 = 3;

/// The burst of a limit that names none, as `nft` has it.
const BURST: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Clause {
    /// Count with a named counter.
    Count(String),
    /// Count within the rule: only stock release 0.0.25 does.
    CountHere,
    /// Continue if this side's prefix is in a map of counters, and count with the counter it names.
    CountIn(Prefix, String),
    /// Continue if the packet arrives at this interface; a trailing `*` matches any ending.
    ComesThrough(String),
    /// Continue if the packet leaves through this interface.
    LeavesThrough(String),
    /// Continue if it is TCP.
    IsTcp,
    /// Continue if this side's prefix is in a set.
    In(Prefix, String),
    /// Continue so many times per period.
    Limit(LogRate),
    /// Write to the kernel log, or to an nflog group.
    Log {
        /// Text in front.
        prefix: String,
        /// The nflog group.
        group: Option<u16>,
    },
    /// Deny with an ICMP or ICMPv6 "unreachable" of this code.
    Unreachable(u8),
    /// Deny with a TCP reset.
    Reset,
    /// Deny without a response.
    Drop,
    /// Leave the chain: the calling chain, or other rules of the host, decide.
    Return,
    /// Evaluate a chain, and continue here unless it decides.
    Jump(String),
    /// Continue in a chain, without return.
    Goto(String),
}

/// The first bits of one of a packet's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Which address.
    pub(crate) side: Side,
    /// How many bits; `None` for all of them.
    pub(crate) length: Option<u8>,
}

/// Which address of a packet is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

impl Side {
    /// All sides, in the order in which rules match them.
    pub(crate) const ALL: [Self; 2] = [Self::Source, Self::Destination];

    /// The name of this side in the names of chains.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// The whole address.
    pub(crate) fn whole(self) -> Prefix {
        Prefix { side: self, length: None }
    }

    /// Its first bits.
    pub(crate) fn bits(self, ip: IpFamily, length: u8) -> Prefix {
        // A mask of all bits is no mask: one spelling, so that a rule read back equals the one written.
        Prefix { side: self, length: (length < width(ip)).then_some(length) }
    }
}

fn width(ip: IpFamily) -> u8 {
    match ip {
        IpFamily::V4 => 32,
        IpFamily::V6 => 128,
    }
}

impl Prefix {
    /// As an expression of `nft`.
    fn expression(self, ip: IpFamily) -> Value {
        let (protocol, all) = match ip {
            IpFamily::V4 => ("ip", IpAddr::V4(Ipv4Addr::BROADCAST)),
            IpFamily::V6 => ("ip6", IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))),
        };
        let field = match self.side {
            Side::Source => "saddr",
            Side::Destination => "daddr",
        };
        let address = json!({"payload": {"protocol": protocol, "field": field}});
        match self.length {
            None => address,
            Some(length) => json!({"&": [address, truncate(all, length).to_string()]}),
        }
    }
}

impl Clause {
    /// As a statement of `nft`.
    pub(crate) fn statement(&self, ip: IpFamily) -> Value {
        let statement = match self {
            // The typed statements support neither masks nor maps of counters.
            Self::In(prefix, set) => {
                let (left, right) = (prefix.expression(ip), format!("@{set}"));
                return json!({"match": {"op": "==", "left": left, "right": right}});
            }
            Self::CountIn(prefix, map) => {
                let (key, data) = (prefix.expression(ip), format!("@{map}"));
                return json!({"counter": {"map": {"key": key, "data": data}}});
            }
            Self::Count(name) => Statement::Counter(Counter::Named(name.clone().into())),
            Self::CountHere => Statement::Counter(Counter::Anonymous(None)),
            Self::ComesThrough(name) => equals(meta(MetaKey::Iifname), name.clone()),
            Self::LeavesThrough(name) => equals(meta(MetaKey::Oifname), name.clone()),
            Self::IsTcp => equals(meta(MetaKey::L4proto), "tcp".to_owned()),
            Self::Limit(rate) => Statement::Limit(Limit {
                rate: rate.packets,
                rate_unit: None,
                per: Some(rate.per.as_str().into()),
                // Explicit, so that a rule read back equals the one written, whatever the default of this `nft` is.
                burst: Some(BURST),
                burst_unit: None,
                inv: None,
            }),
            Self::Log { prefix, group } => {
                let line = Log { prefix: Some(prefix.clone().into()), ..Log::new(group.map(u32::from)) };
                Statement::Log(Some(line))
            }
            Self::Unreachable(code) => {
                let kind = match ip {
                    IpFamily::V4 => RejectType::ICMP,
                    IpFamily::V6 => RejectType::ICMPv6,
                };
                Statement::Reject(Some(Reject::new(Some(kind), Some(reject_code(ip, *code)))))
            }
            Self::Reset => Statement::Reject(Some(Reject::new(Some(RejectType::TCPReset), None))),
            Self::Drop => Statement::Drop(None),
            Self::Return => Statement::Return(None),
            Self::Jump(chain) => Statement::Jump(JumpTarget { target: chain.clone().into() }),
            Self::Goto(chain) => Statement::Goto(JumpTarget { target: chain.clone().into() }),
        };
        serde_json::to_value(statement).expect("statements are made of strings and numbers only")
    }
}

fn meta(key: MetaKey) -> NamedExpression<'static> {
    NamedExpression::Meta(Meta { key })
}

fn equals(left: NamedExpression<'static>, right: String) -> Statement<'static> {
    Statement::Match(Match {
        left: Expression::Named(left),
        right: Expression::String(right.into()),
        op: Operator::EQ,
    })
}

/// The names in `nft` of the codes that `rules.rs` uses (RFC 792 and RFC 4443).
fn reject_code(ip: IpFamily, code: u8) -> RejectCode {
    match (ip, code) {
        (IpFamily::V4, 1) => RejectCode::HostUnreach,
        (IpFamily::V4, 13) | (IpFamily::V6, 1) => RejectCode::AdminProhibited,
        (IpFamily::V6, 3) => RejectCode::AddrUnreach,
        _ => RejectCode::PortUnreach,
    }
}

/// What the kernel has loaded into the register for the next comparison or look-up.
enum Loaded {
    Meta(u32),
    Prefix(Prefix),
}

/// Reads a rule from the kernel's expressions; `None` when it has one that our rules never have.
pub(crate) fn read(ip: IpFamily, expressions: &IterableExprListAttrs<'_>) -> Option<Vec<Clause>> {
    let mut clauses = Vec::new();
    // The kernel loads into a register first and compares or looks up next. The register itself is not checked: rules
    // of ours load one value at a time.
    let mut loaded = None;
    for expression in expressions.get_elem() {
        // The bindings do not decode limits.
        if expression.get_name().ok()? == c"limit" {
            clauses.push(Clause::Limit(limit(find_attr(expression.get_buf(), 2)?)?));
            continue;
        }
        match (expression.get_data().ok()?, loaded.take()) {
            (ExprOps::Meta(meta), None) => loaded = Some(load_meta(&meta)?),
            (ExprOps::Payload(payload), None) => {
                loaded = Some(Loaded::Prefix(load_side(ip, &payload)?.whole()))
            }
            (ExprOps::Bitwise(bitwise), Some(Loaded::Prefix(Prefix { side, length: None }))) => {
                loaded = Some(Loaded::Prefix(side.bits(ip, mask_length(ip, &bitwise)?)));
            }
            (ExprOps::Cmp(compare), Some(Loaded::Meta(key))) if compare.get_op().ok()? == 0 => {
                clauses.push(compared(key, compare.get_data().ok()?.get_value().ok()?)?);
            }
            (ExprOps::Lookup(lookup), Some(Loaded::Prefix(prefix))) => {
                // Verdict maps and negated look-ups (flag 1) are never ours.
                let makes_verdict = find_attr(lookup.get_buf(), NFTA_LOOKUP_DREG).is_some();
                if makes_verdict || lookup.get_flags().unwrap_or(0) != 0 {
                    return None;
                }
                clauses.push(Clause::In(prefix, lookup.get_set().ok()?.to_str().ok()?.to_owned()));
            }
            (ExprOps::Objref(object), Some(Loaded::Prefix(prefix))) => {
                clauses.push(Clause::CountIn(prefix, object.get_set_name().ok()?.to_str().ok()?.to_owned()));
            }
            (ExprOps::Objref(object), None) if object.get_imm_type().ok()? == 1 => {
                clauses.push(Clause::Count(object.get_imm_name().ok()?.to_str().ok()?.to_owned()));
            }
            (ExprOps::Counter(_), None) => clauses.push(Clause::CountHere),
            (ExprOps::Log(line), None) => clauses.push(log(&line)?),
            (ExprOps::Reject(reject), None) => clauses.push(match reject.get_type().ok()? {
                0 => Clause::Unreachable(reject.get_icmp_code().ok()?),
                1 => Clause::Reset,
                _ => return None,
            }),
            (ExprOps::Immediate(immediate), None) => {
                clauses.push(verdict(&immediate.get_data().ok()?.get_verdict().ok()?)?);
            }
            _ => return None,
        }
    }
    // A value that is loaded and not used belongs to an expression that was not understood.
    loaded.is_none().then_some(clauses)
}

fn load_meta(meta: &IterableExprMetaAttrs<'_>) -> Option<Loaded> {
    meta.get_dreg().ok()?;
    meta.get_key().ok().map(Loaded::Meta)
}

/// The address fields of the network header.
fn load_side(ip: IpFamily, payload: &IterableExprPayloadAttrs<'_>) -> Option<Side> {
    const NETWORK_HEADER: u32 = 1;
    payload.get_dreg().ok()?;
    if payload.get_base().ok()? != NETWORK_HEADER {
        return None;
    }
    let side = match (ip, payload.get_offset().ok()?, payload.get_len().ok()?) {
        (IpFamily::V4, 12, 4) | (IpFamily::V6, 8, 16) => Side::Source,
        (IpFamily::V4, 16, 4) | (IpFamily::V6, 24, 16) => Side::Destination,
        _ => return None,
    };
    Some(side)
}

/// How many bits a mask keeps, when it keeps the first ones and changes nothing else.
fn mask_length(ip: IpFamily, bitwise: &IterableExprBitwiseAttrs<'_>) -> Option<u8> {
    // Operation 0 is mask and xor.
    if bitwise.get_op().unwrap_or(0) != 0 {
        return None;
    }
    let mask = bitwise.get_mask().ok()?.get_value().ok()?;
    let xor = bitwise.get_xor().ok()?.get_value().ok()?;
    let length = mask.iter().map(|byte| byte.leading_ones()).take_while(|ones| *ones == 8).count() * 8;
    let rest = mask.get(length / 8).map_or(0, |byte| byte.leading_ones());
    let length = u8::try_from(length + rest as usize).ok()?;
    let kept: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let plain = mask.len() * 8 == usize::from(width(ip)) && kept == u32::from(length);
    (plain && xor.iter().all(|byte| *byte == 0)).then_some(length)
}

fn compared(key: u32, value: &[u8]) -> Option<Clause> {
    if key == MetaKeys::L4Proto as u32 {
        return (value == [6]).then_some(Clause::IsTcp);
    }
    let through = if key == MetaKeys::Iifname as u32 {
        Clause::ComesThrough
    } else if key == MetaKeys::Oifname as u32 {
        Clause::LeavesThrough
    } else {
        return None;
    };
    // The kernel compares as many bytes as the value has: a whole name includes its final zero, a wildcard does not.
    let (name, ending) = match value.iter().position(|byte| *byte == 0) {
        Some(end) => (&value[..end], ""),
        None => (value, "*"),
    };
    Some(through(format!("{}{ending}", std::str::from_utf8(name).ok()?)))
}

fn limit(data: &[u8]) -> Option<LogRate> {
    let long = |kind| Some(u64::from_be_bytes(*find_attr(data, kind)?.first_chunk()?));
    let word = |kind| Some(u32::from_be_bytes(*find_attr(data, kind)?.first_chunk()?));
    let (rate, unit, burst) = (long(1)?, long(2)?, word(3)?);
    // Type 0 counts packets; flag 1 inverts.
    if burst != BURST || word(4).unwrap_or(0) != 0 || word(5).unwrap_or(0) != 0 {
        return None;
    }
    let per = match unit {
        1 => RatePeriod::Second,
        60 => RatePeriod::Minute,
        3600 => RatePeriod::Hour,
        86_400 => RatePeriod::Day,
        _ => return None,
    };
    Some(LogRate { packets: u32::try_from(rate).ok()?, per })
}

fn log(line: &IterableLogAttrs<'_>) -> Option<Clause> {
    const WARNING: u32 = 4;
    let plain = line.get_level().unwrap_or(WARNING) == WARNING
        && line.get_flags().unwrap_or(0) == 0
        && line.get_snaplen().unwrap_or(0) == 0;
    let prefix = line.get_prefix().ok()?.to_str().ok()?.to_owned();
    plain.then(|| Clause::Log { prefix, group: line.get_group().ok() })
}

fn verdict(verdict: &IterableVerdictAttrs<'_>) -> Option<Clause> {
    let chain = || Some(verdict.get_chain().ok()?.to_str().ok()?.to_owned());
    // NF_DROP, NFT_JUMP, NFT_GOTO and NFT_RETURN.
    match verdict.get_code().ok()?.cast_signed() {
        0 => Some(Clause::Drop),
        -3 => chain().map(Clause::Jump),
        -4 => chain().map(Clause::Goto),
        -5 => Some(Clause::Return),
        _ => None,
    }
}
