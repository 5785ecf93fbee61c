//! Defines the report of `explain`. Pure data.

use std::net::IpAddr;

use palisade_bouncer::control::{DecisionView, Effect, Source};
use serde::Serialize;

/// The result of explaining a packet. Texts of the kernel and of a LAPI are unchanged, so a terminal needs them
/// escaped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) address: IpAddr,
    /// What was assumed of the packet.
    pub(crate) assumed: String,
    pub(crate) cache: CacheReport,
    /// The operator's set, in set-only mode.
    pub(crate) set: Option<SetReport>,
    /// Every hook with a chain of ours, or with rules that look up the operator's set.
    pub(crate) hooks: Vec<HookReport>,
    pub(crate) disagreements: Vec<String>,
    /// What limits this report.
    pub(crate) notes: Vec<String>,
}

/// What the cache holds on the address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CacheReport {
    /// Where the decisions are from; `None` when none could be had.
    pub(crate) source: Option<Source>,
    /// What the packet should meet, by decisions and configuration; without decisions, why there are none.
    pub(crate) effect: Effect,
    /// The decisions that cover the address.
    pub(crate) decisions: Vec<DecisionView>,
    /// How many more there are.
    pub(crate) not_listed: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SetReport {
    /// Family, table and name.
    pub(crate) set: String,
    /// Whether it is there and holds the address.
    pub(crate) holds: bool,
    /// The element, or why there is none.
    pub(crate) element: String,
    /// The rules that look it up.
    pub(crate) rules: Vec<String>,
}

/// The evaluation of a hook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HookReport {
    pub(crate) hook: &'static str,
    /// Which side of the packet has the address.
    pub(crate) side: &'static str,
    pub(crate) denied: bool,
    /// The verdict and where it is from.
    pub(crate) verdict: String,
    /// Rules that may deny it before, and cannot be evaluated.
    pub(crate) may_deny: Vec<String>,
    /// Why there is no chain of ours, where there should be one.
    pub(crate) missing: Option<String>,
    pub(crate) chains: Vec<ChainReport>,
}

/// The evaluation of a base chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ChainReport {
    /// Family, table and name.
    pub(crate) chain: String,
    pub(crate) priority: i32,
    pub(crate) ours: bool,
    pub(crate) denies: bool,
    /// Whether the packet reaches it.
    pub(crate) reached: bool,
    /// The verdict and where it is from.
    pub(crate) verdict: String,
    /// The rules that count, in order.
    pub(crate) rules: Vec<String>,
    /// Rules ahead of the verdict that cannot be evaluated, and their verdicts.
    pub(crate) doubts: Vec<String>,
}
