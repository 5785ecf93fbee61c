//! Forwards requests to scripted upstreams.

mod answers;
mod bodies;
mod http2;
mod pools;
mod scripted;
mod switching;
mod tls;
