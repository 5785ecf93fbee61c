//! Ends requests and tunnels in flight, and connections, when a ban of their client arrives.
//!
//! ```text
//!  publication of decisions ─► sweep ─┬─► requests in flight: each by the policy of its route
//!   (sweep.rs)                        └─► connections of direct peers that every route bans
//! ```
//!
//! A request registers its client and the policy of its route here for as long as it is in flight. Its cost is a lock that
//! is nearly always free, and no allocation.

mod sweep;

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

pub use self::sweep::{SweepScope, end_banned};
use crate::config::RemediationPolicy;

/// Requests that register at the same time rarely share a shard.
const SHARDS: usize = 32;

/// The requests and tunnels in flight.
pub struct OpenRequests {
    shards: [Mutex<Shard>; SHARDS],
    /// Counts the sweeps that ended something.
    epoch: AtomicU64,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

enum Slot {
    Free,
    Open {
        client: IpAddr,
        policy: Arc<RemediationPolicy>,
        waker: Option<Waker>,
    },
    /// Its client is banned; the holder has not seen it yet.
    Ended,
}

impl Default for OpenRequests {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), epoch: AtomicU64::new(0) }
    }
}

impl OpenRequests {
    /// Registers a request until the result is dropped.
    pub fn open(self: &Arc<Self>, client: IpAddr, policy: Arc<RemediationPolicy>) -> OpenRequest {
        let shard = fastrand::usize(..SHARDS);
        // Before the slot can be ended: what ends it changes the number.
        let epoch = self.epoch.load(Ordering::Acquire);
        let slot = Slot::Open { client, policy, waker: None };
        let mut locked = self.shard(shard);
        let at = match locked.free.pop() {
            Some(at) => {
                locked.slots[at] = slot;
                at
            }
            None => {
                locked.slots.push(slot);
                locked.slots.len() - 1
            }
        };
        drop(locked);
        OpenRequest { requests: Arc::clone(self), shard, at, registered: None, epoch, is_ended: false }
    }

    /// The number of requests in flight.
    pub fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.shard(shard)).map(|shard| shard.slots.len() - shard.free.len()).sum()
    }

    /// Whether no request is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all requests that `is_meant`, and returns their number.
    pub fn end_where(&self, is_meant: impl Fn(IpAddr, &RemediationPolicy) -> bool) -> usize {
        let mut woken = Vec::new();
        let mut ended = 0;
        for shard in 0..SHARDS {
            for slot in &mut self.shard(shard).slots {
                let Slot::Open { client, policy, waker } = slot else { continue };
                if is_meant(*client, policy) {
                    woken.extend(waker.take());
                    *slot = Slot::Ended;
                    ended += 1;
                }
            }
        }
        // After the slots, before the wakers: a request that finds the old number finds its slot unchanged or is woken.
        self.epoch.fetch_add(u64::from(ended > 0), Ordering::Release);
        // Without a lock: a request that is woken may be polled at once, and takes it.
        woken.into_iter().for_each(Waker::wake);
        ended
    }

    fn shard(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered request.
pub struct OpenRequest {
    requests: Arc<OpenRequests>,
    shard: usize,
    at: usize,
    /// The waker in the slot.
    registered: Option<Waker>,
    /// The number of sweeps when the slot was looked at.
    epoch: u64,
    is_ended: bool,
}

impl OpenRequest {
    /// Ready once the request is to be ended, because its client is banned. To be polled after everything else that the
    /// request waits for.
    pub fn poll_ended(&mut self, context: &Context<'_>) -> Poll<()> {
        // Before the slot is looked at: what ends it later changes the number.
        let epoch = self.requests.epoch.load(Ordering::Acquire);
        let is_registered = self.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        // Nearly always: no lock is taken again for a body that comes in many pieces.
        if !self.is_ended && is_registered && epoch == self.epoch {
            return Poll::Pending;
        }
        self.epoch = epoch;
        if self.is_ended || self.register(context.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether a sweep has ended requests since this one was looked at, perhaps this one. Cheap enough for each piece of a
    /// body.
    #[inline]
    pub fn was_swept(&self) -> bool {
        self.is_ended || self.requests.epoch.load(Ordering::Acquire) != self.epoch
    }

    /// Waits until the request is to be ended.
    pub async fn ended(&mut self) {
        poll_fn(|context| self.poll_ended(context)).await;
    }

    /// Leaves a waker in the slot; returns whether the request is to be ended instead.
    fn register(&mut self, waker: &Waker) -> bool {
        match &mut self.requests.shard(self.shard).slots[self.at] {
            Slot::Open { waker: slot, .. } => *slot = Some(waker.clone()),
            Slot::Free | Slot::Ended => self.is_ended = true,
        }
        self.registered = Some(waker.clone());
        self.is_ended
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut shard = self.requests.shard(self.shard);
        let slot = std::mem::replace(&mut shard.slots[self.at], Slot::Free);
        shard.free.push(self.at);
        // A waker or a policy may be the last of its kind, and dropping it takes time.
        drop(shard);
        drop(slot);
    }
}

impl fmt::Debug for OpenRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequests").field("len", &self.len()).finish()
    }
}

impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequest").field("is_ended", &self.is_ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
