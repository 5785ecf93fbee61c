//! Determines which decisions count on a route, and what each leads to. Pure.

use palisade_cache::{Decision, Timestamp};

use super::outcome::RemediationKind;
use crate::config::{Fallback, RemediationPolicy, Scopes};

/// The type of decisions that exempt their target.
///
/// A decision of this type is made to let somebody through, so treating it as any other unknown type would do the
/// opposite of what was meant.
pub const ALLOW: &str = "allow";

/// What a decision leads to, from the strongest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// The request passes, whatever else there is.
    Allow,
    /// The request is remediated.
    Remedy(RemediationKind),
}

/// How one route looks at decisions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    policy: &'a RemediationPolicy,
    /// What unknown types lead to; `None` for nothing.
    fallback: Option<Effect>,
    captcha: Option<Effect>,
}

impl<'a> Rules<'a> {
    /// `can_captcha`: whether there is a provider of captchas.
    pub(crate) fn new(policy: &'a RemediationPolicy, can_captcha: bool) -> Self {
        let kind = match policy.fallback {
            Fallback::Ban => Some(RemediationKind::Ban),
            Fallback::Captcha if can_captcha => Some(RemediationKind::Captcha),
            // The checked configuration does not have this; a captcha that nobody can show must not let anybody pass.
            Fallback::Captcha => Some(RemediationKind::Ban),
            Fallback::Throttle => Some(RemediationKind::Throttle),
            Fallback::Ignore => None,
        };
        let fallback = kind.map(Effect::Remedy);
        let captcha = if can_captcha { Some(Effect::Remedy(RemediationKind::Captcha)) } else { fallback };
        Self { policy, fallback, captcha }
    }

    pub(crate) fn policy(&self) -> &'a RemediationPolicy {
        self.policy
    }

    /// What unknown types lead to.
    #[inline]
    pub(crate) fn fallback(&self) -> Option<Effect> {
        self.fallback
    }

    /// What a decision leads to; `None` when it does not count.
    pub(crate) fn effect(&self, decision: &Decision<'_>, now: Timestamp) -> Option<Effect> {
        // Decisions end here and not only at the next publication, which may be a moment late.
        let counts = decision.until > now && self.has_scope(decision.scope) && self.has_origin(decision);
        if !counts {
            return None;
        }
        self.effect_of_type(decision.remediation)
    }

    /// What decisions of this type lead to.
    pub(crate) fn effect_of_type(&self, remediation: &str) -> Option<Effect> {
        let is = |word: &str| remediation.eq_ignore_ascii_case(word);
        if is("ban") {
            Some(Effect::Remedy(RemediationKind::Ban))
        } else if is("captcha") {
            self.captcha
        } else if is("throttle") {
            Some(Effect::Remedy(RemediationKind::Throttle))
        } else if is(ALLOW) {
            Some(Effect::Allow)
        } else {
            self.fallback
        }
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        let Scopes { ip, range, country, autonomous_system } = self.policy.scopes;
        match scope {
            "Ip" => ip,
            "Range" => range,
            "Country" => country,
            "AS" => autonomous_system,
            // Of sessions, users and the like nothing is known here.
            _ => false,
        }
    }

    pub(crate) fn has_origin(&self, decision: &Decision<'_>) -> bool {
        let names = |filter: &String| {
            filter.eq_ignore_ascii_case(decision.origin)
                || decision.origin == "lists" && filter.strip_prefix("lists:") == Some(decision.scenario)
        };
        self.policy.origins.is_empty() || self.policy.origins.iter().any(names)
    }
}
