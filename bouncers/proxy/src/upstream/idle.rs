//! Keeps the idle connections of an upstream.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::h1::{Announced, Connection};

/// Memory for received bytes that an idle connection keeps.
const KEPT_BUFFER: usize = 16 * 1024;

/// Idle connections, the last used one first: the others age, and are closed when fewer are needed.
#[derive(Debug)]
pub(crate) struct IdleConnections {
    connections: Mutex<VecDeque<Box<Connection>>>,
    limit: usize,
    max_age: Duration,
}

impl IdleConnections {
    pub(crate) fn new(limit: usize, max_age: Duration) -> Self {
        Self { connections: Mutex::new(VecDeque::new()), limit, max_age }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection on which nothing happened since it was parked.
    pub(crate) fn take(&self, announced: Option<Announced>, now: Instant) -> Option<Box<Connection>> {
        loop {
            // A statement of its own: the guard must not be held while the connection is looked at, or closed.
            let taken = match announced {
                None => self.lock().pop_back(),
                Some(_) => self.take_announced(announced),
            };
            let mut connection = taken?;
            if now.saturating_duration_since(connection.idle_since) < self.max_age && connection.is_alive() {
                return Some(connection);
            }
        }
    }

    fn take_announced(&self, announced: Option<Announced>) -> Option<Box<Connection>> {
        let mut connections = self.lock();
        let at = connections.iter().rposition(|connection| connection.announced == announced)?;
        connections.remove(at)
    }

    /// Keeps a connection; the oldest one gives way.
    pub(crate) fn park(&self, mut connection: Box<Connection>, now: Instant) {
        if self.limit == 0 {
            return;
        }
        connection.reused = true;
        connection.idle_since = now;
        if connection.read.capacity() > KEPT_BUFFER {
            connection.read = bytes::BytesMut::new();
        }
        let displaced = {
            let mut connections = self.lock();
            let displaced = if connections.len() >= self.limit { connections.pop_front() } else { None };
            connections.push_back(connection);
            displaced
        };
        drop(displaced);
    }

    /// Closes connections that are too old, or that the upstream closed. Called now and then.
    pub(crate) fn sweep(&self) {
        let mut closed = Vec::new();
        let mut connections = self.lock();
        let mut at = 0;
        while at < connections.len() {
            let connection = &mut connections[at];
            if connection.idle_since.elapsed() < self.max_age && connection.is_alive() {
                at += 1;
            } else {
                closed.extend(connections.remove(at));
            }
        }
        drop(connections);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}
