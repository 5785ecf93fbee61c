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
    /// For a PROXY protocol header, where one is expected.
    pub proxy_header: Duration,
    /// Maximum number of TLS handshakes in progress; further ones wait.
    pub handshakes: usize,
    /// From a connection's beginning to the first byte of its first request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// Without a byte of a request's body; on strict listeners.
    pub body_idle: Duration,
    /// Bytes of a request's body for each second spent waiting for it, after [`Limits::body_grace`]; on strict listeners.
    pub body_rate: u64,
    /// See [`Limits::body_rate`].
    pub body_grace: Duration,
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
            proxy_header: Duration::from_secs(5),
            handshakes: usize::MAX,
            first_byte: Duration::MAX,
            // A client that sends its headers byte by byte holds a connection for no longer than this.
            headers: Duration::from_secs(15),
            body_idle: Duration::from_secs(30),
            body_rate: 500,
            body_grace: Duration::from_secs(10),
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

impl Limits {
    /// How often connections are checked: once a second, or more often where limits are shorter, as in tests.
    pub(super) fn sweep_interval(&self) -> Duration {
        let fastest =
            [self.idle, self.headers, self.write_stalled, self.first_byte, self.body_idle, self.body_grace];
        let fastest = fastest.into_iter().min().unwrap_or_default() / 4;
        fastest.clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

/// Maximum size of a request's head, in bytes.
// Go's default is 1 MiB. Stock clients send a token and a query, usually of some hundred bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Maximum number of header lines in a request.
// Proxies have the same limit, Apache's among them.
pub(super) const MAX_HEADER_LINES: usize = 100;
/// Size of a head above which HTTP/2 refuses it without a message. Below, the request is decoded and refused with one.
pub(super) const MAX_DECODED_HEAD: u32 = 256 * 1024;

/// File descriptors reserved for everything that is not a connection, where there are enough.
const RESERVED: u64 = 256;
/// What a daemon needs besides connections and its database: standard streams, listeners, logs, the runtime, the service
/// manager, files that are read again, connections of scrapers.
const RESERVED_AT_LEAST: u64 = 32;
/// The lower bound on connections, however few descriptors there are.
const MIN_CONNECTIONS: u64 = 8;
// Some systems set no limit or 2^30, which would bound nothing.
const MAX_CONNECTIONS: u64 = 500_000;

/// The limit on open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles(u64);

impl OpenFiles {
    /// Raises the limit to the hard limit and returns it.
    pub fn raise() -> Self {
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
        Self(current)
    }

    /// A quarter of them: the most that connections to a database may take.
    pub fn quarter(self) -> u64 {
        self.0 / 4
    }

    /// How many connections there may be beside a database that needs so many files.
    pub fn connections(self, database: u64) -> usize {
        let most = self.connections_beside(database);
        info!(
            connections = most,
            open_files = self.0,
            "maximum number of connections, derived from LimitNOFILE"
        );
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn connections_beside(self, database: u64) -> u64 {
        let reserved = (RESERVED_AT_LEAST + database).max(RESERVED.min(self.quarter()));
        self.0.saturating_sub(reserved).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_what_the_server_needs() {
        for (files, database, connections) in [
            (1_024, 20, 768),
            (1_024, 400, 592),
            (64, 20, 12),
            (30, 20, 8),
            (100_000, 20, 99_744),
            (u64::MAX, 20, 500_000),
        ] {
            assert_eq!(OpenFiles(files).connections_beside(database), connections, "{files} {database}");
        }
    }
}
