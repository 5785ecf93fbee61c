//! Delivers to each endpoint the difference between what it holds and what is in force, in order for each value.
//!
//! ```text
//!  cache ─► engine: pending ─► window (difference, one commit) ─► shipments ─► sinks
//!                     ▲ sweep                                        │ outcome
//!                     └──────────────────── circuit ◄────────────────┘
//! ```

pub mod circuit;
pub mod difference;
pub mod endpoint;
pub mod engine;
pub mod pending;
mod shipment;
mod snapshots;
pub mod status;
mod sweep;
