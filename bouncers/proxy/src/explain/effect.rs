//! Determines the effect of decisions on an address, range or name over all routes, for `lookup`. Pure.

use std::sync::Arc;

use palisade_bouncer::control::{Effect as Shown, Subject};
use palisade_cache::{Decision, Snapshot, Target};
use palisade_stream::now;

use super::decisions::word;
use crate::config::{DecisionMode, RouteConfig};
use crate::remediation::{Decider, Effect, Outcome, PassReason, Rules, strongest_of};

/// The effect on requests of a subject.
pub(crate) fn effect(
    decider: &Decider,
    routes: &[Arc<RouteConfig>],
    subject: &Subject,
    snapshot: &Snapshot,
) -> Shown {
    let effects: Vec<(&str, (bool, String))> = routes
        .iter()
        .map(|route| (route.name.as_str(), on_route(decider, route, subject, snapshot)))
        .collect();
    let Some((_, first)) = effects.first() else {
        return Shown { denied: None, reason: "there is no route".to_owned() };
    };
    if effects.iter().all(|(_, effect)| effect == first) {
        return Shown { denied: Some(first.0), reason: format!("{} on every route", first.1) };
    }
    let all: Vec<String> = effects.iter().map(|(name, (_, what))| format!("{name}: {what}")).collect();
    let denied = effects.iter().all(|(_, (denied, _))| *denied == first.0).then_some(first.0);
    Shown { denied, reason: all.join("; ") }
}

/// Whether requests are denied, and how, or why not.
fn on_route(
    decider: &Decider,
    route: &RouteConfig,
    subject: &Subject,
    snapshot: &Snapshot,
) -> (bool, String) {
    let policy = &route.remediation;
    let live = if policy.mode == DecisionMode::Live { ", unless a live query says otherwise" } else { "" };
    let (denied, what) = match subject {
        Subject::Address(address) => match decider.decide(policy, *address) {
            Outcome::Pass(reason) => (false, passes(reason).to_owned()),
            Outcome::Unavailable(reason) => (true, format!("503 ({})", reason.as_str())),
            Outcome::Remediate(remediation) => remediated(remediation.kind.as_str(), policy.log_only),
        },
        _ if policy.mode == DecisionMode::Off => (false, passes(PassReason::ModeOff).to_owned()),
        Subject::Range(range) => {
            let covers =
                |decision: &Decision<'_>| matches!(decision.target, Target::Net(net) if net.contains(range));
            let over = snapshot.covering(range.network());
            by_decisions(over.into_iter().filter(covers), decider, route)
        }
        Subject::Named { scope, value } => by_decisions(snapshot.decisions_of(scope, value), decider, route),
    };
    (denied, what + live)
}

fn by_decisions<'a>(
    decisions: impl Iterator<Item = Decision<'a>>,
    decider: &Decider,
    route: &RouteConfig,
) -> (bool, String) {
    let rules = Rules::new(&route.remediation, decider.can_captcha());
    match strongest_of(decisions, &rules, now()) {
        None => (false, passes(PassReason::NoDecision).to_owned()),
        Some((Effect::Allow, _)) => (false, passes(PassReason::Allowed).to_owned()),
        Some((effect, _)) => remediated(word(effect), route.remediation.log_only),
    }
}

fn remediated(kind: &str, log_only: bool) -> (bool, String) {
    if log_only { (false, format!("{kind}, only logged")) } else { (true, kind.to_owned()) }
}

fn passes(reason: PassReason) -> &'static str {
    match reason {
        PassReason::ModeOff => "decisions are off",
        PassReason::Exempt => "exempt",
        PassReason::Allowed => "a decision of type allow",
        PassReason::NoDecision => "no decision counts",
        PassReason::Open(_) => "decisions are not available, and the policy is to forward",
    }
}
