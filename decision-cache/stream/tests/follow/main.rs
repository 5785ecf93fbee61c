//! The follower against a scripted LAPI: what responses change, and what is requested after failures.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod failures;
mod responses;
mod session;
mod timing;
