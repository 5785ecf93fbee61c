//! Content, limits, and what happens to files that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn everything() -> Commit {
    let name = Value::Name { scope: "Country".into(), value: "FR".into() };
    Commit {
        records: vec![(value(7), Some(attempt("a", 10, 3))), (name, Some(record(&"long ".repeat(200), -1)))],
        enqueue: (0..5).map(|number| event(number, 900)).collect(),
        dead: vec![DeadLetter { event: event(9, 1), at: NOW, attempts: 4, reason: "é".repeat(400) }],
        state: Some(EndpointState {
            sequence: 9,
            snapshot: 2,
            last_snapshot_at: Some(NOW),
            initialised: true,
            lost: true,
            paused: Some(PausedState { reason: "410".into(), since: NOW, gone: true }),
            delivered: 77,
            last_delivery_at: Some(NOW),
        }),
        durable: true,
        ..Commit::default()
    }
}

#[test]
fn a_commit_is_there_after_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/siem.redb");
    let limits = history(10_000, 1 << 20);
    let store = Store::open(&path, limits.clone()).unwrap();
    assert!(store.is_new());
    assert_eq!(store.state(), EndpointState::default());
    let commit = everything();
    assert_eq!(store.commit(&commit, NOW).unwrap().enqueued, [0, 1, 2, 3, 4]);
    let counts = store.counts();
    drop(store);

    let store = Store::open(&path, limits).unwrap();
    assert!(!store.is_new());
    assert_eq!(store.counts(), counts);
    assert_eq!((counts.records, counts.queued, counts.dead), (2, 5, 1));
    assert_eq!(Some(store.state()), commit.state);
    let stored = store.scan(None, 10).unwrap();
    let expected: Vec<_> =
        commit.records.iter().map(|(value, record)| (value.clone(), record.clone().unwrap())).collect();
    assert_eq!(stored, expected);
    let asked = store.records(&[value(8), value(7)]).unwrap();
    assert_eq!(asked, [None, commit.records[0].1.clone()]);
    let queued: Vec<_> = store.queue(None, 9).unwrap().into_iter().map(|(_, event)| event).collect();
    assert_eq!(queued, commit.enqueue);
    let [(0, letter)] = &store.dead_letters(None, 9).unwrap()[..] else { panic!("one dead letter") };
    assert_eq!((&letter.event, letter.reason.len()), (&commit.dead[0].event, MAX_REASON_BYTES));
}

#[test]
fn records_are_scanned_in_the_order_of_their_keys_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("siem.redb"), StoreLimits::default()).unwrap();
    let rows = [5, 1, 9, 3].map(|number| (value(number), Some(record("a", number.into()))));
    store.commit(&Commit { records: rows.to_vec(), ..Commit::default() }, NOW).unwrap();
    let first = store.scan(None, 3).unwrap();
    assert_eq!(first.iter().map(|(value, _)| value.clone()).collect::<Vec<_>>(), [1, 3, 5].map(value));
    assert_eq!(store.scan(Some(&first[2].0), 3).unwrap().len(), 1);
    assert_eq!(store.scan(Some(&value(4)), 1).unwrap()[0].0, value(5));
}

#[test]
fn a_record_without_content_is_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("siem.redb"), StoreLimits::default()).unwrap();
    let rows = vec![(value(1), Some(record("a", 1))), (value(2), Some(record("a", 2)))];
    store.commit(&Commit { records: rows, ..Commit::default() }, NOW).unwrap();
    let rows = vec![(value(1), Some(ValueRecord::default())), (value(2), None)];
    store.commit(&Commit { records: rows, ..Commit::default() }, NOW).unwrap();
    assert_eq!(store.counts().records, 0);
}

#[test]
fn the_queue_drops_its_oldest_events_by_age_and_by_size() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("siem.redb"), history(500, 1_000)).unwrap();
    let at = |times: &[i64]| Commit {
        enqueue: times
            .iter()
            .enumerate()
            .map(|(number, at)| event(4 * u32::try_from(number).unwrap(), *at))
            .collect(),
        ..Commit::default()
    };
    // 500 old is kept, and for now so is what follows it.
    let done = store.commit(&at(&[400, 499, 500, 100, 2_000]), NOW).unwrap();
    assert_eq!(done.dropped, Dropped { too_old: 2, ..Dropped::default() });
    let numbers =
        |store: &Store| store.queue(None, 99).unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(numbers(&store), [2, 3, 4]);

    let size = store.counts().queued_bytes / 3;
    let fitting = 1_000 / size;
    let done = store.commit(&at(&vec![1_000; usize::try_from(fitting).unwrap()]), NOW).unwrap();
    assert_eq!(done.dropped, Dropped { too_old: 1, no_room: 2, dead_letters: 0 });
    assert_eq!(store.counts().queued, fitting);
    assert!(store.counts().queued_bytes <= 1_000);
    assert_eq!(store.counts().dropped, Dropped { too_old: 3, no_room: 2, dead_letters: 0 });

    let dequeue = numbers(&store);
    store.commit(&Commit { dequeue, ..Commit::default() }, NOW).unwrap();
    assert_eq!((store.counts().queued, store.counts().queued_bytes), (0, 0));
    // A number is never given twice, even when the queue was empty in between.
    assert!(store.commit(&at(&[1_000]), NOW).unwrap().enqueued[0] >= 5 + fitting);
}

