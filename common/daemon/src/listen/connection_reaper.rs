//! Closes connections that are idle or stalled.
//!
//! Each connection records the start of its current activity; a sweep once a second checks them all. No connection
//! needs a timer of its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::activity::{CloseSignal, ConnectionActivity, since};
use super::eviction::{ClientGroup, Rank, choose};
use super::limits::Limits;

/// How many connections one scan chooses in advance, at most: a flood of new connections must not cost a scan each.
const CHOSEN_AT_ONCE: usize = 64;
/// A choice is at most this part of all, as the shares change with each connection that is closed or new.
const CHOSEN_PART: usize = 8;
/// How long a further request of an HTTP/2 connection waits for a permit.
const REQUEST_PERMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a choice is used.
const CHOICE_LIFETIME: Duration = Duration::from_millis(100);

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
    /// Connections of each client group, where their number is limited.
    by_group: Mutex<HashMap<ClientGroup, usize>>,
    /// Connections to close for new ones, the next at the end, and when they were chosen.
    chosen: Mutex<(Option<Instant>, Vec<u64>)>,
}

/// A connection's registration, removed on drop.
#[derive(Debug)]
pub(super) struct RegisteredConnection {
    number: u64,
    pub(super) activity: Arc<ConnectionActivity>,
    pub(super) reaper: Arc<ConnectionReaper>,
}

impl Drop for RegisteredConnection {
    fn drop(&mut self) {
        self.reaper.all().remove(&self.number);
    }
}

/// One of the connections that a client group may have, given back on drop.
#[derive(Debug)]
pub(super) struct GroupPlace {
    group: ClientGroup,
    reaper: Arc<ConnectionReaper>,
}

impl Drop for GroupPlace {
    fn drop(&mut self) {
        let mut groups = self.reaper.by_group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = groups.entry(self.group) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
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
            by_group: Mutex::default(),
            chosen: Mutex::default(),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<ConnectionActivity>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.all().len()
    }

    pub(super) fn register(self: &Arc<Self>, socket: Option<IpAddr>) -> RegisteredConnection {
        let activity = Arc::new(ConnectionActivity::new(self.epoch, socket));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().insert(number, activity.clone());
        RegisteredConnection { number, activity, reaper: self.clone() }
    }

    /// A place for a connection of this group; `None` if it has `most` already.
    pub(super) fn group_place(self: &Arc<Self>, group: ClientGroup, most: usize) -> Option<GroupPlace> {
        let mut groups = self.by_group.lock().unwrap_or_else(PoisonError::into_inner);
        let count = groups.entry(group).or_default();
        if *count >= most {
            // An entry of 0 is only there if no connection is allowed at all.
            if *count == 0 {
                groups.remove(&group);
            }
            return None;
        }
        *count += 1;
        Some(GroupPlace { group, reaper: self.clone() })
    }

    /// Whether the connection limit is reached: idle connections are then closed sooner.
    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Closes all connections of clients that `is_meant`, whatever they are doing; returns their number.
    pub(super) fn close_where(&self, is_meant: impl Fn(IpAddr) -> bool) -> usize {
        // Collected first: the predicate may look at a large set of decisions, and connections are registered under
        // this lock.
        let all: Vec<_> =
            self.all().values().filter(|activity| activity.client().is_some()).cloned().collect();
        let meant = all.iter().filter(|activity| activity.client().is_some_and(&is_meant));
        meant.filter(|activity| activity.send(CloseSignal::Immediate)).count()
    }

    /// Closes one connection for a new one of this group; returns whether there is one to close.
    pub(super) fn evict_for(&self, group: ClientGroup) -> bool {
        let connections = self.all();
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

    /// Closes one connection whose TLS handshake is in progress for another one of this group.
    pub(super) fn evict_handshake_for(&self, group: ClientGroup) -> bool {
        let connections = self.all();
        let shaking = connections.iter().filter(|(_, one)| one.is_shaking_hands() && !one.is_closing());
        let candidates = shaking.map(|(number, activity)| activity.candidate(*number)).collect();
        let chosen = choose(candidates, group, 1);
        chosen.iter().filter_map(|number| connections.get(number)).any(|one| one.send(CloseSignal::Immediate))
    }

    /// A permit for a further request of an HTTP/2 connection; `None` when there is none in time.
    pub(super) async fn request_permit(&self, of: &ConnectionActivity) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.evict_for(of.group());
        timeout(REQUEST_PERMIT_TIMEOUT, self.permits.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Checks all connections once; returns how many were newly signalled.
    fn sweep(&self, limits: &Limits) -> u64 {
        let (now, full) = (since(self.epoch), self.full.load(Ordering::Relaxed));
        let connections = self.all();
        let signalled =
            connections.values().filter(|activity| activity.send(activity.evaluate(now, full, limits)));
        u64::try_from(signalled.count()).unwrap_or(u64::MAX)
    }

    /// Sweeps once a second until `stop` fires.
    pub(super) async fn run(&self, limits: &ArcSwap<Limits>, stop: CancellationToken, cut: &Counter) {
        let mut ticks = tokio::time::interval(limits.load().sweep_interval());
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let signalled = self.sweep(&limits.load());
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
        let entry = reaper.register(None);
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
        activity.hold();
        assert_eq!(activity.evaluate(at(9999), true, &limits), CloseSignal::None, "a tunnel may be silent");
        activity.release();
        assert!(activity.send(CloseSignal::Graceful) && !activity.send(CloseSignal::Graceful));
        assert_eq!(activity.evaluate(at(400), false, &limits), CloseSignal::Immediate);
        drop(entry);
        assert!(reaper.connections.lock().unwrap().is_empty());
    }

    #[test]
    fn connections_are_closed_by_the_address_that_a_proxy_header_names() {
        let reaper = Arc::new(ConnectionReaper::new(9));
        let [proxy, banned, other] = ["10.0.0.1", "192.0.2.1", "192.0.2.2"].map(|text| text.parse().ok());
        let entries = [proxy, banned, other, None].map(|address: Option<IpAddr>| reaper.register(address));
        entries[0].activity.announce(banned);
        let is_banned = |address| Some(address) == banned;
        assert_eq!((reaper.close_where(is_banned), reaper.close_where(is_banned)), (2, 0));
        assert_eq!(entries.each_ref().map(|entry| entry.activity.is_closing()), [true, true, false, false]);
    }

    #[test]
    fn the_connections_of_a_group_are_counted() {
        let reaper = Arc::new(ConnectionReaper::new(9));
        let group = |text: &str| ClientGroup::of(text.parse().ok());
        let one = reaper.group_place(group("2001:db8::1"), 2).unwrap();
        let _two = reaper.group_place(group("2001:db8::2"), 2).unwrap();
        assert!(reaper.group_place(group("2001:db8::3"), 2).is_none());
        let _other = reaper.group_place(group("192.0.2.1"), 2).unwrap();
        drop(one);
        assert!(reaper.group_place(group("2001:db8::3"), 2).is_some());
        assert!(reaper.group_place(group("192.0.2.9"), 0).is_none());
        assert_eq!(reaper.by_group.lock().unwrap().len(), 2);
    }
}
