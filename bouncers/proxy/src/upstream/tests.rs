//! Forwards requests to scripted upstreams.

mod answers;
mod bodies;
mod pools;
mod scripted;
mod switching;
