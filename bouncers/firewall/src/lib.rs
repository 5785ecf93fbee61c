//! Enforces CrowdSec decisions with nftables.
