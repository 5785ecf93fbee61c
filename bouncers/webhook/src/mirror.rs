//! Serves the decisions in force as lists over HTTP, as crowdsec-blocklist-mirror does.
//!
//! ```text
//!  request ─► access.rs ─► query.rs ─► renderings.rs ─► response (ETag, gzip, HEAD)
//!                                          │ once per generation and variant, on a blocking thread
//!                                          ▼
//!                           entries.rs (select, sort, aggregate) ─► format.rs
//! ```
//!
//! A list is rendered from one snapshot of the cache, so a value that is removed and added in one response of the LAPI is
//! never missing. Until decisions are known every list is answered with 503: an empty list would make appliances lift all
//! their blocks.

mod access;
mod access_log;
pub mod entries;
pub mod format;
mod handler;
mod query;
mod renderings;
mod selection;
mod server;
mod site;

#[cfg(test)]
mod tests;

pub use self::server::{ListStatus, Mirror, MirrorStatus};
