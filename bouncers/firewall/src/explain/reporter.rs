//! Holds the inputs of a report, and the results that its parts share.

use super::arguments::ExplainedPacket;
use super::evaluate::Sets;
use super::ruleset::Ruleset;
use crate::config::IpFamily;
use crate::enforcer_config::EnforcerConfig;

/// The inputs of a report.
pub(super) struct Reporter<'a> {
    pub(super) enforcer_config: &'a EnforcerConfig,
    pub(super) packet: ExplainedPacket,
    pub(super) ip: IpFamily,
    pub(super) ruleset: &'a Ruleset,
    pub(super) sets: &'a mut dyn Sets,
}

/// The effect of a chain of ours at a hook.
pub(super) struct Own {
    pub(super) hook: &'static str,
    /// The elements that lead to the denial.
    pub(super) denies: Option<String>,
    /// Why it does not deny.
    pub(super) why_not: String,
}
