//! Finds the decision that applies to a client among all that cover it. Pure.

use std::cmp::Reverse;
use std::net::IpAddr;

use palisade_cache::{Decision, Snapshot, Timestamp};

use super::geo::Places;
use super::outcome::RemediationKind;
use super::rules::{Effect, Rules};

/// The strongest decision of a snapshot that counts, over all scopes; of equally strong ones the one that ends last.
///
/// `now` is only called when a decision covers the client.
#[inline]
pub(crate) fn strongest<'s>(
    snapshot: &'s Snapshot,
    rules: &Rules<'_>,
    client: IpAddr,
    places: &impl Places,
    now: impl Fn() -> Timestamp + Copy,
) -> Option<(Effect, Decision<'s>)> {
    let of_address = over_address(snapshot, rules, client, now);
    let scopes = rules.policy().scopes;
    // The databases are read only when there is something to compare their answers with.
    let by_country = scopes.country && snapshot.has_scope("Country");
    let by_system = scopes.autonomous_system && snapshot.has_scope("AS");
    if !by_country && !by_system {
        return of_address;
    }
    let mut best = of_address;
    if by_country && let Some(country) = places.country(client) {
        best = stronger(best, of_name(snapshot, rules, "Country", country.as_str(), now()));
    }
    if by_system && let Some(system) = places.autonomous_system(client) {
        best = stronger(best, of_name(snapshot, rules, "AS", system.text().as_str(), now()));
    }
    best
}

/// Of addresses and ranges.
#[inline]
fn over_address<'s>(
    snapshot: &'s Snapshot,
    rules: &Rules<'_>,
    client: IpAddr,
    now: impl Fn() -> Timestamp,
) -> Option<(Effect, Decision<'s>)> {
    let first = snapshot.verdict(client)?;
    over_covered_address(snapshot, rules, client, first, now())
}

#[inline(never)]
fn over_covered_address<'s>(
    snapshot: &'s Snapshot,
    rules: &Rules<'_>,
    client: IpAddr,
    first: Decision<'s>,
    now: Timestamp,
) -> Option<(Effect, Decision<'s>)> {
    // `first` is the strongest in the ledger's order. Another one can only be stronger here if this one does not count,
    // or if the fallback makes more of an unknown type, which the ledger's order has last.
    if let Some(effect) = rules.effect(&first, now) {
        let is_strongest = effect <= Effect::Remedy(RemediationKind::Ban)
            || !snapshot.has_unlisted()
            || rules.fallback().is_none_or(|fallback| fallback >= effect);
        if is_strongest {
            return Some((effect, first));
        }
    }
    let (_, best) = snapshot.verdict_by(client, |decision| rules.effect(decision, now).map(strength))?;
    rules.effect(&best, now).map(|effect| (effect, best))
}

fn of_name<'s>(
    snapshot: &'s Snapshot,
    rules: &Rules<'_>,
    scope: &str,
    value: &str,
    now: Timestamp,
) -> Option<(Effect, Decision<'s>)> {
    strongest_of(snapshot.decisions_of(scope, value), rules, now)
}

/// The strongest of these decisions that counts.
pub(crate) fn strongest_of<'s>(
    decisions: impl Iterator<Item = Decision<'s>>,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Option<(Effect, Decision<'s>)> {
    let counted = decisions.filter_map(|decision| Some((rules.effect(&decision, now)?, decision)));
    counted.min_by_key(|(effect, decision)| (*effect, Reverse(decision.until)))
}

/// The stronger of two; at a tie the first.
pub(crate) fn stronger<'s>(
    a: Option<(Effect, Decision<'s>)>,
    b: Option<(Effect, Decision<'s>)>,
) -> Option<(Effect, Decision<'s>)> {
    a.into_iter().chain(b).min_by_key(|(effect, decision)| (*effect, Reverse(decision.until)))
}

fn strength(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Remedy(RemediationKind::Ban) => 1,
        Effect::Remedy(RemediationKind::Captcha) => 2,
        Effect::Remedy(RemediationKind::Throttle) => 3,
    }
}
