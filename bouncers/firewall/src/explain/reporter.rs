//! What the parts of a report are made from: the sources of its facts, and what one part finds for another.

use super::arguments::ExplainedPacket;
use super::evaluate::Sets;
use super::ruleset::Ruleset;
use crate::config::IpFamily;
use crate::enforcer_config::EnforcerConfig;

/// What a report is made of.
pub(super) struct Reporter<'a> {
    pub(super) enforcer_config: &'a EnforcerConfig,
    pub(super) packet: ExplainedPacket,
    pub(super) ip: IpFamily,
    pub(super) ruleset: &'a Ruleset,
    pub(super) sets: &'a mut dyn Sets,
}

/// What a chain of ours does at a hook.
pub(super) struct Own {
    pub(super) hook: &'static str,
    /// The elements that lead to the denial.
    pub(super) denies: Option<String>,
    /// Why it does not deny.
    pub(super) why_not: String,
}
