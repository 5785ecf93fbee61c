//! Places for bodies that are being received, shared among clients: what is held in memory at once is bounded, and no
//! address can keep others from their share.
//!
//! A body that finds no place waits; the bytes that its client sends meanwhile stay in the socket. A free place goes to
//! the waiting client that holds fewest. While somebody waits, a client that holds more than its share loses the place it
//! has been filling for longest.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use palisade_daemon::listen::ClientGroup;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a place may be filled before it can be lost to another client. A body on a usable line takes less.
const UNDISTURBED: Duration = Duration::from_secs(2);
/// How often a waiting body looks for a place to take over.
const TAKE_OVER_INTERVAL: Duration = Duration::from_millis(250);

/// A number of places of one kind.
#[derive(Debug)]
pub(crate) struct Places {
    count: usize,
    /// The most bodies that wait for a place.
    waiting: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: BTreeMap<u64, Holder>,
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Holder {
    group: ClientGroup,
    since: Instant,
    /// The body is complete: the place is kept until it has been processed, which is soon.
    complete: bool,
    lost: CancellationToken,
}

#[derive(Debug)]
struct Waiter {
    group: ClientGroup,
    /// Gets the place, or is dropped when there are too many waiters.
    turn: oneshot::Sender<Place>,
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    places: Arc<Places>,
    lost: CancellationToken,
}

impl Place {
    /// Fires when another client gets the place.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// The body has been received: the place can no longer be lost.
    pub(crate) fn complete(&self) {
        if let Some(holder) = self.places.lock().held.get_mut(&self.number) {
            holder.complete = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let turns = {
            let mut state = self.places.lock();
            state.held.remove(&self.number);
            self.places.hand_out(&mut state)
        };
        // Outside the lock: a place whose waiter has gone is dropped here, which comes back to this function.
        for (turn, place) in turns {
            let _ = turn.send(place);
        }
    }
}

impl Places {
    pub(crate) fn new(count: usize, waiting: usize) -> Arc<Self> {
        Arc::new(Self { count, waiting, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a client's body; `None` when too many bodies are waiting and this client has most of them.
    pub(crate) async fn acquire(self: &Arc<Self>, group: ClientGroup) -> Option<Place> {
        let (turn, mut granted) = oneshot::channel();
        let turns = {
            let mut state = self.lock();
            if state.held.len() < self.count && state.waiters.is_empty() {
                return Some(self.take(&mut state, group));
            }
            let number = state.next;
            state.next += 1;
            state.waiters.insert(number, Waiter { group, turn });
            if state.waiters.len() > self.waiting {
                state.refuse_one();
            }
            // Places are free here when their waiters have just gone.
            self.hand_out(&mut state)
        };
        for (turn, place) in turns {
            let _ = turn.send(place);
        }
        loop {
            match tokio::time::timeout(TAKE_OVER_INTERVAL, &mut granted).await {
                Ok(granted) => return granted.ok(),
                Err(_) => self.lock().take_from_largest(group, self.count),
            }
        }
    }

    fn take(self: &Arc<Self>, state: &mut State, group: ClientGroup) -> Place {
        let number = state.next;
        state.next += 1;
        let lost = CancellationToken::new();
        let holder = Holder { group, since: Instant::now(), complete: false, lost: lost.clone() };
        state.held.insert(number, holder);
        Place { number, places: Arc::clone(self), lost }
    }

    /// Gives free places to those that wait.
    fn hand_out(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Place>, Place)> {
        let mut turns = Vec::new();
        while state.held.len() < self.count {
            state.waiters.retain(|_, waiter| !waiter.turn.is_closed());
            let held = state.shares();
            let least = |(number, waiter): &(&u64, &Waiter)| (held.get(&waiter.group).copied(), **number);
            let Some(number) = state.waiters.iter().min_by_key(least).map(|(number, _)| *number) else {
                break;
            };
            let Some(waiter) = state.waiters.remove(&number) else { break };
            let place = self.take(state, waiter.group);
            turns.push((waiter.turn, place));
        }
        turns
    }
}

impl State {
    /// The number of places that each group holds.
    fn shares(&self) -> HashMap<ClientGroup, usize> {
        let mut shares = HashMap::new();
        for holder in self.held.values() {
            *shares.entry(holder.group).or_default() += 1;
        }
        shares
    }

    /// Refuses the last waiter of the group that has most.
    fn refuse_one(&mut self) {
        let mut groups: HashMap<ClientGroup, (usize, u64)> = HashMap::new();
        for (number, waiter) in &self.waiters {
            let group = groups.entry(waiter.group).or_default();
            *group = (group.0 + 1, *number);
        }
        if let Some((_, last)) = groups.into_values().max() {
            self.waiters.remove(&last);
        }
    }

    /// Takes a place from the group with most of them, if that is more than its share.
    fn take_from_largest(&mut self, waiter: ClientGroup, count: usize) {
        let mut shares = self.shares();
        shares.entry(waiter).or_default();
        let share = count.div_ceil(shares.len());
        // One at a time: a place that was taken is free in a moment.
        if self.held.values().any(|holder| holder.lost.is_cancelled()) {
            return;
        }
        let Some((largest, _)) =
            shares.iter().max_by_key(|(_, held)| **held).filter(|(_, held)| **held > share)
        else {
            return;
        };
        // In the order of their numbers, which is that of their age.
        let oldest = self.held.values().find(|holder| {
            holder.group == *largest && !holder.complete && holder.since.elapsed() >= UNDISTURBED
        });
        if let Some(oldest) = oldest {
            oldest.lost.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> ClientGroup {
        ClientGroup::of(Some(text.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_cannot_keep_others_out() {
        let (places, greedy, honest) = (Places::new(4, 10), group("192.0.2.1"), group("198.51.100.1"));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(places.acquire(greedy).await.unwrap());
        }
        held[0].complete();
        let mut queue = Vec::new();
        for _ in 0..5 {
            let places = Arc::clone(&places);
            queue.push(
                tokio_util::task::TaskTracker::new().spawn(async move { places.acquire(greedy).await }),
            );
        }
        tokio::task::yield_now().await;
        let waiting = tokio_util::task::TaskTracker::new().spawn({
            let places = Arc::clone(&places);
            async move { places.acquire(honest).await }
        });
        // The oldest that is still being filled, and nobody of the queue before the one that holds none.
        held[1].lost().cancelled().await;
        assert!(!held[0].lost.is_cancelled() && !held[2].lost.is_cancelled());
        held.remove(1);
        let honest = waiting.await.unwrap().unwrap();
        assert!(queue.iter().all(|one| !one.is_finished()));
        drop((honest, held));
        for one in queue.drain(..4) {
            assert!(one.await.unwrap().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_alone_keeps_what_it_has() {
        let (places, one) = (Places::new(2, 10), group("192.0.2.1"));
        let held = (places.acquire(one).await.unwrap(), places.acquire(one).await.unwrap());
        let waiting = tokio::time::timeout(Duration::from_secs(60), places.acquire(one)).await;
        assert!(waiting.is_err() && !held.0.lost.is_cancelled());
        drop(held);
        // The waiter that was given up takes no place.
        assert!(places.acquire(one).await.is_some());
        assert_eq!(places.lock().held.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_queue_the_client_with_most_is_refused() {
        let (places, greedy, honest) = (Places::new(2, 3), group("192.0.2.1"), group("198.51.100.1"));
        let held = places.acquire(greedy).await.unwrap();
        let kept = places.acquire(greedy).await.unwrap();
        held.complete();
        kept.complete();
        let wait = |group| {
            tokio_util::task::TaskTracker::new().spawn({
                let places = Arc::clone(&places);
                async move { places.acquire(group).await }
            })
        };
        let mut queue: Vec<_> = (0..3).map(|_| wait(greedy)).collect();
        tokio::task::yield_now().await;
        let last = wait(honest);
        assert!(queue.pop().unwrap().await.unwrap().is_none());
        drop(held);
        // Before those that are longer in the queue, as this client holds none.
        assert!(last.await.unwrap().is_some());
        drop(kept);
    }
}
