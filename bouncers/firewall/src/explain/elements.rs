//! Describes sets and elements in a report: the operator's set, and what rules looked up. Pure.

use std::net::IpAddr;

use super::evaluate::{Element, Membership, SetLookup, Step};
use super::hooks::RULES;
use super::report::SetReport;
use super::reporter::Reporter;
use super::ruleset::{Expression, SetKey};
use super::words::{family_name, left, looks_at, title};
use crate::config::Family;
use crate::exempt;
use crate::gate::truncate;
use crate::layout::nfproto_of;
use crate::names::{self, Holds};
use crate::netlink::nfproto;

impl Reporter<'_> {
    /// The operator's set: in a table of the address family itself, else in an `inet` table.
    pub(super) fn operators_set(&self, family: &Family) -> Option<SetKey> {
        // In the same order as the enforcer.
        let keys = [nfproto_of(self.ip), nfproto::INET]
            .map(|number| (number, family.table.clone(), family.set.clone()));
        keys.into_iter().find(|key| self.ruleset.sets.contains_key(key))
    }

    pub(super) fn set(&mut self, family: &Family) -> (SetReport, Option<Element>) {
        let Some(key) = self.operators_set(family) else {
            let report = SetReport {
                set: format!("{} {}", family.table, family.set),
                holds: false,
                element: "there is no such set".to_owned(),
                rules: Vec::new(),
            };
            return (report, None);
        };
        let found = self.sets.find(&key, &octets(self.packet.source));
        let element = match &found {
            Membership::Has(element) if element.marked => {
                format!("it holds {}: put in by palisade", self.shown(element))
            }
            Membership::Has(element) => {
                format!("it holds {}: an element of the operator", self.shown(element))
            }
            Membership::Lacks => "it does not hold the address".to_owned(),
            Membership::Unknown => "its elements cannot be read".to_owned(),
        };
        let chains = self.ruleset.chains.iter().filter(|chain| chain.family == key.0 && chain.table == key.1);
        let rules = chains.flat_map(|chain| {
            let looking = chain.rules.iter().filter(|rule| looks_at(&rule.expressions, &key.2));
            looking.map(move |rule| {
                let verdict = rule.expressions.iter().rev().find_map(|expression| match expression {
                    Expression::Verdict(verdict) => Some(verdict.to_string()),
                    _ => None,
                });
                format!(
                    "rule {} of {}: {}",
                    rule.handle,
                    title(chain),
                    verdict.as_deref().unwrap_or("no verdict")
                )
            })
        });
        let report = SetReport {
            set: format!("{} {} {}", family_name(key.0), key.1, key.2),
            holds: matches!(found, Membership::Has(_)),
            element,
            rules: rules.take(RULES).collect(),
        };
        let element = match found {
            Membership::Has(element) => Some(element),
            Membership::Lacks | Membership::Unknown => None,
        };
        (report, element)
    }

    /// A rule that looked at a set of ours or at the operator's; `None` for those that add nothing.
    pub(super) fn step(&self, family: &Family, step: &Step) -> Option<String> {
        let texts: Vec<String> =
            step.lookups.iter().filter_map(|looked| self.lookup_text(family, looked)).collect();
        let verdict = step.verdict.as_ref().map(|verdict| format!(": {verdict}")).unwrap_or_default();
        (!texts.is_empty()).then(|| {
            format!("rule {} of {}: {}{verdict}", step.place.handle, step.place.chain, texts.join(", "))
        })
    }

    fn lookup_text(&self, family: &Family, looked: &SetLookup) -> Option<String> {
        let set = &looked.set;
        if family.set_only {
            let has = looked.element.as_ref().map(|element| format!("{set} has {}", self.shown(element)));
            return (*set == family.set).then(|| has.unwrap_or_else(|| format!("{set} does not have it")));
        }
        match (names::holds(family, set)?, &looked.element) {
            (Holds::Gate(width) | Holds::InnerGate(width) | Holds::FrontGate(width), found) => {
                let cell = format!("{}/{width}", truncate(self.packet.source, width));
                let has = if found.is_some() { "has" } else { "does not have" };
                Some(format!("{set} {has} its cell {cell}"))
            }
            (Holds::Allow, Some(element)) => {
                let reason = exempt::reason(self.enforcer_config, self.packet.source);
                let reason = reason.map_or("not exempt by the configuration file", |reason| reason.as_str());
                Some(format!("{set} has {} ({reason})", self.shown(element)))
            }
            (_, Some(element)) => Some(self.banned(family, looked, element)),
            // An address is missing in nearly every set of bans.
            (_, None) => None,
        }
    }

    pub(super) fn banned(&self, family: &Family, looked: &SetLookup, element: &Element) -> String {
        let set = &looked.set;
        // A map of ranges serves all sources: the source is known by the counter that the element names.
        let (length, counter) = match names::holds(family, set) {
            Some(Holds::Ranges(length)) => (format!("/{length}"), element.counter.as_deref().unwrap_or(set)),
            _ => (String::new(), set.as_str()),
        };
        let source = match names::holds(family, counter) {
            Some(Holds::Hosts(source) | Holds::FormerRanges(source)) => format!(" (source {source})"),
            _ => String::new(),
        };
        let key = address(&element.key).map_or_else(String::new, |key| key.to_string());
        format!("{set} has {key}{length}{}{source}", left(element.left))
    }

    /// An element of an operator's set, or of the set of exempt addresses.
    fn shown(&self, element: &Element) -> String {
        match address(&element.key) {
            // The kernel returns the start of an interval; its end is another element.
            Some(key) if key != self.packet.source => {
                format!("the address in an interval from {key}{}", left(element.left))
            }
            _ => format!("{}{}", self.packet.source, left(element.left)),
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(key: &[u8]) -> Option<IpAddr> {
    match key.len() {
        4 => <[u8; 4]>::try_from(key).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(key).ok().map(IpAddr::from),
        _ => None,
    }
}
