//! Tests of the routes with a whole LAPI on its own database.

mod about;
mod access;
mod access_log;
mod alerts;
mod allowlists;
mod batches;
mod clients;
mod connections;
mod deletion;
mod follow;
mod live;
mod openapi;
mod others;
mod profiles;
mod recorded;
mod schema;
mod stream;
mod usage;
