//! Applies a route's policy to a client: mode, exempt networks, failures, and the strongest decision.

use std::net::IpAddr;
use std::sync::Arc;

use palisade_cache::Timestamp;
use palisade_stream::{CacheHandle, Freshness, SnapshotGuard, now};

use super::geo::Geo;
use super::outcome::{DecisionInfo, Outcome, PassReason, Remediation, Unavailable};
use super::rules::{Effect, Rules};
use super::strongest::strongest;
use crate::config::{DecisionMode, FailurePolicy, RemediationPolicy, StartPolicy};

/// Decides about clients. A clone shares everything.
#[derive(Debug, Clone)]
pub struct Decider {
    cache: CacheHandle,
    geo: Arc<Geo>,
    can_captcha: bool,
}

impl Decider {
    /// `can_captcha`: whether there is a provider of captchas; without one a captcha falls back.
    pub fn new(cache: CacheHandle, geo: Arc<Geo>, can_captcha: bool) -> Self {
        Self { cache, geo, can_captcha }
    }

    /// The decisions in memory.
    pub fn cache(&self) -> &CacheHandle {
        &self.cache
    }

    /// The databases of countries and systems.
    pub fn geo(&self) -> &Geo {
        &self.geo
    }

    /// What happens to a request of this client, by the decisions in memory. Does not block, and allocates nothing
    /// unless a decision applies.
    #[inline]
    pub fn decide(&self, policy: &RemediationPolicy, client: IpAddr) -> Outcome {
        self.decide_at(policy, client, now)
    }

    #[inline]
    fn decide_at(
        &self,
        policy: &RemediationPolicy,
        client: IpAddr,
        now: impl Fn() -> Timestamp + Copy,
    ) -> Outcome {
        if policy.mode == DecisionMode::Off {
            return Outcome::Pass(PassReason::ModeOff);
        }
        let client = client.to_canonical();
        if !policy.exempt.is_empty() && policy.exempt.contains(client) {
            return Outcome::Pass(PassReason::Exempt);
        }
        let snapshot = self.cache.read();
        if let Some(outcome) = unavailable(policy, &snapshot, now) {
            return outcome;
        }
        let rules = Rules::new(policy, self.can_captcha);
        match strongest(&snapshot, &rules, client, &*self.geo, now) {
            None => Outcome::Pass(PassReason::NoDecision),
            Some((effect, decision)) => applied(policy, effect, || Arc::new(DecisionInfo::of(&decision))),
        }
    }
}

/// The outcome of a decision.
pub(super) fn applied(
    policy: &RemediationPolicy,
    effect: Effect,
    decision: impl FnOnce() -> Arc<DecisionInfo>,
) -> Outcome {
    match effect {
        Effect::Allow => Outcome::Pass(PassReason::Allowed),
        Effect::Remedy(kind) => {
            Outcome::Remediate(Remediation { kind, decision: decision(), log_only: policy.log_only })
        }
    }
}

/// The outcome of a lack of decisions, if there is a lack and the policy is not to go on with what is known.
#[inline]
fn unavailable(
    policy: &RemediationPolicy,
    snapshot: &SnapshotGuard,
    now: impl Fn() -> Timestamp,
) -> Option<Outcome> {
    let freshness = snapshot.freshness();
    if snapshot.is_empty() && !is_known(freshness) {
        return Some(match policy.on_start {
            StartPolicy::Open => Outcome::Pass(PassReason::Open(Unavailable::NotStarted)),
            // No connection is accepted before there are decisions, so none gets here; if one does, it must not pass.
            StartPolicy::Wait | StartPolicy::Closed => closed(policy, Unavailable::NotStarted),
        });
    }
    let max = policy.max_staleness?;
    let is_stale = freshness.current_at().is_none_or(|at| now().saturating_duration_since(at) > max);
    if is_stale { failed(policy, Unavailable::Stale) } else { None }
}

/// Whether a LAPI has answered. Not [`Freshness::is_complete`] alone, which a reload resets.
fn is_known(freshness: &Freshness) -> bool {
    freshness.is_complete() || freshness.last_answer.is_some()
}

/// The outcome of a failure; `None` when the decisions known so far apply.
pub(super) fn failed(policy: &RemediationPolicy, reason: Unavailable) -> Option<Outcome> {
    match policy.on_failure {
        FailurePolicy::Keep => None,
        FailurePolicy::Open => Some(Outcome::Pass(PassReason::Open(reason))),
        FailurePolicy::Closed => Some(closed(policy, reason)),
    }
}

fn closed(policy: &RemediationPolicy, reason: Unavailable) -> Outcome {
    // A route that only logs refuses nobody, for whatever reason.
    if policy.log_only { Outcome::Pass(PassReason::Open(reason)) } else { Outcome::Unavailable(reason) }
}
