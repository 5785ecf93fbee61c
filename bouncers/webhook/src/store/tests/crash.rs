//! Crashes at every point of a history of commits, by replaying what was written up to there.

use super::memory::{Disk, MemoryMedium, Operation};
use super::workload::{Content, commit, contents, limits};
use super::*;

const COMMITS: u64 = 24;

/// All operations of a store from its beginning on.
fn recorded() -> Vec<Operation> {
    let medium = MemoryMedium::default();
    let store = medium.open(limits()).unwrap();
    for number in 1..=COMMITS {
        medium.disk().log.push(Operation::Begun(number));
        let commit = commit(number);
        store.commit(&commit, NOW).unwrap();
        if commit.durable {
            medium.disk().log.push(Operation::Durable(number));
        }
    }
    drop(store);
    std::mem::take(&mut medium.disk().log)
}

/// Where the store had become the existing one: a crash before that leaves none.
fn beginning(log: &[Operation]) -> usize {
    log.iter().position(|operation| matches!(operation, Operation::Begun(_))).unwrap()
}

/// Opens what a crash left. It must be the state after one commit: not before the last durable one, and not after the
/// last that was begun.
fn check(bytes: Vec<u8>, log: &[Operation], contents: &[Content]) {
    let mut possible = 0..=0;
    for operation in log {
        match operation {
            Operation::Durable(number) => possible = *number..=*number,
            Operation::Begun(number) => possible = *possible.start()..=*number,
            _ => {}
        }
    }
    let medium = MemoryMedium::with(bytes);
    let store = medium.open(limits()).unwrap();
    assert!(!medium.was_set_aside(), "after {} operations", log.len());
    let number = store.state().sequence;
    assert!(possible.contains(&number), "commit {number} is none of {possible:?}");
    assert_eq!(Content::of(&store), contents[usize::try_from(number).unwrap()]);
    store.commit(&commit(number + 1), NOW).unwrap();
    assert_eq!(Content::of(&store), contents[usize::try_from(number).unwrap() + 1]);
}

#[test]
fn a_process_killed_at_any_write_leaves_the_state_after_some_commit() {
    let (log, contents) = (recorded(), contents(COMMITS + 1));
    let mut disk = Disk::default();
    for (done, operation) in log.iter().enumerate() {
        if done >= beginning(&log) {
            check(disk.bytes.clone(), &log[..done], &contents);
        }
        disk.apply(operation);
    }
}

#[test]
fn a_power_failure_that_loses_any_of_the_unsynced_writes_leaves_the_state_after_some_commit() {
    let (log, contents) = (recorded(), contents(COMMITS + 1));
    let mut random = fastrand::Rng::with_seed(15);
    for _ in 0..300 {
        let end = random.usize(beginning(&log)..log.len());
        let synced = log[..end].iter().rposition(|operation| matches!(operation, Operation::Sync)).unwrap();
        let mut disk = Disk::default();
        for (place, operation) in log[..end].iter().enumerate() {
            match operation {
                _ if place <= synced => disk.apply(operation),
                // Disks write sectors, in any order.
                Operation::Write(offset, data) => {
                    for (sector, data) in data.chunks(512).enumerate().filter(|_| random.bool()) {
                        disk.apply(&Operation::Write(offset + 512 * sector as u64, data.to_vec()));
                    }
                }
                operation if random.bool() => disk.apply(operation),
                _ => {}
            }
        }
        check(disk.bytes, &log[..end], &contents);
    }
}
