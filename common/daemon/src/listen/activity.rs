//! What a connection is doing, as its tasks record it and the sweep reads it.

use std::{
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::eviction::{Candidate, ClientGroup, Rank};
use super::limits::Limits;
use super::progress::Bodies;
use super::strict::Stop;

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
    /// The peer of the socket.
    socket: Option<IpAddr>,
    /// The client that a PROXY protocol header names instead.
    announced: OnceLock<Option<IpAddr>>,
    /// Whether a TLS handshake is in progress.
    shaking_hands: AtomicBool,
    /// Tunnels that go on after their request.
    held: AtomicU32,
    /// All requests so far.
    served: AtomicU32,
    /// Requests in flight.
    requests: AtomicU32,
    /// The request whose body is malformed, from 1; 0 if there is none.
    malformed_body: AtomicU32,
    /// Whether bytes were refused that no request has been made of.
    malformed: AtomicBool,
    /// Whether what follows is the content of a tunnel.
    tunnel: AtomicBool,
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
    /// How they come, and how responses are taken.
    pub(super) progress: Bodies,
    /// Since when there has been no request.
    idle: AtomicU64,
    /// Since when a request has been arriving.
    receiving: AtomicU64,
    /// Since when a frame of HTTP/2 has been incomplete.
    frame_since: AtomicU64,
    /// Since when writes have been blocked.
    write_stalled: AtomicU64,
    signal: AtomicU8,
    signalled: Notify,
}

impl ConnectionActivity {
    pub(super) fn new(epoch: Instant, socket: Option<IpAddr>) -> Self {
        Self {
            epoch,
            socket,
            announced: OnceLock::new(),
            shaking_hands: AtomicBool::new(false),
            held: AtomicU32::new(0),
            served: AtomicU32::new(0),
            malformed_body: AtomicU32::new(0),
            malformed: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            body_since: AtomicU64::new(0),
            authenticated: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            progress: Bodies::default(),
            // A connection that never sends anything is idle from the start.
            idle: AtomicU64::new(since(epoch)),
            receiving: AtomicU64::new(0),
            frame_since: AtomicU64::new(0),
            write_stalled: AtomicU64::new(0),
            signal: AtomicU8::new(0),
            signalled: Notify::new(),
        }
    }

    /// A PROXY protocol header was read.
    pub(super) fn announce(&self, client: Option<IpAddr>) {
        let _ = self.announced.set(client);
    }

    /// The direct peer: of the socket, or as a PROXY protocol header has it.
    pub(super) fn client(&self) -> Option<IpAddr> {
        *self.announced.get().unwrap_or(&self.socket)
    }

    pub(super) fn group(&self) -> ClientGroup {
        ClientGroup::of(self.client())
    }

    /// The client has begun a TLS handshake.
    pub(super) fn handshake_begins(&self) {
        self.shaking_hands.store(true, Ordering::Relaxed);
    }

    /// The TLS handshake is over.
    pub(super) fn handshake_ends(&self) {
        self.shaking_hands.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_shaking_hands(&self) -> bool {
        self.shaking_hands.load(Ordering::Relaxed)
    }

    /// A tunnel begins, which lasts longer than its request.
    pub(super) fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn release(&self) {
        self.idle.store(self.now(), Ordering::Relaxed);
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    /// The client speaks HTTP/2, in which there is more than requests.
    pub(super) fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Whether a frame of HTTP/2 is incomplete.
    pub(super) fn within_frame(&self, within: bool) {
        let since = self.frame_since.load(Ordering::Relaxed);
        if within != (since != 0) {
            self.frame_since.store(if within { self.now() } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Milliseconds since the reaper was created.
    pub(super) fn now(&self) -> u64 {
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

    /// The scanner has refused bytes.
    pub(super) fn stopped(&self, stop: &Stop) {
        if stop.in_body {
            self.malformed_body.store(stop.request, Ordering::Relaxed);
        }
        self.malformed.store(true, Ordering::Relaxed);
    }

    /// Whether the body of a request, counted from 1, was refused.
    pub(super) fn has_malformed_body(&self, request: u32) -> bool {
        self.malformed_body.load(Ordering::Relaxed) == request
    }

    /// Whether bytes were refused.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.load(Ordering::Relaxed)
    }

    /// A response opens a tunnel: the bytes that follow are no requests.
    pub(super) fn tunnel_begins(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    /// Requests so far.
    pub(super) fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    /// The headers of a request are complete; returns its number, from 1.
    pub(super) fn begin(&self, http2: bool) -> u32 {
        self.http2.store(http2, Ordering::Relaxed);
        self.unflushed.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.receiving.store(0, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
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

    pub(super) fn is_closing(&self) -> bool {
        self.signal.load(Ordering::Relaxed) >= 2
    }

    pub(super) fn send(&self, signal: CloseSignal) -> bool {
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
    pub(super) fn evaluate(&self, now: u64, full: bool, limits: &Limits) -> CloseSignal {
        let lasts = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && u128::from(now.saturating_sub(since)) > limit.as_millis()
        };
        // Before the check for requests in flight, which can stall as well.
        if lasts(&self.write_stalled, limits.write_stalled) || lasts(&self.frame_since, limits.headers) {
            return CloseSignal::Immediate;
        }
        if self.progress.check(now, limits) {
            return CloseSignal::Immediate;
        }
        // A parked request may last for minutes without a byte, and a tunnel has a timeout of its own.
        if self.requests.load(Ordering::Relaxed) > 0 || self.held.load(Ordering::Relaxed) > 0 {
            return CloseSignal::None;
        }
        // HTTP/2 has control frames between requests, which are not the beginning of one.
        if !self.http2.load(Ordering::Relaxed) && lasts(&self.receiving, limits.headers) {
            return CloseSignal::Immediate;
        }
        let is_first = self.served() == 0 && !self.http2.load(Ordering::Relaxed);
        let idle = match full {
            true => limits.idle_when_full,
            false if is_first => limits.idle.min(limits.first_byte),
            false => limits.idle,
        };
        if !lasts(&self.idle, idle) {
            return CloseSignal::None;
        }
        // A connection that is still open at the next idle check after `Graceful` is closed.
        if self.signal.load(Ordering::Acquire) == 1 { CloseSignal::Immediate } else { CloseSignal::Graceful }
    }
}

impl ConnectionActivity {
    /// What counts when a connection has to be closed for another one. Pure.
    pub(super) fn candidate(&self, number: u64) -> Candidate {
        let get = |since: &AtomicU64| since.load(Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed);
        let (receiving, stalled) = (get(&self.receiving), get(&self.write_stalled));
        let held = self.held.load(Ordering::Relaxed);
        let waits_for_client = (held == 0 && requests <= self.bodies.load(Ordering::Relaxed)) || stalled != 0;
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
        Candidate { number, group: self.group(), rank, since, weight: (requests + held).max(1) }
    }
}

pub(super) fn since(epoch: Instant) -> u64 {
    // From 1, because 0 means never.
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
