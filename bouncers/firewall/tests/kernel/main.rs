//! The enforcing task against the running kernel, with `nft` as the independent witness. Each test runs in a user
//! and network namespace of its own: no privilege is needed, and no rule of the host is touched.

mod decisions;
#[path = "../kernel_world/mod.rs"]
mod kernel_world;
mod lifecycle;
mod operators_set;
mod repair;
mod rules;

const HOUR: u64 = 3600;
