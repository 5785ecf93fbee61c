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
mod error;
mod metrics;
mod offload;
mod openapi;
mod query;
mod response;
mod router;
mod routes;
pub mod serve;
mod state;

#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod test_server;
