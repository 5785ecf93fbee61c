//! Formats chains, rules and verdicts. Pure.

use std::time::Duration;

use palisade_wire::GoDuration;

use super::evaluate::{Doubt, Outcome, Place};
use super::ruleset::{Chain, Expression};
use crate::netlink::nfproto;

pub(super) fn looks_at(expressions: &[Expression], name: &str) -> bool {
    expressions.iter().any(|expression| matches!(expression, Expression::Lookup { set, .. } if set == name))
}

pub(super) fn verdict_of(chain: &Chain, outcome: &Outcome) -> String {
    let by = match &outcome.by {
        Some(Place { chain: name, handle }) if *name == chain.name => {
            format!("rule {handle} of {}", title(chain))
        }
        Some(Place { chain: name, handle }) => {
            format!("rule {handle} of {} {} {name}", family_name(chain.family), chain.table)
        }
        None => format!("policy of {}", title(chain)),
    };
    let cut_off = if outcome.cut_off { "; it has too many rules to look at all" } else { "" };
    format!("{}: {by}{cut_off}", outcome.verdict)
}

pub(super) fn doubt_of(chain: &Chain, doubt: &Doubt) -> String {
    let (handle, name) = (doubt.place.handle, &doubt.place.chain);
    format!("rule {handle} of {} {} {name}: {}", family_name(chain.family), chain.table, doubt.verdict)
}

/// Family, table and name of a chain.
pub(super) fn title(chain: &Chain) -> String {
    format!("{} {} {}", family_name(chain.family), chain.table, chain.name)
}

pub(super) fn family_name(number: u8) -> &'static str {
    match number {
        nfproto::INET => "inet",
        nfproto::IPV6 => "ip6",
        _ => "ip",
    }
}

pub(super) fn left(left: Option<Duration>) -> String {
    let rounded = left.map(|left| GoDuration::from(Duration::from_secs(left.as_secs())));
    rounded.map_or_else(String::new, |left| format!(", {left} left"))
}
