//! Remembers solved tasks until their tokens end, so that each is solved once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::task::{TASK_SECONDS, TaskNumber};

/// Tasks remembered in each of the two halves. A solution costs its sender work or a provider's task, so that filling
/// this takes a large attack; new solutions are refused then, not old ones forgotten.
const MAX_TASKS: usize = 100_000;

/// The solved tasks.
#[derive(Debug, Default)]
pub(super) struct UsedTasks(Mutex<Halves>);

/// Tasks are forgotten by halves: one is dropped when all of it has ended for sure.
#[derive(Debug, Default)]
struct Halves {
    current: HashSet<TaskNumber>,
    previous: HashSet<TaskNumber>,
    since: u64,
}

impl UsedTasks {
    /// Marks a task as solved. `false` when it was already, or none can be remembered.
    pub(super) fn mark(&self, number: TaskNumber, now: u64) -> bool {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A token is valid for its time and a minute, which a half outlives by staying for a whole further turn.
        if now.abs_diff(halves.since) > TASK_SECONDS + 120 {
            halves.previous = std::mem::take(&mut halves.current);
            halves.since = now;
        }
        if halves.previous.contains(&number) || halves.current.len() >= MAX_TASKS {
            return false;
        }
        halves.current.insert(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_solved_once_and_forgotten_after_its_token_ended() {
        let used = UsedTasks::default();
        let start = 10_000;
        assert!(used.mark([1; 16], start));
        assert!(!used.mark([1; 16], start));
        assert!(!used.mark([1; 16], start + TASK_SECONDS));
        assert!(used.mark([2; 16], start + 800), "the first turn");
        assert!(!used.mark([1; 16], start + 801), "kept for another turn");
        assert!(used.mark([3; 16], start + 1600), "the second turn");
        assert!(used.mark([1; 16], start + 1601));
    }

    #[test]
    fn a_full_store_refuses_new_tasks() {
        let used = UsedTasks::default();
        for number in 0..MAX_TASKS as u128 {
            assert!(used.mark(number.to_be_bytes(), 1_000));
        }
        assert!(!used.mark([0xff; 16], 1_000));
        assert!(!used.mark(1u128.to_be_bytes(), 1_000), "and forgets none");
    }
}
