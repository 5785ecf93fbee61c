//! Enforces CrowdSec decisions with nftables.

pub mod config;
mod commit;
mod layout;
mod names;
mod netlink;
mod plan;
mod spans;

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;
