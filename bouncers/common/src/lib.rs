//! Holds what all bouncers share: running the program, LAPI settings, the subscription, usage metrics, lookup and
//! status.
//!
//! ```text
//!   config file ──► settings::LapiSettings ──► Client ──► Subscription ──► CacheHandle ──► the bouncer's enforcer
//!                                                │                             │
//!                       usage::Reporter ◄────────┘                             ├──► StreamMetrics (Prometheus)
//!                       (counters of the enforcer, every 15 minutes)           └──► control::Control ◄── lookup, status
//! ```

pub mod control;
mod instance_lock;
pub mod outbound;
pub mod run;
pub mod settings;
mod stream_metrics;
mod subscription;
pub mod usage;

pub use run::run;
pub use stream_metrics::StreamMetrics;
pub use subscription::{Change, Subscription, Terminated};

#[cfg(test)]
mod test_log;
