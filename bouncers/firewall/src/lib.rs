//! Enforces CrowdSec decisions with nftables.
//!
//! ```text
//!  cli ─► config ─► serve ─┬─► Subscription ──CacheHandle──► Enforcer ─┬─► nft       tables, chains, sets, rules
//!                          └─► Orders (config, reload) ─────────▲      └─► netlink   elements, dumps, counters, news
//! ```

mod alone;
mod bare;
mod capability;
mod clause;
pub mod cli;
mod commit;
pub mod config;
mod conntrack;
mod counters;
mod dry_run;
mod enforce;
mod error;
mod exempt;
mod exposition;
mod found;
mod gate;
mod intervals;
mod kernel;
mod layout;
mod local;
mod names;
mod netlink;
mod nft;
mod plan;
mod rules;
mod serve;
mod status;
mod structure;

#[doc(hidden)]
pub use bare::bare_load;
pub use capability::pass_on_net_admin;
pub use counters::{FamilyCounters, Traffic, read_counters, ruleset_generation};
pub use enforce::{Enforcer, Orders, check};
pub use error::EnforceError;
pub use local::LocalNetwork;
pub use netlink::NetlinkError;
pub use nft::NftError;
pub use serve::{about, connect, serve};
pub use status::{InForce, Status};

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;
