//! Enforces CrowdSec decisions with nftables.
//!
//! ```text
//!  palisade_bouncer::run ─► Firewall ─┬─► Enforcer ─┬─► nft       tables, chains, sets, rules
//!     flags, config, LAPI             │             └─► netlink   elements, dumps, counters, notifications
//!                                     ├─► adopt ──────► Enforcer (interim tables), systemctl
//!                                     └─► explain ────► netlink, control socket
//! ```

mod adopt;
mod capability;
mod clause;
mod commit;
pub mod config;
mod conntrack;
mod dry_run;
mod effect;
mod enforce;
mod enforcer_config;
mod environment;
mod error;
mod exempt;
mod explain;
mod firewall;
mod found;
mod gate;
mod intervals;
mod kernel;
mod kernel_counters;
mod layout;
mod local;
mod metrics;
mod names;
mod netlink;
mod nft;
mod plan;
mod rules;
mod service_manager;
mod status;
mod structure;
mod target;

pub use capability::pass_on_net_admin;
pub use enforce::{Enforcer, check};
pub use enforcer_config::EnforcerConfig;
pub use error::EnforceError;
pub use firewall::Firewall;
pub use kernel_counters::{FamilyCounters, Traffic, read_counters, ruleset_generation};
pub use local::LocalNetwork;
pub use netlink::NetlinkError;
pub use nft::NftError;
pub use status::{InForce, Status};

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;