#[test]
fn a_clock_that_was_set_back_makes_no_queued_event_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("siem.redb"), history(500, 1_000)).unwrap();
    let commit = Commit { enqueue: vec![event(0, 1_000)], ..Commit::default() };
    store.commit(&commit, NOW).unwrap();
    for now in [0, -1_000_000, i64::MIN] {
        store.commit(&Commit::default(), Timestamp::from_millis(now)).unwrap();
    }
    assert_eq!(store.counts().queued, 1);
    store.commit(&Commit::default(), Timestamp::from_millis(i64::MAX)).unwrap();
    assert_eq!(store.counts().queued, 0);
}

#[test]
fn only_the_latest_dead_letters_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("siem.redb"), history(500, 1_000)).unwrap();
    let letter = |number| DeadLetter { event: event(number, 1), at: NOW, attempts: 1, reason: "400".into() };
    let done =
        store.commit(&Commit { dead: (0..5).map(letter).collect(), ..Commit::default() }, NOW).unwrap();
    assert_eq!(done.dropped.dead_letters, 2);
    let numbers = |store: &Store| {
        store.dead_letters(None, 9).unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&store), [2, 3, 4]);
    store.commit(&Commit { undead: vec![3, 77], dead: vec![letter(9)], ..Commit::default() }, NOW).unwrap();
    assert_eq!(numbers(&store), [2, 4, 5]);
    assert_eq!(store.dead_letters(Some(2), 1).unwrap()[0].0, 4);
}

#[test]
fn file_and_directory_are_for_the_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("endpoints/siem.redb");
    let store = Store::open(&path, StoreLimits::default()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    drop(store);
}

#[test]
fn a_file_in_use_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    let store = Store::open(&path, StoreLimits::default()).unwrap();
    let second = Store::open(&path, StoreLimits::default());
    assert!(matches!(second, Err(StoreError::Locked { .. })));
    store.commit(&everything(), NOW).unwrap();
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(matches!(Store::open(&path, StoreLimits::default()), Err(StoreError::Io { .. })));
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    drop(Store::open(&path, StoreLimits::default()).unwrap());
    let intact = fs::read(&path).unwrap();
    let mut torn = intact.clone();
    torn.truncate(intact.len() / 2);
    let mut zeroes = intact.clone();
    zeroes[4096..].fill(0);
    for damaged in [Vec::new(), b"not ours".to_vec(), torn, zeroes, vec![0xff; intact.len()]] {
        fs::write(&path, &damaged).unwrap();
        let store = Store::open(&path, StoreLimits::default()).unwrap();
        assert!(store.is_new());
        store.commit(&everything(), NOW).unwrap();
        let aside = fs::metadata(directory.path().join("siem.redb.unusable")).unwrap();
        assert!(damaged.is_empty() || aside.len() >= damaged.len() as u64);
    }
    assert!(!Store::open(&path, StoreLimits::default()).unwrap().is_new());
}

#[test]
fn no_flipped_byte_makes_an_open_file_panic_or_another_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    let store = Store::open(&path, StoreLimits::default()).unwrap();
    let commit = everything();
    store.commit(&commit, NOW).unwrap();
    let (content, counts) = (store.scan(None, 10).unwrap(), store.counts());
    drop(store);
    let intact = fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..150 {
        let mut damaged = intact.clone();
        let place = random.usize(..damaged.len());
        damaged[place] ^= 1 << random.u8(..8);
        fs::write(&path, &damaged).unwrap();
        let store = Store::open(&path, StoreLimits::default()).unwrap();
        // Most bytes are of no page in use, and some are of a commit before the last.
        if !store.is_new() && store.counts() == counts {
            assert_eq!(store.scan(None, 10).unwrap(), content, "byte {place}");
        }
    }
}

#[test]
fn a_file_of_another_format_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    drop(Store::open(&path, StoreLimits::default()).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(tables::META).unwrap().insert("version", [2].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(Store::open(&path, StoreLimits::default()).unwrap().is_new());
    assert!(directory.path().join("siem.redb.unusable").exists());
}

#[test]
fn labels_that_no_record_has_give_way_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    let store = Store::open(&path, StoreLimits::default()).unwrap();
    let rows = |from: u32| -> Vec<_> {
        (0..3_000)
            .map(|number| (value(number), Some(record(&format!("reason {}", from + number), 1))))
            .collect()
    };
    store.commit(&Commit { records: rows(0), ..Commit::default() }, NOW).unwrap();
    store.commit(&Commit { records: rows(10_000), durable: true, ..Commit::default() }, NOW).unwrap();
    let before = store.scan(None, 9_000).unwrap();
    drop(store);
    let store = Store::open(&path, StoreLimits::default()).unwrap();
    assert_eq!(store.scan(None, 9_000).unwrap(), before);
    let used = lock(&store.open).as_ref().unwrap().labels.len();
    // Of the first 3,000 none is left; of the others as many as there was room for.
    assert!(used < 1_200, "{used}");
}

#[test]
fn a_sync_makes_earlier_commits_survive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    let store = Store::open(&path, StoreLimits::default()).unwrap();
    for synced in [false, true] {
        let rows = vec![(value(1), Some(record("a", 1)))];
        store.commit(&Commit { records: rows, ..Commit::default() }, NOW).unwrap();
        if synced {
            store.sync().unwrap();
        }
        // As a crash would leave it.
        let copy = directory.path().join("copy.redb");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(Store::open(&copy, StoreLimits::default()).unwrap().counts().records, u64::from(synced));
    }
}
