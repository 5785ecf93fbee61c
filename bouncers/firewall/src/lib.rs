//! Enforces CrowdSec decisions with nftables.

pub mod cli;
pub mod config;
mod netlink;
