//! Accepts connections and bounds what each of them may use.
//!
//! ```text
//! accept (TCP, unix socket) ─► handshake (TLS) ─► hyper: HTTP/1.1, HTTP/2 ─► service
//!     ▲ a permit per connection                     ▲
//!     └───────────── reaper: closes connections that are idle, slow to send or slow to read
//! ```

mod accept;
mod bind;
mod connection;
mod connection_reaper;
mod observed_io;
mod peer;
mod service;
mod socket;
pub mod tls;

#[cfg(test)]
mod tests;

pub use accept::{ConnectionMetrics, Listeners, Serving};
pub use bind::{ListenError, bind};
pub use connection_reaper::Limits;
pub use peer::Peer;
pub use service::HttpService;
pub use socket::{SocketFile, bind_socket};

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// File descriptors reserved for everything that is not a connection.
const RESERVED: u64 = 256;
/// The lower bound on connections, however few descriptors there are.
const MIN_CONNECTIONS: u64 = 64;
// Some systems set no limit or 2^30, which would bound nothing.
const MAX_CONNECTIONS: u64 = 500_000;

/// Raises the limit on open files to the hard limit, and returns how many connections it allows.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if limit.current != limit.maximum {
        // The soft limit is usually 1024 for the sake of programs that use `select`. The hard limit is the
        // operator's.
        let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => current = limit.maximum.unwrap_or(u64::MAX),
            Err(cause) => warn!(%cause, current, "cannot raise the limit on open files"),
        }
    }
    let most = current.saturating_sub(RESERVED).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    info!(connections = most, "maximum number of connections, derived from LimitNOFILE");
    usize::try_from(most).unwrap_or(usize::MAX)
}
