//! Judges each decision that covers a client by the policy of a route. Pure.

use std::time::Duration;

use palisade_bouncer::control::DecisionView;
use palisade_cache::Timestamp;

use super::report::JudgedDecision;
use crate::remediation::live::view;
use crate::remediation::{DecisionInfo, Effect, Rules, strongest_of};

/// All of them judged, and what the one that applies leads to.
pub(super) fn judge(
    found: &[DecisionView],
    rules: &Rules<'_>,
    now: Timestamp,
) -> (Vec<JudgedDecision>, Option<Effect>) {
    let infos: Vec<DecisionInfo> = found.iter().map(|decision| info(decision, now)).collect();
    let strongest = strongest_of(infos.iter().map(view), rules, now);
    let mut applied = false;
    let judged = found.iter().zip(&infos).map(|(shown, info)| {
        let decision = view(info);
        let effect = rules.effect(&decision, now);
        // Of two that are equal in everything the first applies.
        let applies = !applied && strongest.is_some_and(|(_, strongest)| strongest == decision);
        applied |= applies;
        JudgedDecision {
            scope: shown.scope.clone(),
            value: shown.value.clone(),
            remediation: shown.remediation.clone(),
            origin: shown.origin.clone(),
            scenario: shown.scenario.clone(),
            id: shown.id,
            seconds_left: shown.seconds_left,
            leads_to: effect.map(word),
            why: why(info, rules, effect, strongest.map(|(effect, _)| effect), applies),
            applies,
        }
    });
    (judged.collect(), strongest.map(|(effect, _)| effect))
}

fn info(shown: &DecisionView, now: Timestamp) -> DecisionInfo {
    DecisionInfo {
        id: shown.id,
        // `lists:NAME` is how origins are shown; the name is the scenario too.
        origin: shown.origin.split_once(':').map_or(&*shown.origin, |(origin, _)| origin).into(),
        scenario: (*shown.scenario).into(),
        scope: (*shown.scope).into(),
        value: (*shown.value).into(),
        remediation: shown.remediation.to_lowercase().into(),
        // One second more: what is left is rounded down.
        until: now.saturating_add(Duration::from_secs(shown.seconds_left + 1)),
    }
}

fn why(
    info: &DecisionInfo,
    rules: &Rules<'_>,
    effect: Option<Effect>,
    strongest: Option<Effect>,
    applies: bool,
) -> String {
    let decision = view(info);
    let Some(effect) = effect else {
        return if !rules.has_scope(decision.scope) {
            format!("this route does not look at the scope {}", info.scope)
        } else if !rules.has_origin(&decision) {
            "its origin does not count on this route".to_owned()
        } else {
            format!("the type {} is ignored on this route (`fallback`)", info.remediation)
        };
    };
    let falls_back = word(effect) != &*info.remediation;
    let as_what = if falls_back {
        format!("the type {} is treated as {} here", info.remediation, word(effect))
    } else {
        String::new()
    };
    let place = match strongest {
        _ if applies => "the most severe, and of these the one that ends last",
        Some(strongest) if strongest < effect => "another decision is more severe",
        _ => "another one of the same severity ends later",
    };
    if falls_back { format!("{as_what}; {place}") } else { place.to_owned() }
}

/// What an effect is called.
pub(super) fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Remedy(kind) => kind.as_str(),
    }
}
