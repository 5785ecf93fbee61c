//! Applies a route's policy to a client: mode, exempt networks, failures, and the strongest decision.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_cache::{Snapshot, Timestamp};
use palisade_stream::{CacheHandle, Freshness, SnapshotGuard, now};

use super::geo::{Geo, Places as _};
use super::live::{self, Live, LiveAnswer, LiveError, Target};
use super::outcome::{DecisionInfo, Outcome, PassReason, Remediation, Unavailable};
use super::rules::{Effect, Rules};
use super::strongest::strongest;
use crate::config::{DecisionMode, FailurePolicy, RemediationPolicy, StartPolicy};

/// Decides about clients. A clone shares everything.
#[derive(Debug, Clone)]
pub struct Decider {
    cache: CacheHandle,
    geo: Arc<Geo>,
    live: Option<Arc<Live>>,
    can_captcha: bool,
}

impl Decider {
    /// `can_captcha`: whether there is a provider of captchas; without one a captcha falls back.
    pub fn new(cache: CacheHandle, geo: Arc<Geo>, can_captcha: bool) -> Self {
        Self { cache, geo, live: None, can_captcha }
    }

    /// With queries for routes in live mode, which otherwise use the decisions in memory.
    #[must_use]
    pub fn with_live(self, live: Arc<Live>) -> Self {
        Self { live: Some(live), ..self }
    }

    /// The queries of routes in live mode.
    pub fn live(&self) -> Option<&Live> {
        self.live.as_deref()
    }

    /// The decisions in memory.
    pub fn cache(&self) -> &CacheHandle {
        &self.cache
    }

    /// Whether there is a provider of captchas.
    pub fn can_captcha(&self) -> bool {
        self.can_captcha
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
        let lack = not_started(policy, &snapshot).or_else(|| stale(policy, &snapshot, now));
        lack.unwrap_or_else(|| self.by_snapshot(policy, &snapshot, client, now))
    }

    #[inline]
    fn by_snapshot(
        &self,
        policy: &RemediationPolicy,
        snapshot: &Snapshot,
        client: IpAddr,
        now: impl Fn() -> Timestamp + Copy,
    ) -> Outcome {
        let rules = Rules::new(policy, self.can_captcha);
        match strongest(snapshot, &rules, client, &*self.geo, now) {
            None => Outcome::Pass(PassReason::NoDecision),
            Some((effect, decision)) => applied(policy, effect, || Arc::new(DecisionInfo::of(&decision))),
        }
    }
}

impl Decider {
    /// What happens to a request of this client. In live mode the LAPI is queried, unless its answer is remembered; in the
    /// other modes this is [`Decider::decide`].
    ///
    /// When the LAPI gives no answer, [`RemediationPolicy::on_failure`] applies: `keep` means the decisions in memory.
    pub async fn decide_live(&self, policy: &RemediationPolicy, client: IpAddr) -> Outcome {
        let Some(live) = self.live.as_deref().filter(|_| policy.mode == DecisionMode::Live) else {
            return self.decide(policy, client);
        };
        let client = client.to_canonical();
        if policy.exempt.contains(client) {
            return Outcome::Pass(PassReason::Exempt);
        }
        let Ok(answers) = self.query(live, policy, client).await else {
            let in_memory = || {
                let snapshot = self.cache.read();
                not_started(policy, &snapshot)
                    .unwrap_or_else(|| self.by_snapshot(policy, &snapshot, client, now))
            };
            return failed(policy, Unavailable::QueryFailed).unwrap_or_else(in_memory);
        };
        let rules = Rules::new(policy, self.can_captcha);
        let decisions = answers.iter().flatten().flat_map(|answer| answer.decisions());
        let now = now();
        let counted =
            decisions.filter_map(|decision| Some((rules.effect(&live::view(decision), now)?, decision)));
        match counted.min_by_key(|(effect, decision)| (*effect, Reverse(decision.until))) {
            None => Outcome::Pass(PassReason::NoDecision),
            Some((effect, decision)) => applied(policy, effect, || Arc::clone(decision)),
        }
    }

    /// The LAPI's answers for the scopes of a route.
    async fn query(
        &self,
        live: &Live,
        policy: &RemediationPolicy,
        client: IpAddr,
    ) -> Result<[Option<Arc<LiveAnswer>>; 3], LiveError> {
        let scopes = policy.scopes;
        let address = (scopes.ip || scopes.range).then_some(Target::Address(client));
        let country = scopes.country.then(|| self.geo.country(client)).flatten().map(Target::Country);
        let system = scopes
            .autonomous_system
            .then(|| self.geo.autonomous_system(client))
            .flatten()
            .map(Target::System);
        let ask = async |target: Option<Target>| match target {
            Some(target) => live.decisions_on(target).await.map(Some),
            None => Ok(None),
        };
        // Together, so that three queries take no longer than one.
        let (address, country, system) = tokio::try_join!(ask(address), ask(country), ask(system))?;
        Ok([address, country, system])
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

/// The outcome before any decisions are known.
#[inline]
fn not_started(policy: &RemediationPolicy, snapshot: &SnapshotGuard) -> Option<Outcome> {
    if !snapshot.is_empty() || is_known(snapshot.freshness()) {
        return None;
    }
    Some(match policy.on_start {
        StartPolicy::Open => Outcome::Pass(PassReason::Open(Unavailable::NotStarted)),
        // No connection is accepted before there are decisions, so none gets here; if one does, it must not pass.
        StartPolicy::Wait | StartPolicy::Closed => closed(policy, Unavailable::NotStarted),
    })
}

/// The outcome of decisions that are too old, unless the policy is to keep them.
#[inline]
fn stale(
    policy: &RemediationPolicy,
    snapshot: &SnapshotGuard,
    now: impl Fn() -> Timestamp,
) -> Option<Outcome> {
    let max = policy.max_staleness?;
    let current_at = snapshot.freshness().current_at();
    let is_stale = current_at.is_none_or(|at| now().saturating_duration_since(at) > max);
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
