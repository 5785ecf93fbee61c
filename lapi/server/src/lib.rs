//! CrowdSec's Local API (LAPI): ingests alerts, stores decisions, serves them to bouncers.
//!
//! ```text
//! listen ──► router ──► auth ──► routes ──► ingest ──► store
//!                                    │                    │ commits
//!                                    └── ActiveSet ◄── replication
//! ```
//!
//! `palisade_daemon::listen` accepts connections, `router` maps paths and methods to routes, `auth` authenticates, the route modules
//! answer, with what `palisade_service` does. They share one `Lapi`.

mod auth;
mod background;
mod body;
pub mod cli;
mod database;
mod error;
mod health;
mod metrics;
mod query;
mod router;
pub mod serve;
mod state;

#[cfg(test)]
mod fixture;

mod alerts;
mod allowlists;
mod decisions;
mod offload;
mod openapi;
mod usage;
mod watchers;

#[cfg(test)]
mod route_tests;
