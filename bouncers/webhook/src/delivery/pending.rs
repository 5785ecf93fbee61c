//! Holds the values whose state may differ from what an endpoint holds, in order and bounded. Pure.
//!
//! ```text
//!            push                    take                      done
//!  (changed) ────► waiting (FIFO) ───────► busy (in messages) ──────► gone, or recent (its repeats are held back)
//!                   ▲   ▲  ▲                │  │ put_back (to the front)          │
//!                   │   │  └────────────────│──┘                                  │
//!                   │   └───────────────────│──────────── push ───────────────────┘
//!                   └─ release, push ◄─ held until a time (hold_back: it has nothing but repeats)
//! ```
//!
//! A value is in one message at a time, so its events stay in order. What changes meanwhile is noted, and the value waits
//! again afterwards.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use palisade_cache::Timestamp;

use crate::event::Value;

/// Most values waiting or held back. What exceeds it is found by a sweep.
pub const MAX_PENDING: usize = 65_536;

/// Most values whose last delivery is remembered to hold back repeats. A repeat on any further value is sent at once.
const MAX_RECENT: usize = 65_536;

/// What is to be done with a value besides sending the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Send its entries whether or not they have been sent: it is part of a snapshot.
    pub present: bool,
    /// What holds is taken for known and not sent, if nothing has been sent yet.
    pub adopt: bool,
    /// The last message with it did not arrive for certain.
    pub not_received: bool,
}

impl Marks {
    fn merge(&mut self, other: Self) {
        self.present |= other.present;
        self.adopt |= other.adopt;
        self.not_received |= other.not_received;
    }
}

/// A value taken to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The value.
    pub value: Value,
    /// What is to be done.
    pub marks: Marks,
    /// Since when it has been waiting.
    pub since: Timestamp,
    /// Until when repeats of what was delivered are held back.
    pub hold_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Waiting { since: Timestamp, marks: Marks, hold_until: Option<Timestamp> },
    Held { since: Timestamp, marks: Marks, until: Timestamp },
    Busy { again: Option<(Timestamp, Marks)> },
    Recent { until: Timestamp },
}

/// The set of values.
#[derive(Debug, Default)]
pub struct Pending {
    states: HashMap<Value, State>,
    order: VecDeque<Value>,
    held: BTreeSet<(Timestamp, Value)>,
    recent: VecDeque<(Timestamp, Value)>,
    busy: usize,
    /// Values waiting, held back or changed while busy that are part of a snapshot.
    presents: usize,
}

