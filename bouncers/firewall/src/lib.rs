//! Enforces CrowdSec decisions with nftables.

pub mod config;
mod netlink;
