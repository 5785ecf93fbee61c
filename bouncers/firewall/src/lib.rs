//! Enforces CrowdSec decisions with nftables.
//!
//! ```text
//!  cli ─► config ─► serve ─┬─► Subscription ──CacheHandle──► Enforcer ─┬─► nft       tables, chains, sets, rules
//!                          └─► Orders (config, reload) ─────────▲      └─► netlink   elements, dumps, counters, news
//! ```

mod allow;
mod alone;
mod clause;
pub mod cli;
mod commit;
pub mod config;
mod conntrack;
mod counters;
mod dry_run;
mod enforce;
mod error;
mod exposition;
mod found;
mod kernel;
mod layout;
mod names;
mod netlink;
mod nft;
mod plan;
mod rules;
mod serve;
mod spans;
mod status;
mod structure;

pub use counters::{FamilyCounters, Traffic, read_counters, ruleset_generation};
pub use enforce::{Enforcer, Orders, check};
pub use error::EnforceError;
pub use netlink::NetlinkError;
pub use nft::NftError;
pub use serve::{about, connect, serve};
pub use status::{InForce, Status};

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;
