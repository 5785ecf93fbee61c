//! The client side of HTTP/2: a few connections for each upstream, each with a task of its own, and many requests on each.

mod body;
mod connections;
mod exchange;
mod request;
mod sender;
mod tunnel;

pub(crate) use self::body::H2Body;
pub(crate) use self::connections::{Connections, StreamSlot};
pub(crate) use self::exchange::{Answer, Exchange};
pub(crate) use self::request::{RequestHead, request};
pub(crate) use self::tunnel::H2Tunnel;

/// Connections to one upstream.
const MAX_CONNECTIONS: usize = 4;
/// Requests at a time on one connection, if the upstream allows as many.
const MAX_STREAMS: usize = 256;
/// What an upstream may send of one response before the client takes it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Room for the windows of all streams: responses that clients take slowly must not stop those of others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// What is kept of one request's body for an upstream that does not take it.
const SEND_BUFFER: usize = 64 * 1024;
