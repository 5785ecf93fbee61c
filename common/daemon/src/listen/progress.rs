//! How long clients take to send and to receive bodies.
//!
//! Only the time that is spent waiting for the client counts: a service that does not read, or has nothing to send, costs a
//! client nothing.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use super::limits::Limits;

/// Bytes a second in which a client must be able to receive what has been handed over for it.
const SEND_RATE: u64 = 512;
/// How much longer a stream may stall on a connection on which others are served: clients pause single downloads.
const STALL_BESIDE_OTHERS: u32 = 5;

/// A body that is being received. Times are those of the connection's activity.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// Since when the reader has been waiting for bytes; 0 while it does not.
    waiting: AtomicU64,
    /// How long it has waited before.
    waited: AtomicU64,
    bytes: AtomicU64,
    expired: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Receiving {
    /// The reader waits for the client.
    pub(super) fn waits(&self, now: u64, reader: &Waker) {
        let mut kept = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(reader)) {
            *kept = Some(reader.clone());
        }
        // Under the lock, for `expire`.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.waiting.store(now, Ordering::Relaxed);
        }
    }

    /// Bytes have come.
    pub(super) fn received(&self, bytes: u64, now: u64) {
        let since = self.waiting.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.waited.fetch_add(now.saturating_sub(since), Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the body came too slowly.
    pub(super) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    /// Whether it is too slow at `now`.
    fn is_slow(&self, now: u64, limits: &Limits) -> bool {
        let since = self.waiting.load(Ordering::Relaxed);
        if since == 0 {
            return false;
        }
        let waits = now.saturating_sub(since);
        let waited = waits + self.waited.load(Ordering::Relaxed);
        let is_below_rate = || {
            let bytes = u128::from(self.bytes.load(Ordering::Relaxed));
            bytes * 1000 < u128::from(limits.body_rate) * u128::from(waited)
        };
        lasts(waits, limits.body_idle) || (lasts(waited, limits.body_grace) && is_below_rate())
    }

    fn expire(&self) {
        self.expired.store(true, Ordering::Release);
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.wake();
        }
    }
}

/// A response that is being sent: when the last part of it was handed over, postponed by the time that the client may
/// take for its length; 0 while the next part is awaited from the service.
#[derive(Debug, Default)]
pub(super) struct Sending(AtomicU64);

impl Sending {
    /// A part was handed over to be sent.
    pub(super) fn handed_over(&self, bytes: u64, now: u64) {
        self.0.store(now + bytes * 1000 / SEND_RATE, Ordering::Relaxed);
    }

    /// The client has made room for the next part, or there is none.
    pub(super) fn goes_on(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn stalls(&self, now: u64, limit: Duration) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        since != 0 && lasts(now.saturating_sub(since), limit)
    }
}

fn lasts(millis: u64, limit: Duration) -> bool {
    u128::from(millis) > limit.as_millis()
}

/// The bodies of a connection in either direction.
#[derive(Debug, Default)]
pub(super) struct Bodies(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    received: Vec<Weak<Receiving>>,
    sent: Vec<Weak<Sending>>,
}

impl Bodies {
    pub(super) fn receive(&self) -> Arc<Receiving> {
        let body = Arc::new(Receiving::default());
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).received, &body);
        body
    }

    /// A response whose head is handed over at `now`.
    pub(super) fn send(&self, now: u64) -> Arc<Sending> {
        let body = Arc::new(Sending(AtomicU64::new(now)));
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).sent, &body);
        body
    }

    /// Ends bodies that are received too slowly; returns whether the connection must be closed because the client does
    /// not take a response.
    pub(super) fn check(&self, now: u64, limits: &Limits) -> bool {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for body in lists.received.iter().filter_map(Weak::upgrade) {
            if !body.is_expired() && body.is_slow(now, limits) {
                body.expire();
            }
        }
        let sent: Vec<_> = lists.sent.iter().filter_map(Weak::upgrade).collect();
        drop(lists);
        let stalled = |limit| sent.iter().filter(|body| body.stalls(now, limit)).count();
        let all = sent.len();
        all > 0
            && (stalled(limits.write_stalled) == all
                || stalled(limits.write_stalled * STALL_BESIDE_OTHERS) > 0)
    }
}

fn add<T>(list: &mut Vec<Weak<T>>, one: &Arc<T>) {
    // Only when it would grow: an HTTP/2 connection has many requests at once.
    if list.len() == list.capacity() {
        list.retain(|other| other.strong_count() > 0);
    }
    list.push(Arc::downgrade(one));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            body_idle: Duration::from_secs(30),
            body_rate: 500,
            body_grace: Duration::from_secs(10),
            write_stalled: Duration::from_secs(60),
            ..Limits::default()
        }
    }

    #[test]
    fn bodies_must_go_on_and_keep_a_rate_after_a_while() {
        let (limits, waker) = (limits(), Waker::noop());
        let body = Receiving::default();
        assert!(!body.is_slow(1_000_000, &limits), "nobody reads it");
        body.waits(1000, waker);
        assert!(!body.is_slow(11_000, &limits), "the grace");
        assert!(body.is_slow(11_001, &limits), "no byte in it");
        body.received(6000, 2000);
        body.waits(100_000, waker);
        assert!(!body.is_slow(110_000, &limits), "6000 bytes in 11 seconds of waiting");
        assert!(body.is_slow(111_001, &limits), "6000 bytes in 12 seconds");
        body.received(1_000_000, 111_001);
        body.waits(200_000, waker);
        assert!(!body.is_slow(230_000, &limits));
        assert!(body.is_slow(230_001, &limits), "idle, whatever came before");
    }

    #[test]
    fn the_reader_of_a_slow_body_is_woken() {
        let bodies = Bodies::default();
        let body = bodies.receive();
        let (waker, count) = counted();
        body.waits(1, &waker);
        assert!(!bodies.check(20_000, &limits()) && body.is_expired());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!bodies.check(30_000, &limits()));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "once");
    }

    #[test]
    fn responses_that_are_not_taken_close_the_connection() {
        let (bodies, limits) = (Bodies::default(), limits());
        let (one, other) = (bodies.send(1), bodies.send(1));
        assert!(bodies.check(60_002, &limits), "no room for the first byte");
        one.goes_on();
        other.goes_on();
        assert!(!bodies.check(1_000_000, &limits), "the service has nothing to send");
        one.handed_over(512 * 10, 1);
        other.handed_over(512, 1);
        assert!(!bodies.check(70_000, &limits), "10 seconds more for the larger one");
        assert!(bodies.check(70_002, &limits));
        other.goes_on();
        assert!(!bodies.check(70_002, &limits), "one download is paused");
        assert!(bodies.check(310_002, &limits), "for too long");
        one.goes_on();
        other.handed_over(1, 1);
        drop(other);
        assert!(!bodies.check(1_000_000, &limits));
    }

    struct Count(AtomicU64);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Waker, Arc<Count>) {
        let count = Arc::new(Count(AtomicU64::new(0)));
        (Waker::from(count.clone()), count)
    }
}
