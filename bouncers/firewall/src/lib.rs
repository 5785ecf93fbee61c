//! Enforces CrowdSec decisions with nftables.

pub mod config;
mod commit;
mod layout;
mod names;
mod netlink;
mod nft;
mod plan;
mod rules;
mod spans;
mod structure;

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;
