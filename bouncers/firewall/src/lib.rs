//! Enforces CrowdSec decisions with nftables.
//!
//! ```text
//!  cli ─► config ─► serve ─┬─► Subscription ──CacheHandle──► Enforcer ─┬─► nft       tables, chains, sets, rules
//!                          └─► EnforcerConfig (config, reload) ─▲      └─► netlink   elements, dumps, counters, notifications
//!
//!  cli ─► lookup, status ─► control socket        cli ─► explain ─► netlink, control socket
//! ```

mod capability;
mod clause;
pub mod cli;
mod commit;
pub mod config;
mod conntrack;
mod counters;
mod dry_run;
mod effect;
mod enforce;
mod error;
mod exempt;
mod explain;
mod exposition;
mod found;
mod gate;
mod instance_lock;
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
mod service_manager;
mod status;
mod structure;

pub use capability::pass_on_net_admin;
pub use counters::{FamilyCounters, Traffic, read_counters, ruleset_generation};
pub use enforce::{Enforcer, EnforcerConfig, check};
pub use error::EnforceError;
pub use explain::explain;
pub use local::LocalNetwork;
pub use netlink::NetlinkError;
pub use nft::NftError;
pub use serve::{about, connect, enforcer_config, serve};
pub use status::{InForce, Status};

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;
