//! CrowdSec's Local API (LAPI): ingests alerts, stores decisions, serves them to bouncers.
//!
//! ```text
//! listen ──► router ──► auth ──► routes ──► ingest ──► store
//!                                    │                    │ commits
//!                                    └── ActiveSet ◄── replication
//! ```
//!
//! `palisade_daemon::listen` accepts connections, `router` maps paths and methods to routes, `auth` authenticates, the route modules
//! answer. They share one `Lapi`.

mod auth;
mod body;
pub mod cli;
mod database;
mod error;
mod health;
mod metrics;
mod query;
mod registry;
mod router;
pub mod serve;
mod state;

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

pub(crate) use state::Lapi;

#[cfg(test)]
mod route_tests;
