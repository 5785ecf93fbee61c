//! Compares what the kernel does with what decisions and configuration require.
//!
//! Pure: works on a ruleset, elements, the configuration and a response of the cache.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_bouncer::control::{DecisionView, Effect, LookupAnswer};

use super::arguments::{ExplainedPacket, Protocol};
use super::evaluate::{Element, Sets};
use super::report::{CacheReport, HookReport, Report, SetReport};
use super::reporter::{Own, Reporter};
use super::ruleset::Ruleset;
use crate::config::{Family, Mode};
use crate::effect::{self, Expected};
use crate::enforcer_config::EnforcerConfig;
use crate::found::flags;
use crate::layout::family_of;

/// Number of decisions in a report.
const DECISIONS: usize = 8;

/// Number of tables named as not read.
const UNREAD: usize = 8;

/// Makes the report. `cache` is the cache's response, or why there is none.
pub(crate) fn report(
    enforcer_config: &EnforcerConfig,
    packet: ExplainedPacket,
    cache: Result<LookupAnswer, String>,
    ruleset: &Ruleset,
    sets: &mut dyn Sets,
) -> Report {
    let mut reporter = Reporter { enforcer_config, packet, ip: family_of(packet.source), ruleset, sets };
    reporter.report(cache)
}

impl Reporter<'_> {
    fn report(&mut self, cache: Result<LookupAnswer, String>) -> Report {
        let enforcer_config = self.enforcer_config;
        let family =
            effect::family(enforcer_config, self.ip).filter(|_| enforcer_config.config.mode != Mode::DryRun);
        let (mut disagreements, mut notes) = (Vec::new(), Vec::new());
        let expected = cache.as_ref().ok().map(|answer| self.expected(answer));
        let set = family.filter(|family| family.set_only).map(|family| {
            let (report, element) = self.set(family);
            if let Some(expected) = &expected {
                disagreements.extend(differs_from_set(family, expected, &report, element.as_ref()));
            }
            report
        });
        let (mut hooks, mut own) = (Vec::new(), Vec::new());
        for (hook, side) in self.hooks(family) {
            let (report, ours) = self.hook(family, hook, side);
            hooks.push(report);
            own.extend(ours);
        }
        if let Some(expected) = &expected {
            disagreements.extend(differs(expected, &own));
        }
        if let (Ok(answer), Some(expected)) = (&cache, &expected)
            && let Some(effect) = &answer.effect
            // The daemon may run with a configuration that has been edited since, or with addresses of LAPIs that are
            // unknown here.
            && effect.denied != self.described(expected).denied
        {
            notes.push(format!(
                "the running bouncer reports: {}; the configuration file read here gives: {}",
                in_words(effect),
                in_words(&self.described(expected))
            ));
        }
        notes.extend(self.ruleset.unread.iter().take(UNREAD).map(|table| {
            format!("table {table} is not evaluated: its chains may deny packets before all others")
        }));
        // The order of chains with equal priority depends on when they were attached, which the kernel does not report.
        notes.extend(hooks.iter().flat_map(ties));
        if self.ruleset.unsettled {
            notes.push("the kernel's rules changed while they were read: run it again".to_owned());
        }
        Report {
            address: self.packet.source,
            assumed: assumed(self.packet),
            cache: self.cache(cache, expected.as_ref()),
            set,
            hooks,
            disagreements,
            notes,
        }
    }

    fn described(&self, expected: &Expected) -> Effect {
        let set = effect::family(self.enforcer_config, self.ip).map_or("", |family| &family.set);
        effect::described(self.enforcer_config, expected, set)
    }

    fn cache(&self, cache: Result<LookupAnswer, String>, expected: Option<&Expected>) -> CacheReport {
        match cache {
            Ok(answer) => {
                let more = answer.decisions.len().saturating_sub(DECISIONS) + answer.not_listed;
                let effect = answer.effect.or_else(|| expected.map(|expected| self.described(expected)));
                CacheReport {
                    source: Some(answer.state.source),
                    effect: effect.unwrap_or(Effect { denied: None, reason: "unknown".to_owned() }),
                    decisions: answer.decisions.into_iter().take(DECISIONS).collect(),
                    not_listed: more,
                }
            }
            Err(reason) => CacheReport {
                source: None,
                effect: Effect { denied: None, reason },
                decisions: Vec::new(),
                not_listed: 0,
            },
        }
    }

    /// What should happen, by the decisions of the answer and the configuration.
    fn expected(&self, answer: &LookupAnswer) -> Expected {
        let net = |held: &DecisionView| {
            let value = &held.value;
            value.parse::<IpNet>().ok().or_else(|| value.parse::<IpAddr>().ok().map(IpNet::from))
        };
        let decisions: Vec<_> = answer.decisions.iter().filter_map(net).collect();
        let set = effect::family(self.enforcer_config, self.ip).and_then(|family| self.operators_set(family));
        // The set in the kernel decides, since the operator may have made it anew with other flags.
        let takes_ranges = set.map(|key| self.ruleset.sets[&key].flags & flags::INTERVAL != 0);
        effect::expected(self.enforcer_config, takes_ranges, self.packet.source.into(), &decisions)
    }
}

