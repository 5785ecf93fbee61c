//! CrowdSec's Local API (LAPI) over HTTP: ingests alerts, serves decisions to bouncers.
//!
//! ```text
//! palisade_daemon::listen ──► router ──► auth ──► routes ──► palisade_service ──► palisade_store
//! ```
//!
//! `router` finds the route of a request and instruments it, `auth` authenticates the client, and the handlers in
//! `routes` translate between HTTP and the parts of `palisade_service`, which `state` holds together. `background` runs
//! what goes on beside the requests.

mod about;
mod adopt;
mod auth;
mod background;
mod body;
mod body_places;
pub mod cli;
mod error;
mod limits;
mod log_limits;
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
