//! Defines the report of `explain`. Pure data.

use std::net::IpAddr;

use palisade_bouncer::control::{DecisionView, Effect, Source};
use serde::Serialize;

/// The result of explaining a packet. Texts of the kernel and of a LAPI are unchanged, so a terminal needs them
/// escaped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The address.
    pub(crate) address: IpAddr,
    /// What was assumed of the packet.
    pub(crate) assumed: String,
    /// What the cache has.
    pub(crate) cache: CacheReport,
    /// The operator's set, in set-only mode.
    pub(crate) set: Option<SetReport>,
    /// Every hook with a chain of ours, or with rules that look at the operator's set.
    pub(crate) hooks: Vec<HookReport>,
    /// Where cache and kernel disagree.
    pub(crate) disagreements: Vec<String>,
    /// What limits this report.
    pub(crate) notes: Vec<String>,
}

/// What the cache has.
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
    /// The rules that look at it.
    pub(crate) rules: Vec<String>,
}

/// What a packet meets at a hook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HookReport {
    /// The hook.
    pub(crate) hook: &'static str,
    /// Which side of the packet has the address.
    pub(crate) side: &'static str,
    /// Whether the packet is denied here.
    pub(crate) denied: bool,
    /// The verdict and where it is from.
    pub(crate) verdict: String,
    /// Rules that may deny it before, and cannot be judged.
    pub(crate) may_deny: Vec<String>,
    /// Why there is no chain of ours, where there should be one.
    pub(crate) missing: Option<String>,
    /// The chains, in order.
    pub(crate) chains: Vec<ChainReport>,
}

/// What a packet meets in a base chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ChainReport {
    /// Family, table and name.
    pub(crate) chain: String,
    /// Its priority.
    pub(crate) priority: i32,
    /// Whether it is ours.
    pub(crate) ours: bool,
    /// Whether it denies the packet.
    pub(crate) denies: bool,
    /// Whether the packet gets there.
    pub(crate) reached: bool,
    /// The verdict and where it is from.
    pub(crate) verdict: String,
    /// The rules that count, in order.
    pub(crate) rules: Vec<String>,
    /// Rules ahead of the verdict that cannot be judged, and what they would do.
    pub(crate) doubts: Vec<String>,
}