/// There is no room for another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Pending {
    /// Values that can be taken.
    pub fn waiting(&self) -> usize {
        self.order.len()
    }

    /// Values that are waiting or held back.
    pub fn len(&self) -> usize {
        self.order.len() + self.held.len()
    }

    /// Whether no value is waiting or held back.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values that are not in messages, or not yet again, and are part of a snapshot.
    pub fn presents(&self) -> usize {
        self.presents
    }

    /// Values in messages.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// Whether a value is in a message.
    pub fn is_busy(&self, value: &Value) -> bool {
        matches!(self.states.get(value), Some(State::Busy { .. }))
    }

    /// Whether a value in a message has changed since it was taken.
    pub fn is_outdated(&self, value: &Value) -> bool {
        matches!(self.states.get(value), Some(State::Busy { again: Some(_) }))
    }

    /// Since when the value at the front has been waiting.
    pub fn oldest(&self) -> Option<Timestamp> {
        match self.states.get(self.order.front()?)? {
            State::Waiting { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// When the next value that is held back is released.
    pub fn next_release(&self) -> Option<Timestamp> {
        self.held.first().map(|(until, _)| *until)
    }

    /// A value has changed.
    ///
    /// # Errors
    /// When the set is full and the value not in it.
    pub fn push(&mut self, value: Value, marks: Marks, now: Timestamp) -> Result<(), Full> {
        let is_full = self.len() >= MAX_PENDING;
        let present = usize::from(marks.present);
        match self.states.entry(value) {
            Slot::Vacant(_) if is_full => return Err(Full),
            Slot::Vacant(slot) => {
                self.order.push_back(slot.key().clone());
                slot.insert(State::Waiting { since: now, marks, hold_until: None });
                self.presents += present;
            }
            Slot::Occupied(mut slot) => match slot.get_mut() {
                State::Waiting { marks: old, .. } => {
                    self.presents += usize::from(marks.present && !old.present);
                    old.merge(marks);
                }
                // It may have more than repeats now.
                State::Held { since, marks: old, until } => {
                    let (since, until, mut merged) = (*since, *until, *old);
                    self.presents += usize::from(marks.present && !merged.present);
                    merged.merge(marks);
                    let value = slot.key().clone();
                    slot.insert(State::Waiting { since, marks: merged, hold_until: Some(until) });
                    self.held.remove(&(until, value.clone()));
                    self.order.push_back(value);
                }
                State::Busy { again } => {
                    let was_present = again.is_some_and(|(_, old)| old.present);
                    self.presents += usize::from(marks.present && !was_present);
                    again.get_or_insert((now, marks)).1.merge(marks);
                }
                State::Recent { .. } if is_full => return Err(Full),
                State::Recent { until } => {
                    let hold_until = Some(*until).filter(|until| *until > now);
                    self.order.push_back(slot.key().clone());
                    slot.insert(State::Waiting { since: now, marks, hold_until });
                    self.presents += present;
                }
            },
        }
        Ok(())
    }

    /// Lets values that were held back until `now` wait, and forgets deliveries that hold nothing back any more.
    pub fn release(&mut self, now: Timestamp) {
        while self.held.first().is_some_and(|(until, _)| *until <= now)
            && let Some((_, value)) = self.held.pop_first()
        {
            if let Some(state @ State::Held { .. }) = self.states.get_mut(&value)
                && let State::Held { since, marks, .. } = *state
            {
                *state = State::Waiting { since, marks, hold_until: None };
                self.order.push_back(value);
            }
        }
        while self.recent.front().is_some_and(|(until, _)| *until <= now)
            && let Some((until, value)) = self.recent.pop_front()
        {
            self.forget_recent(until, value);
        }
    }

    fn forget_recent(&mut self, recent_until: Timestamp, value: Value) {
        // The value may have been sent again since.
        if let Slot::Occupied(slot) = self.states.entry(value)
            && matches!(slot.get(), State::Recent { until } if *until == recent_until)
        {
            slot.remove();
        }
    }

    /// Takes up to `most` values from the front; they are busy from then on.
    pub fn take(&mut self, most: usize) -> Vec<Taken> {
        let mut taken = Vec::with_capacity(most.min(self.order.len()));
        while taken.len() < most
            && let Some(value) = self.order.pop_front()
        {
            let Some(state) = self.states.get_mut(&value) else { continue };
            let State::Waiting { since, marks, hold_until } = *state else { continue };
            *state = State::Busy { again: None };
            self.busy += 1;
            self.presents -= usize::from(marks.present);
            taken.push(Taken { value, marks, since, hold_until });
        }
        taken
    }

    /// A value that was taken has nothing but repeats: it waits until `until`, or until it changes again.
    pub fn hold_back(&mut self, taken: Taken, until: Timestamp) {
        let Some(state) = self.states.get_mut(&taken.value) else { return };
        let State::Busy { again } = *state else { return };
        let Taken { value, marks, since, .. } = taken;
        self.busy -= 1;
        self.presents += usize::from(marks.present);
        *state = State::Held { since, marks, until };
        self.held.insert((until, value.clone()));
        if let Some((since, marks)) = again {
            // Counted when it was noted.
            self.presents -= usize::from(marks.present);
            // There is room: it is in the set.
            let _ = self.push(value, marks, since);
        }
    }

    /// A value's message has been delivered, or there was nothing to send. Repeats are held back for `hold`.
    pub fn done(&mut self, value: Value, hold: Duration, now: Timestamp) {
        let Some(state) = self.states.get_mut(&value) else { return };
        let State::Busy { again } = *state else { return };
        self.busy -= 1;
        let until = now.saturating_add(hold);
        match again {
            Some((since, marks)) => {
                let hold_until = (!hold.is_zero()).then_some(until);
                *state = State::Waiting { since, marks, hold_until };
                self.order.push_back(value);
            }
            None if hold.is_zero() => _ = self.states.remove(&value),
            None => {
                *state = State::Recent { until };
                self.recent.push_back((until, value));
                if self.recent.len() > MAX_RECENT
                    && let Some((until, value)) = self.recent.pop_front()
                {
                    self.forget_recent(until, value);
                }
            }
        }
    }

    /// Values whose message was not delivered wait again before all others, in this order.
    pub fn put_back(&mut self, values: impl DoubleEndedIterator<Item = Taken>) {
        for taken in values.rev() {
            if let Some(value) = self.wait_again(taken) {
                self.order.push_front(value);
            }
        }
    }

    /// The same behind all others.
    pub fn put_last(&mut self, values: impl Iterator<Item = Taken>) {
        for taken in values {
            if let Some(value) = self.wait_again(taken) {
                self.order.push_back(value);
            }
        }
    }

    fn wait_again(&mut self, taken: Taken) -> Option<Value> {
        let Taken { value, mut marks, since, hold_until } = taken;
        let state = self.states.get_mut(&value)?;
        let State::Busy { again } = *state else { return None };
        let was_present = again.is_some_and(|(_, again)| again.present);
        self.presents += usize::from(marks.present && !was_present);
        if let Some((_, again)) = again {
            marks.merge(again);
        }
        *state = State::Waiting { since, marks, hold_until };
        self.busy -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: u32) -> Value {
        Value::Net(ipnet::IpNet::new(std::net::Ipv4Addr::from(n).into(), 32).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn push(pending: &mut Pending, n: u32) {
        pending.push(value(n), Marks::default(), at(0)).unwrap();
    }

    fn values(taken: &[Taken]) -> Vec<Value> {
        taken.iter().map(|taken| taken.value.clone()).collect()
    }

    #[test]
    fn values_come_once_in_order_and_again_only_after_their_message() {
        let mut pending = Pending::default();
        [1, 2, 1, 3].into_iter().for_each(|n| push(&mut pending, n));
        let first = pending.take(2);
        assert_eq!(values(&first), [value(1), value(2)]);
        push(&mut pending, 1);
        assert!(pending.is_outdated(&value(1)) && !pending.is_outdated(&value(2)));
        assert_eq!(values(&pending.take(9)), [value(3)], "1 is in a message");
        for taken in first {
            pending.done(taken.value, Duration::ZERO, at(1));
        }
        assert_eq!(values(&pending.take(9)), [value(1)]);
        assert_eq!((pending.busy(), pending.len()), (2, 0));
    }

    #[test]
    fn what_was_not_delivered_goes_first_with_its_marks() {
        let mut pending = Pending::default();
        (1..=4).for_each(|n| push(&mut pending, n));
        let mut taken = pending.take(3);
        pending.push(value(2), Marks { present: true, ..Marks::default() }, at(5)).unwrap();
        taken[1].marks.not_received = true;
        pending.put_back(taken.into_iter());
        let again = pending.take(9);
        assert_eq!(values(&again), [1, 2, 3, 4].map(value));
        assert_eq!(again[1].marks, Marks { present: true, not_received: true, ..Marks::default() });
        pending.put_last(again.into_iter().take(2));
        push(&mut pending, 9);
        assert_eq!(values(&pending.take(9)), [1, 2, 9].map(value));
    }

    #[test]
    fn a_value_with_repeats_only_waits_until_they_are_due_or_it_changes_again() {
        let hold = Duration::from_secs(10);
        let mut pending = Pending::default();
        push(&mut pending, 1);
        pending.take(1);
        pending.done(value(1), hold, at(0));
        let taken = |since: i64, hold_until: Option<i64>| Taken {
            value: value(1),
            marks: Marks::default(),
            since: at(since),
            hold_until: hold_until.map(at),
        };
        pending.push(value(1), Marks::default(), at(1)).unwrap();
        assert_eq!(
            pending.take(9),
            [taken(1, Some(10))],
            "whether it is a repeat is seen when it is compared"
        );
        pending.hold_back(taken(1, Some(10)), at(10));
        assert_eq!((pending.waiting(), pending.len(), pending.next_release()), (0, 1, Some(at(10))));
        pending.push(value(1), Marks::default(), at(2)).unwrap();
        assert_eq!((pending.waiting(), pending.len(), pending.next_release()), (1, 1, None));
        assert_eq!(pending.take(9), [taken(1, Some(10))]);
        // Changed while it was compared.
        pending.push(value(1), Marks::default(), at(3)).unwrap();
        pending.hold_back(taken(1, Some(10)), at(10));
        assert_eq!(pending.take(9), [taken(1, Some(10))]);
        pending.hold_back(taken(1, Some(10)), at(10));
        pending.release(at(9));
        assert!(pending.take(9).is_empty());
        pending.release(at(10));
        assert_eq!(pending.take(9), [taken(1, None)]);
        // Changed while it is sent.
        pending.push(value(1), Marks::default(), at(11)).unwrap();
        pending.done(value(1), hold, at(11));
        assert_eq!(pending.take(9), [taken(11, Some(21))]);
        pending.done(value(1), hold, at(21));
        pending.release(at(31));
        assert!(pending.states.is_empty() && pending.recent.is_empty(), "nothing is kept for ever");
    }

    #[test]
    fn parts_of_a_snapshot_are_counted_while_they_are_held_back() {
        let mut pending = Pending::default();
        let present = Marks { present: true, ..Marks::default() };
        pending.push(value(1), present, at(0)).unwrap();
        let taken = pending.take(1).remove(0);
        assert_eq!(pending.presents(), 0);
        pending.push(value(1), present, at(1)).unwrap();
        pending.hold_back(taken, at(10));
        assert_eq!((pending.presents(), pending.waiting()), (1, 1));
        pending.take(1);
        assert_eq!(pending.presents(), 0);
    }

    #[test]
    fn the_set_is_bounded() {
        let mut pending = Pending::default();
        for n in 0..MAX_PENDING {
            push(&mut pending, n as u32);
        }
        let more = pending.push(value(u32::MAX), Marks::default(), at(0));
        assert_eq!(more, Err(Full));
        assert_eq!(pending.push(value(7), Marks::default(), at(0)), Ok(()), "it is in the set already");
        pending.take(1);
        assert_eq!(pending.push(value(u32::MAX), Marks::default(), at(0)), Ok(()));
    }
}
