//! Converts the kernel's expressions into steps of a rule. Pure.

use netlink_bindings::nftables::{
    CtKeys, ExprOps, IterableDataAttrs, IterableExprAttrs, IterableExprListAttrs, IterableVerdictAttrs,
    MetaKeys,
};
use netlink_bindings::utils::find_attr;

use super::ruleset::{Comparison, Content, Expression, Verdict};
use crate::netlink::text;

/// The attributes with the registers of a look-up.
// The bindings number them otherwise than the kernel.
const NFTA_LOOKUP_SREG: u16 = 2;
const NFTA_LOOKUP_DREG: u16 = 3;

pub(crate) fn expressions(list: Option<&IterableExprListAttrs<'_>>) -> Vec<Expression> {
    let elements = list.into_iter().flat_map(|list| list.get_elem());
    elements.map(|element| expression(&element)).collect()
}

/// Converts an expression; what is not understood becomes [`Expression::Opaque`].
fn expression(element: &IterableExprAttrs<'_>) -> Expression {
    let name = text(element.get_name().ok());
    let opaque = || Expression::Opaque(name.clone());
    match name.as_str() {
        "counter" | "log" | "last" | "notrack" | "dup" => return Expression::Neutral,
        // A translation ends the chain, and the packet goes on.
        "nat" | "masq" | "redir" => return Expression::Verdict(Verdict::Accept),
        "queue" | "synproxy" | "fwd" => return Expression::Verdict(Verdict::Other(name)),
        // These load something into a register that is not decoded here.
        "fib" | "rt" | "socket" | "numgen" | "hash" | "osf" | "xfrm" | "byteorder" | "exthdr" => {
            return Expression::Load(Content::Unknown(usize::MAX), 0);
        }
        _ => {}
    }
    let Ok(data) = element.get_data() else { return opaque() };
    known(&data).unwrap_or_else(opaque)
}

fn known(data: &ExprOps<'_>) -> Option<Expression> {
    Some(match data {
        ExprOps::Payload(payload) => {
            // Without a destination it writes into the packet.
            let Ok(register) = payload.get_dreg() else { return Some(Expression::Neutral) };
            let (offset, length) =
                (payload.get_offset().ok()? as usize, (payload.get_len().ok()? as usize).min(64));
            let content = match payload.get_base().ok()? {
                1 => Content::Network(offset, length),
                2 => Content::Transport(offset, length),
                _ => Content::Unknown(length),
            };
            Expression::Load(content, register)
        }
        ExprOps::Meta(meta) => {
            let Ok(register) = meta.get_dreg() else { return Some(Expression::Neutral) };
            let key = MetaKeys::from_value(meta.get_key().ok()?.into());
            let content = match key {
                Some(MetaKeys::Protocol) => Content::EtherType,
                Some(MetaKeys::Nfproto) => Content::Family,
                Some(MetaKeys::L4Proto) => Content::TransportProtocol,
                Some(MetaKeys::Iif | MetaKeys::Oif | MetaKeys::Iifname | MetaKeys::Oifname) => {
                    Content::Interface
                }
                _ => Content::Unknown(16),
            };
            Expression::Load(content, register)
        }
        ExprOps::Ct(ct) => {
            let Ok(register) = ct.get_dreg() else { return Some(Expression::Neutral) };
            let state = ct.get_key().ok()? == CtKeys::State as u32;
            Expression::Load(if state { Content::ConnectionState } else { Content::Unknown(16) }, register)
        }
        ExprOps::Bitwise(bits) => {
            let (from, to) = (bits.get_sreg().ok()?, bits.get_dreg().ok()?);
            // Shifts and operations on two registers are not evaluated.
            if bits.get_op().unwrap_or(0) != 0 {
                return Some(Expression::Load(Content::Unknown(16), to));
            }
            let (mask, xor) = (value(&bits.get_mask().ok()?)?, value(&bits.get_xor().ok()?)?);
            Expression::Bits { from, to, mask, xor }
        }
        ExprOps::Cmp(compare) => {
            let comparison = match compare.get_op().ok()? {
                0 => Comparison::Equal,
                1 => Comparison::NotEqual,
                2 => Comparison::Less,
                3 => Comparison::AtMost,
                4 => Comparison::Greater,
                5 => Comparison::AtLeast,
                _ => return None,
            };
            Expression::Compare(compare.get_sreg().ok()?, comparison, value(&compare.get_data().ok()?)?)
        }
        ExprOps::Range(range) => Expression::Range {
            register: range.get_sreg().ok()?,
            inside: range.get_op().ok()? == 0,
            from: value(&range.get_from_data().ok()?)?,
            to: value(&range.get_to_data().ok()?)?,
        },
        ExprOps::Lookup(lookup) => Expression::Lookup {
            set: text(lookup.get_set().ok()),
            register: number(lookup.get_buf(), NFTA_LOOKUP_SREG)?,
            inverted: lookup.get_flags().unwrap_or(0) & 1 != 0,
            result: number(lookup.get_buf(), NFTA_LOOKUP_DREG),
        },
        ExprOps::Objref(object) => match (object.get_set_name(), object.get_imm_type()) {
            (Ok(set), _) => Expression::Lookup {
                set: text(Some(set)),
                register: object.get_set_sreg().ok()?,
                inverted: false,
                result: None,
            },
            // A counter.
            (_, Ok(1)) => Expression::Neutral,
            _ => return None,
        },
        ExprOps::Immediate(immediate) => {
            let data = immediate.get_data().ok()?;
            match data.get_verdict() {
                Ok(attributes) => Expression::Verdict(verdict(&attributes)?),
                Err(_) => Expression::Load(Content::Constant(value(&data)?), immediate.get_dreg().ok()?),
            }
        }
        ExprOps::Reject(_) => Expression::Verdict(Verdict::Reject),
        // Extensions of iptables-nft are opaque structures, so only those without a condition are understood.
        ExprOps::Match(extension) => match text(extension.get_name().ok()).as_str() {
            "comment" => Expression::Neutral,
            other => Expression::Opaque(format!("match {other}")),
        },
        ExprOps::Target(extension) => match text(extension.get_name().ok()).as_str() {
            "REJECT" => Expression::Verdict(Verdict::Reject),
            "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" | "CT" | "SET" | "TRACE" => Expression::Neutral,
            "DNAT" | "SNAT" | "MASQUERADE" | "REDIRECT" => Expression::Verdict(Verdict::Accept),
            other => Expression::Verdict(Verdict::Other(format!("target {other}"))),
        },
        _ => return None,
    })
}

fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(*find_attr(attributes, kind)?.first_chunk()?))
}

fn value(data: &IterableDataAttrs<'_>) -> Option<Vec<u8>> {
    data.get_value().ok().map(<[u8]>::to_vec)
}

/// `NF_*` and `NFT_*` verdicts.
pub(super) fn verdict(attributes: &IterableVerdictAttrs<'_>) -> Option<Verdict> {
    let chain = || Some(text(Some(attributes.get_chain().ok()?)));
    Some(match attributes.get_code().ok()?.cast_signed() {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 => Verdict::Continue,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        code => Verdict::Other(format!("verdict {code}")),
    })
}
