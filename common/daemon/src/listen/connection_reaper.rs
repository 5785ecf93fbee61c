//! Closes connections that are idle or stalled.
//!
//! Each connection records the start of its current activity; a sweep once a second checks them all. No connection
//! needs a timer of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// How a connection is to be closed; `None` if it stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseSignal {
    None,
    /// Finish the requests in flight, then close.
    Graceful,
    /// Close now.
    Immediate,
}

/// What a connection is doing. Times are milliseconds since the reaper was created; 0 is never.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    epoch: Instant,
    requests: AtomicU32,
    http2: AtomicBool,
    /// Since when there has been no request.
    idle: AtomicU64,
    /// Since when a request has been arriving.
    receiving: AtomicU64,
    /// Since when writes have been blocked.
    write_stalled: AtomicU64,
    signal: AtomicU8,
    signalled: Notify,
}

impl ConnectionActivity {
    fn now(&self) -> u64 {
        since(self.epoch)
    }

    /// Bytes were received.
    pub(super) fn bytes_received(&self) {
        // Bytes of a body, or of a pipelined request, do not begin another time limit. Relaxed throughout: the sweep
        // tolerates a value that is a moment old.
        if self.requests.load(Ordering::Relaxed) == 0 && self.receiving.load(Ordering::Relaxed) == 0 {
            self.receiving.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A write was accepted (`taken`) or is blocked.
    pub(super) fn write_polled(&self, taken: bool) {
        if taken {
            // Read before it is written: writes are frequent and the value mostly stays 0.
            if self.write_stalled.load(Ordering::Relaxed) != 0 {
                self.write_stalled.store(0, Ordering::Relaxed);
            }
        } else if self.write_stalled.load(Ordering::Relaxed) == 0 {
            self.write_stalled.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The headers of a request are complete.
    pub(super) fn begin(&self, http2: bool) {
        self.http2.store(http2, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.receiving.store(0, Ordering::Relaxed);
    }

    /// The response to a request is complete.
    pub(super) fn end(&self) {
        // Before the count falls: the sweep must not see a connection without requests and an old idle time.
        self.idle.store(self.now(), Ordering::Relaxed);
        self.receiving.store(0, Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits for a signal other than `None`.
    pub(super) async fn close_signal(&self) -> CloseSignal {
        loop {
            // Created before the load, so that a signal in between is not missed.
            let woken = self.signalled.notified();
            match self.signal.load(Ordering::Acquire) {
                0 => woken.await,
                1 => return CloseSignal::Graceful,
                _ => return CloseSignal::Immediate,
            }
        }
    }

    /// Waits for `Immediate`.
    pub(super) async fn immediate_close(&self) {
        loop {
            let woken = self.signalled.notified();
            if self.signal.load(Ordering::Acquire) >= 2 {
                return;
            }
            woken.await;
        }
    }

    fn send(&self, signal: CloseSignal) -> bool {
        let number = match signal {
            CloseSignal::None => return false,
            CloseSignal::Graceful => 1,
            CloseSignal::Immediate => 2,
        };
        // Never lowered: a graceful signal must not take back an immediate one.
        let new = self.signal.fetch_max(number, Ordering::AcqRel) < number;
        if new {
            self.signalled.notify_waiters();
            // `notify_waiters` wakes only those that wait now. The permit of `notify_one` is for a task that is about
            // to.
            self.signalled.notify_one();
        }
        new
    }

    /// The signal for this connection at `now`. Pure.
    fn evaluate(&self, now: u64, full: bool, limits: &Limits) -> CloseSignal {
        let lasts = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && u128::from(now.saturating_sub(since)) > limit.as_millis()
        };
        // Before the check for requests in flight, which can stall as well.
        if lasts(&self.write_stalled, limits.write_stalled) {
            return CloseSignal::Immediate;
        }
        // A parked request may last for minutes without a byte.
        if self.requests.load(Ordering::Relaxed) > 0 {
            return CloseSignal::None;
        }
        // HTTP/2 has control frames between requests, which are not the beginning of one.
        if !self.http2.load(Ordering::Relaxed) && lasts(&self.receiving, limits.headers) {
            return CloseSignal::Immediate;
        }
        let idle = if full { limits.idle_when_full } else { limits.idle };
        if !lasts(&self.idle, idle) {
            return CloseSignal::None;
        }
        // A connection that is still open at the next idle check after `Graceful` is closed.
        if self.signal.load(Ordering::Acquire) == 1 { CloseSignal::Immediate } else { CloseSignal::Graceful }
    }
}

fn since(epoch: Instant) -> u64 {
    // From 1, because 0 means never.
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[derive(Debug)]
pub(super) struct ConnectionReaper {
    epoch: Instant,
    next: AtomicU64,
    full: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<ConnectionActivity>>>,
}

/// A connection's registration, removed on drop.
pub(super) struct RegisteredConnection {
    number: u64,
    pub(super) activity: Arc<ConnectionActivity>,
    reaper: Arc<ConnectionReaper>,
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        self.reaper.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl ConnectionReaper {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            next: AtomicU64::new(0),
            full: AtomicBool::new(false),
            connections: Mutex::default(),
        }
    }

    pub(super) fn register(self: &Arc<Self>) -> RegisteredConnection {
        let activity = Arc::new(ConnectionActivity {
            epoch: self.epoch,
            requests: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            // A connection that never sends anything is idle from the start.
            idle: AtomicU64::new(since(self.epoch)),
            receiving: AtomicU64::new(0),
            write_stalled: AtomicU64::new(0),
            signal: AtomicU8::new(0),
            signalled: Notify::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.insert(number, activity.clone());
        RegisteredConnection { number, activity, reaper: self.clone() }
    }

    /// Whether the connection limit is reached: idle connections are then closed sooner.
    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Checks all connections once; returns how many were newly signalled.
    fn sweep(&self, limits: &Limits) -> u64 {
        let (now, full) = (since(self.epoch), self.full.load(Ordering::Relaxed));
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let signalled =
            connections.values().filter(|activity| activity.send(activity.evaluate(now, full, limits)));
        u64::try_from(signalled.count()).unwrap_or(u64::MAX)
    }

    /// Sweeps once a second until `stop` fires.
    pub(super) async fn run(&self, limits: Limits, stop: CancellationToken, cut: &Counter) {
        // Tests use limits of fractions of a second.
        let fastest = limits.idle.min(limits.headers).min(limits.write_stalled) / 4;
        let mut ticks =
            tokio::time::interval(fastest.clamp(Duration::from_millis(20), Duration::from_secs(1)));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let signalled = self.sweep(&limits);
            if signalled > 0 {
                tracing::debug!(connections = signalled, "closing idle or stalled connections");
                cut.inc_by(signalled);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_closed_and_active_ones_kept() {
        let reaper = Arc::new(ConnectionReaper::new());
        let limits = Limits::default();
        let entry = reaper.register();
        let activity = &entry.activity;
        let at = |seconds: u64| seconds * 1000 + 1;
        assert_eq!(activity.evaluate(at(299), false, &limits), CloseSignal::None);
        assert_eq!(activity.evaluate(at(302), false, &limits), CloseSignal::Graceful);
        assert_eq!(
            activity.evaluate(at(7), true, &limits),
            CloseSignal::Graceful,
            "sooner when all places are taken"
        );
        activity.bytes_received();
        assert_eq!(activity.evaluate(at(10), false, &limits), CloseSignal::None);
        assert_eq!(activity.evaluate(at(17), false, &limits), CloseSignal::Immediate, "headers must come");
        activity.begin(false);
        assert_eq!(
            activity.evaluate(at(9999), true, &limits),
            CloseSignal::None,
            "a request may take its time"
        );
        activity.write_polled(false);
        assert_eq!(activity.evaluate(at(59), false, &limits), CloseSignal::None);
        assert_eq!(
            activity.evaluate(at(62), false, &limits),
            CloseSignal::Immediate,
            "who does not listen is cut"
        );
        activity.write_polled(true);
        assert_eq!(activity.evaluate(at(9999), true, &limits), CloseSignal::None);
        activity.end();
        activity.begin(true);
        activity.end();
        activity.bytes_received();
        assert_eq!(
            activity.evaluate(at(20), false, &limits),
            CloseSignal::None,
            "HTTP/2 talks between requests"
        );
        assert!(activity.send(CloseSignal::Graceful) && !activity.send(CloseSignal::Graceful));
        assert_eq!(activity.evaluate(at(400), false, &limits), CloseSignal::Immediate);
        drop(entry);
        assert!(reaper.connections.lock().unwrap().is_empty());
    }
}
