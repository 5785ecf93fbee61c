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
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::eviction::{Candidate, ClientGroup, Rank, choose};
use super::limits::Limits;

/// How many connections one scan chooses in advance, at most: a flood of new connections must not cost a scan each.
const CHOSEN_AT_ONCE: usize = 64;
/// A choice is at most this part of all, as the shares change with each connection that is closed or new.
const CHOSEN_PART: usize = 8;
/// How long a further request of an HTTP/2 connection waits for a permit.
const REQUEST_PERMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a choice is used.
const CHOICE_LIFETIME: Duration = Duration::from_millis(100);

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
    group: ClientGroup,
    requests: AtomicU32,
    /// Those of them whose body is not complete.
    bodies: AtomicU32,
    /// Since when one of them is being received.
    body_since: AtomicU64,
    /// Whether a request has been authenticated.
    authenticated: AtomicBool,
    /// Whether a response has begun that is not written yet.
    unflushed: AtomicBool,
    /// Whether the client may still be sending a body that is not read.
    unread: AtomicBool,
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
        self.unflushed.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.receiving.store(0, Ordering::Relaxed);
    }

    /// Whether requests beside this one are in flight.
    pub(super) fn has_others(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 1
    }

    /// A body is to be received.
    pub(super) fn body_begins(&self) {
        if self.bodies.fetch_add(1, Ordering::Relaxed) == 0 {
            self.body_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A body is complete, or will not be read further.
    pub(super) fn body_ends(&self) {
        self.bodies.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request on the connection has shown valid credentials.
    pub(super) fn authenticated(&self) {
        self.authenticated.store(true, Ordering::Relaxed);
    }

    /// The rest of a body is not read, or the head cannot be parsed.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Everything was written.
    pub(super) fn flushed(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.unflushed.load(Ordering::Relaxed) {
            self.unflushed.store(false, Ordering::Relaxed);
        }
    }

    /// Whether bytes that are written may belong to the response of a handler.
    pub(super) fn is_answering(&self) -> bool {
        self.unflushed.load(Ordering::Relaxed)
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

    fn is_closing(&self) -> bool {
        self.signal.load(Ordering::Relaxed) >= 2
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

impl ConnectionActivity {
    /// What counts when a connection has to be closed for another one. Pure.
    fn candidate(&self, number: u64) -> Candidate {
        let get = |since: &AtomicU64| since.load(Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed);
        let (receiving, stalled) = (get(&self.receiving), get(&self.write_stalled));
        let waits_for_client = requests <= self.bodies.load(Ordering::Relaxed) || stalled != 0;
        let since = match requests {
            _ if stalled != 0 => stalled,
            0 if receiving != 0 => receiving,
            0 => get(&self.idle),
            _ => get(&self.body_since),
        };
        let rank = match (self.authenticated.load(Ordering::Relaxed), waits_for_client) {
            (false, true) => Rank::Stranger,
            (true, true) => Rank::Idle,
            (_, false) => Rank::Busy,
        };
        Candidate { number, group: self.group, rank, since, weight: requests.max(1) }
    }
}

fn since(epoch: Instant) -> u64 {
    // From 1, because 0 means never.
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[derive(Debug)]
pub(super) struct ConnectionReaper {
    epoch: Instant,
    /// For connections, and for all requests of an HTTP/2 connection but its first.
    pub(super) permits: Arc<Semaphore>,
    /// HTTP/2 streams that stay open for a moment after their response. They end by themselves.
    pub(super) kept_streams: TaskTracker,
    next: AtomicU64,
    full: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<ConnectionActivity>>>,
    /// Connections to close for new ones, the next at the end, and when they were chosen.
    chosen: Mutex<(Option<Instant>, Vec<u64>)>,
}

/// A connection's registration, removed on drop.
pub(super) struct RegisteredConnection {
    number: u64,
    pub(super) activity: Arc<ConnectionActivity>,
    pub(super) reaper: Arc<ConnectionReaper>,
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        self.reaper.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl ConnectionReaper {
    /// For so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self {
            epoch: Instant::now(),
            kept_streams: TaskTracker::new(),
            // `Semaphore::new` panics above its maximum.
            permits: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            next: AtomicU64::new(0),
            full: AtomicBool::new(false),
            connections: Mutex::default(),
            chosen: Mutex::default(),
        }
    }

    pub(super) fn register(self: &Arc<Self>, group: ClientGroup) -> RegisteredConnection {
        let activity = Arc::new(ConnectionActivity {
            epoch: self.epoch,
            group,
            requests: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            body_since: AtomicU64::new(0),
            authenticated: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
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

    /// Closes one connection for a new one of this group; returns whether there is one to close.
    pub(super) fn evict_for(&self, group: ClientGroup) -> bool {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if chosen.0.is_none_or(|at| at.elapsed() > CHOICE_LIFETIME) || chosen.1.is_empty() {
            let candidates = connections.iter().filter(|(_, activity)| !activity.is_closing());
            let candidates = candidates.map(|(number, activity)| activity.candidate(*number)).collect();
            let most = (connections.len() / CHOSEN_PART).clamp(1, CHOSEN_AT_ONCE);
            let mut numbers = choose(candidates, group, most);
            numbers.reverse();
            *chosen = (Some(Instant::now()), numbers);
        }
        while let Some(number) = chosen.1.pop() {
            // Unless it has begun to be served since.
            if let Some(activity) = connections.get(&number)
                && activity.candidate(number).rank != Rank::Busy
                && activity.send(CloseSignal::Immediate)
            {
                return true;
            }
        }
        false
    }

    /// A permit for a further request of an HTTP/2 connection; `None` when there is none in time.
    pub(super) async fn request_permit(&self, of: &ConnectionActivity) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.evict_for(of.group);
        timeout(REQUEST_PERMIT_TIMEOUT, self.permits.clone().acquire_owned()).await.ok()?.ok()
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
        let reaper = Arc::new(ConnectionReaper::new(9));
        let limits = Limits::default();
        let entry = reaper.register(ClientGroup::of(None));
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
