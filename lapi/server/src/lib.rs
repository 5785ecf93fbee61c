//! The companion Local API: takes alerts, makes decisions, feeds bouncers.
//!
//! ```text
//! listen ──► router ──► auth (who asks) ──► routes ──► ingest ──► store
//!                                              │                    │ commits
//!                                              └── ActiveSet ◄── replication
//! ```
//!
//! `listen` takes connections in, `router` decides what a path and a method mean, `auth` who asks, the route modules
//! answer. Everything they share is [`Lapi`].

pub mod auth;
pub mod body;
pub mod cli;
pub mod database;
pub mod error;
mod health;
pub mod listen;
pub mod metrics;
pub mod query;
pub mod registry;
pub mod router;
pub mod serve;
pub mod state;

#[cfg(test)]
mod fixture;

mod alerts;
mod allowlists;
mod decisions;
mod ingest;
mod long_poll;
mod offload;
mod openapi;
mod replication;
mod retention;
mod usage;
mod watchers;

pub use error::ApiError;
pub use state::{Clock, Lapi, Parts, Setup};

#[cfg(test)]
mod route_tests;
