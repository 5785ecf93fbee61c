//! Watches the connections and cuts those that hold a place without using it.
//!
//! Each connection notes when it began to do what it is doing; once a second all of them are looked at. So a
//! connection costs no timer of its own, however many there are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Without a request, when all places are taken.
    pub idle_when_full: Duration,
    /// Without taking anything of what we have to say.
    pub deaf: Duration,
    /// For requests under way when the LAPI stops.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(15),
            // Log processors say that they live every minute, and should find their connection open.
            idle: Duration::from_secs(300),
            idle_when_full: Duration::from_secs(5),
            deaf: Duration::from_secs(60),
            farewell: Duration::from_secs(7),
        }
    }
}

/// What is to happen to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing.
    None,
    /// Finish what is under way, then close.
    Finish,
    /// Close.
    Cut,
}

/// What a connection notes. Moments are milliseconds since the warden began, and 0 for never.
#[derive(Debug)]
pub(super) struct Notes {
    epoch: Instant,
    requests: AtomicU32,
    http2: AtomicBool,
    /// Since when there is no request.
    idle: AtomicU64,
    /// Since when a request is coming in.
    asking: AtomicU64,
    /// Since when the client takes nothing.
    deaf: AtomicU64,
    order: AtomicU8,
    ordered: Notify,
}

impl Notes {
    fn now(&self) -> u64 {
        since(self.epoch)
    }

    /// Bytes came in.
    pub(super) fn heard(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.asking.load(Ordering::Relaxed) == 0 {
            self.asking.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Bytes were taken by the client, or not.
    pub(super) fn told(&self, taken: bool) {
        if taken {
            if self.deaf.load(Ordering::Relaxed) != 0 {
                self.deaf.store(0, Ordering::Relaxed);
            }
        } else if self.deaf.load(Ordering::Relaxed) == 0 {
            self.deaf.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request is here in full but its body.
    pub(super) fn begin(&self, http2: bool) {
        self.http2.store(http2, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.asking.store(0, Ordering::Relaxed);
    }

    /// A request is answered in full.
    pub(super) fn end(&self) {
        self.idle.store(self.now(), Ordering::Relaxed);
        self.asking.store(0, Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits for an order that is not `None`.
    pub(super) async fn order(&self) -> Order {
        loop {
            let woken = self.ordered.notified();
            match self.order.load(Ordering::Acquire) {
                0 => woken.await,
                1 => return Order::Finish,
                _ => return Order::Cut,
            }
        }
    }

    /// Waits for `Cut`.
    pub(super) async fn cut(&self) {
        loop {
            let woken = self.ordered.notified();
            if self.order.load(Ordering::Acquire) >= 2 {
                return;
            }
            woken.await;
        }
    }

    fn give(&self, order: Order) -> bool {
        let number = match order {
            Order::None => return false,
            Order::Finish => 1,
            Order::Cut => 2,
        };
        let new = self.order.fetch_max(number, Ordering::AcqRel) < number;
        if new {
            self.ordered.notify_waiters();
            self.ordered.notify_one();
        }
        new
    }

    /// What is to happen to this connection at `now`. Pure.
    fn judge(&self, now: u64, full: bool, limits: &Limits) -> Order {
        let lasts = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && u128::from(now.saturating_sub(since)) > limit.as_millis()
        };
        if lasts(&self.deaf, limits.deaf) {
            return Order::Cut;
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Order::None;
        }
        // Between requests HTTP/2 has things to say of its own.
        if !self.http2.load(Ordering::Relaxed) && lasts(&self.asking, limits.headers) {
            return Order::Cut;
        }
        let idle = if full { limits.idle_when_full } else { limits.idle };
        if !lasts(&self.idle, idle) {
            return Order::None;
        }
        // Who was told to finish and is still here some seconds later is cut.
        if self.order.load(Ordering::Acquire) == 1 { Order::Cut } else { Order::Finish }
    }
}

fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Knows all connections.
#[derive(Debug)]
pub(super) struct Warden {
    epoch: Instant,
    next: AtomicU64,
    full: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<Notes>>>,
}

/// A connection's entry; leaves when dropped.
pub(super) struct Entry {
    number: u64,
    pub(super) notes: Arc<Notes>,
    warden: Arc<Warden>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.warden.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Warden {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            next: AtomicU64::new(0),
            full: AtomicBool::new(false),
            connections: Mutex::default(),
        }
    }

    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let notes = Arc::new(Notes {
            epoch: self.epoch,
            requests: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            idle: AtomicU64::new(since(self.epoch)),
            asking: AtomicU64::new(0),
            deaf: AtomicU64::new(0),
            order: AtomicU8::new(0),
            ordered: Notify::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.insert(number, notes.clone());
        Entry { number, notes, warden: self.clone() }
    }

    /// Whether all places are taken: then idle ones go sooner.
    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Looks at all connections once; says how many it told to go.
    fn round(&self, limits: &Limits) -> u64 {
        let (now, full) = (since(self.epoch), self.full.load(Ordering::Relaxed));
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let told = connections.values().filter(|notes| notes.give(notes.judge(now, full, limits)));
        u64::try_from(told.count()).unwrap_or(u64::MAX)
    }

    /// Looks once a second until `stop` fires.
    pub(super) async fn watch(&self, limits: Limits, stop: CancellationToken, cut: impl Fn(u64)) {
        let fastest = limits.idle.min(limits.headers).min(limits.deaf) / 4;
        let mut ticks =
            tokio::time::interval(fastest.clamp(Duration::from_millis(20), Duration::from_secs(1)));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let told = self.round(&limits);
            if told > 0 {
                tracing::debug!(connections = told, "idle or slow connections told to go");
                cut(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_uses_its_place_keeps_it() {
        let warden = Arc::new(Warden::new());
        let limits = Limits::default();
        let entry = warden.enter();
        let notes = &entry.notes;
        let at = |seconds: u64| seconds * 1000 + 1;
        assert_eq!(notes.judge(at(299), false, &limits), Order::None);
        assert_eq!(notes.judge(at(302), false, &limits), Order::Finish);
        assert_eq!(notes.judge(at(7), true, &limits), Order::Finish, "sooner when all places are taken");
        notes.heard();
        assert_eq!(notes.judge(at(10), false, &limits), Order::None);
        assert_eq!(notes.judge(at(17), false, &limits), Order::Cut, "headers must come");
        notes.begin(false);
        assert_eq!(notes.judge(at(9999), true, &limits), Order::None, "a request may take its time");
        notes.told(false);
        assert_eq!(notes.judge(at(59), false, &limits), Order::None);
        assert_eq!(notes.judge(at(62), false, &limits), Order::Cut, "who does not listen is cut");
        notes.told(true);
        assert_eq!(notes.judge(at(9999), true, &limits), Order::None);
        notes.end();
        notes.begin(true);
        notes.end();
        notes.heard();
        assert_eq!(notes.judge(at(20), false, &limits), Order::None, "HTTP/2 talks between requests");
        assert!(notes.give(Order::Finish) && !notes.give(Order::Finish));
        assert_eq!(notes.judge(at(400), false, &limits), Order::Cut);
        drop(entry);
        assert!(warden.connections.lock().unwrap().is_empty());
    }
}
