//! The routes as a client sees them: a whole LAPI on a database of its own, asked without a network.

mod alerts;
mod allowlists;
mod batches;
mod deletion;
mod follow;
mod live;
mod openapi;
mod others;
mod profiles;
mod stream;
mod test_server;
mod usage;
