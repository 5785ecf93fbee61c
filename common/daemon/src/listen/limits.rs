//! How many connections are accepted, and how long each may take for what.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Connection limits and timeouts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of connections.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Without a request, while the connection limit is reached.
    pub idle_when_full: Duration,
    /// While the client reads nothing of a response.
    pub write_stalled: Duration,
    /// For requests in flight at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshake: Duration::from_secs(10),
            // A client that sends its headers byte by byte holds a connection for no longer than this.
            headers: Duration::from_secs(15),
            // Log processors send a heartbeat every minute and should find their connection open.
            idle: Duration::from_secs(300),
            idle_when_full: Duration::from_secs(5),
            // A slow reader may be slow for as long as it reads at all. One that reads nothing holds a response's
            // memory.
            write_stalled: Duration::from_secs(60),
            // Less than the grace period at shutdown, so that connections are closed here and not by the end of the
            // process.
            drain: Duration::from_secs(7),
        }
    }
}

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
