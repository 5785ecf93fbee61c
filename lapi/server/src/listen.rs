//! Takes connections in, and lets none of them hold more than it should.
//!
//! ```text
//! accept (TCP, unix socket) ─► handshake (TLS) ─► hyper: HTTP/1.1, HTTP/2 ─► router
//!    ▲ a place per connection                      ▲
//!    └───────────── reaper: cuts whoever is idle, slow to ask or slow to listen
//! ```

mod accept;
mod bind;
mod connection;
mod connection_reaper;
mod observed_io;
mod socket;
pub mod tls;

#[cfg(test)]
mod tests;

pub use accept::{Listeners, Serving};
pub use bind::{ListenError, bind};
pub use connection_reaper::Limits;
pub use socket::{SocketFile, bind_socket};

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// File descriptors that are left for everything that is not a connection.
const RESERVED: u64 = 256;
/// Connections at least, however few descriptors there are.
const MIN_CONNECTIONS: u64 = 64;
/// Connections at most.
const MAX_CONNECTIONS: u64 = 500_000;

/// Asks for as many file descriptors as the system allows, and says how many connections they are good for.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if limit.current != limit.maximum {
        let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => current = limit.maximum.unwrap_or(u64::MAX),
            Err(cause) => warn!(%cause, current, "the limit of open files cannot be raised"),
        }
    }
    let most = current.saturating_sub(RESERVED).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    info!(connections = most, "connections at most; LimitNOFILE in the unit decides");
    usize::try_from(most).unwrap_or(usize::MAX)
}
