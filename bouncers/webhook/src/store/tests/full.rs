//! A file system without space, and other errors of storage.

use std::process::Command;

use super::memory::MemoryMedium;
use super::workload::{Content, commit, contents, limits};
use super::*;

/// Commits numbers from what is stored on until one fails.
fn commit_until_full(store: &Store) -> (u64, StoreError) {
    loop {
        let number = store.state().sequence + 1;
        let rows = (0..200).map(|place| {
            let place = u32::try_from(number * 200).unwrap() + place;
            (value(place), Some(record("crowdsecurity/ssh-bf", number.cast_signed())))
        });
        let state = Some(EndpointState { sequence: number, ..EndpointState::default() });
        let commit = Commit { records: rows.collect(), state, durable: true, ..Commit::default() };
        if let Err(error) = store.commit(&commit, NOW) {
            return (number, error);
        }
    }
}

fn check_full(store: &Store) {
    let (number, error) = commit_until_full(store);
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains("wait until there is space"), "{error}");
    assert!(number > 1);
    for _ in 0..3 {
        let rows = store.scan(None, 1_000_000).unwrap();
        assert_eq!((store.state().sequence, rows.len() as u64), (number - 1, (number - 1) * 200));
        assert_eq!(store.counts().records, rows.len() as u64);
        assert!(commit_until_full(store).1.is_full());
    }
}

#[test]
fn a_commit_without_space_leaves_the_previous_state_readable() {
    let medium = MemoryMedium::default();
    medium.disk().capacity = Some(1 << 20);
    let store = medium.open(StoreLimits::default()).unwrap();
    check_full(&store);
    let before = store.counts().records;
    medium.disk().capacity = Some(4 << 20);
    check_full(&store);
    assert!(store.counts().records > before);
    assert!(!medium.was_set_aside());
}

#[test]
fn what_fits_into_the_file_is_stored_on_a_full_file_system() {
    let medium = MemoryMedium::default();
    let store = medium.open(StoreLimits::default()).unwrap();
    let update = |number: u32| {
        let rows = vec![(value(number % 3), Some(record("a", number.into())))];
        let commit = Commit { records: rows, durable: number.is_multiple_of(2), ..Commit::default() };
        store.commit(&commit, NOW).unwrap();
        medium.disk().bytes.len() as u64
    };
    // A commit needs pages beside those that it replaces.
    let size = (0..10).map(update).max().unwrap();
    medium.disk().capacity = Some(size);
    (0..500).for_each(|number| assert_eq!(update(number), size));
}

#[test]
fn an_error_at_any_operation_leaves_the_state_before_or_after_the_commit() {
    let contents = contents(8);
    for fails_after in (0..).step_by(3) {
        let medium = MemoryMedium::default();
        let store = medium.open(limits()).unwrap();
        for number in 1..=4 {
            store.commit(&commit(number), NOW).unwrap();
        }
        medium.disk().fails_after = Some(fails_after);
        let Some(failed) = (5..=8).find(|number| store.commit(&commit(*number), NOW).is_err()) else {
            assert!(fails_after > 20, "nothing failed");
            return;
        };
        assert!(store.commit(&commit(failed), NOW).is_err(), "no space yet");
        medium.disk().fails_after = None;
        let content = Content::of(&store);
        // What was not durable may be undone: 6 is not, 4 and 5 are.
        let number = store.state().sequence;
        let durable = if failed == 7 { 5 } else { failed - 1 };
        assert!((durable..=failed).contains(&number), "{number} after a failure at {failed}");
        assert_eq!(content, contents[usize::try_from(number).unwrap()]);
        assert!(!medium.was_set_aside());
        for number in number + 1..=8 {
            store.commit(&commit(number), NOW).unwrap();
        }
        assert_eq!(Content::of(&store), contents[8]);
    }
}

#[test]
fn a_store_that_cannot_be_begun_for_lack_of_space_says_so() {
    let medium = MemoryMedium::default();
    medium.disk().capacity = Some(10_000);
    assert!(medium.open(limits()).unwrap_err().is_full());
    medium.disk().capacity = None;
    assert!(medium.open(limits()).unwrap().is_new());
}

#[test]
fn damage_found_while_reading_begins_a_new_store_and_says_so_once() {
    let medium = MemoryMedium::default();
    let store = medium.open(limits()).unwrap();
    store.commit(&commit(1), NOW).unwrap();
    store.run(|_| Err::<(), _>(Problem::damaged("a record cannot be read"))).unwrap_err();
    assert!(medium.was_set_aside() && store.is_new());
    assert_eq!(Content::of(&store), Content::default());
    assert!(!store.state().initialised);
}

#[test]
fn a_full_file_system_is_waited_for() {
    const INSIDE: &str = "PALISADE_STORE_FULL_TEST";
    if let Some(directory) = std::env::var_os(INSIDE) {
        let directory = Path::new(&directory);
        let store = Store::open(directory.join("siem.redb"), StoreLimits::default()).unwrap();
        // Leaves half of the file system to the store.
        let filler = directory.join("filler");
        std::fs::write(&filler, vec![1; 2 << 20]).unwrap();
        check_full(&store);
        let before = store.counts().records;
        std::fs::remove_file(&filler).unwrap();
        check_full(&store);
        assert!(store.counts().records > before);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut inner = Command::new("unshare");
    inner.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    inner.arg("mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"").arg(directory.path());
    inner.arg(std::env::current_exe().unwrap());
    inner.args(["--exact", "store::tests::full::a_full_file_system_is_waited_for", "--nocapture"]);
    let done =
        inner.env(INSIDE, directory.path()).output().expect("unshare (util-linux) is needed for this test");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}