/// Where our chains do not do what is expected.
fn differs(expected: &Expected, own: &[Own]) -> Vec<String> {
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for own in own {
        let text = match (expected, &own.denies) {
            (Expected::Denied, None) => {
                format!("the cache bans it, the kernel does not: {}", own.why_not)
            }
            (Expected::LetThrough(reason), Some(elements)) => {
                let elements = if elements.is_empty() { String::new() } else { format!("; {elements}") };
                format!("the kernel denies it, the cache does not: {reason}{elements}")
            }
            // In part denied, or left to the operator's rules: neither verdict of one packet contradicts that.
            _ => continue,
        };
        let hooks = texts.entry(text).or_default();
        if !hooks.contains(&own.hook) {
            hooks.push(own.hook);
        }
    }
    texts.into_iter().map(|(text, hooks)| format!("{text} (at {})", hooks.join(", "))).collect()
}

/// Neighbours of equal priority with different verdicts.
fn ties(hook: &HookReport) -> impl Iterator<Item = String> {
    let pairs = hook.chains.windows(2).filter_map(|pair| match pair {
        [one, other] if one.priority == other.priority && one.denies != other.denies => Some((one, other)),
        _ => None,
    });
    pairs.map(|(one, other)| {
        let (one, other) = (&one.chain, &other.chain);
        format!("{one} and {other} have the same priority at {}: their order is not known", hook.hook)
    })
}

/// Where the operator's set does not hold what is expected.
fn differs_from_set(
    family: &Family,
    expected: &Expected,
    report: &SetReport,
    element: Option<&Element>,
) -> Option<String> {
    // Elements of the operator are no disagreement.
    let ours = element.is_some_and(|element| element.marked || family.exclusive);
    match expected {
        Expected::InSet if !report.holds => {
            Some(format!("the cache bans it, the kernel's set does not have it: {}", report.element))
        }
        Expected::NotInSet(reason) if ours => {
            Some(format!("the kernel's set has it by our doing, the cache does not ban it: {reason}"))
        }
        _ => None,
    }
}

fn in_words(effect: &Effect) -> String {
    match effect.denied {
        Some(true) => format!("denied ({})", effect.reason),
        Some(false) => format!("let through: {}", effect.reason),
        None => effect.reason.clone(),
    }
}

fn assumed(packet: ExplainedPacket) -> String {
    let port = match packet.port {
        Some((Protocol::Tcp, port)) => format!("tcp port {port}"),
        Some((Protocol::Udp, port)) => format!("udp port {port}"),
        None => "protocol and port unknown (see -port)".to_owned(),
    };
    format!("the first packet of a connection, {port}, interface unknown but not loopback")
}
