//! Persisted decisions survive kills, torn writes and foreign files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Snapshot};
use tokio_util::sync::CancellationToken;

use super::format::{WITHOUT_CURSOR, encode};
use super::*;
use crate::publish::{Freshness, Update, channel};

fn snapshot() -> Snapshot {
    let reason = Reason { remediation: "ban", origin: "lists", scenario: "tor" };
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let mut batch = Batch::new();
    batch.announce_net("192.0.2.0/24".parse().unwrap(), reason, at(100), 1);
    batch.announce_net("2001:db8::1/128".parse().unwrap(), reason, at(200), 2);
    batch.announce_name("Country", "FR", reason, at(300), 3);
    let mut ledger = Ledger::new(Policy::default(), 0);
    ledger.apply(Mode::Changes, batch);
    ledger.snapshot()
}

fn texts(snapshot: &Snapshot) -> Vec<String> {
    let mut out: Vec<_> = snapshot.decisions().map(|d| format!("{d:?}")).collect();
    out.sort();
    out
}

/// The persisted decisions as text, and their cursor.
fn loaded(memory: &StateFile, now: Timestamp) -> (Vec<String>, String) {
    let remembered = memory.load(now).unwrap().unwrap();
    let cursor = remembered.cursor.clone();
    let mut ledger = Ledger::new(Policy::default(), 0);
    remembered.restore(&mut ledger, now);
    (texts(&ledger.snapshot()), cursor)
}

#[test]
fn what_was_saved_is_loaded_without_what_ended_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["http://127.0.0.1:8080"], "ban");
    assert!(memory.load(Timestamp::default()).unwrap().is_none());
    memory.save_at(&snapshot(), "T7", Timestamp::from_millis(5)).unwrap();
    let mode = fs::metadata(memory.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(loaded(&memory, Timestamp::default()), (texts(&snapshot()), "T7".to_owned()));
    assert_eq!(memory.load(Timestamp::default()).unwrap().unwrap().written.as_millis(), 5);
    let (left, cursor) = loaded(&memory, Timestamp::from_millis(100_000));
    assert_eq!((left.len(), cursor.as_str()), (2, "T7"));
}

/// Answers with changes, and what the ledger is after each.
fn answers() -> (Ledger, Vec<(Record, Vec<String>)>) {
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "by hand" };
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    let net = |text: &str| text.parse().unwrap();
    let mut first = Batch::new();
    first.announce_net(net("198.51.100.1/32"), reason, at(500), 4);
    first.announce_name("Username", "root", reason, at(500), 5);
    let mut second = Batch::new();
    second.lift_net(net("192.0.2.0/24"), "ban");
    second.lift_net_up_to(net("198.51.100.1/32"), "ban", 3);
    second.lift_name("Country", "FR", "ban");
    // Sooner than before: what replaces a longer one must be replayed though it has ended.
    let mut third = Batch::new();
    third.announce_net(net("198.51.100.1/32"), reason, at(50), 6);
    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut base = Batch::new();
    let lists = Reason { remediation: "ban", origin: "lists", scenario: "tor" };
    base.announce_net(net("192.0.2.0/24"), lists, at(100), 1);
    base.announce_net(net("2001:db8::1/128"), lists, at(200), 2);
    base.announce_name("Country", "FR", lists, at(300), 3);
    ledger.apply(Mode::Everything, base);
    let steps = [first, second, third].into_iter().enumerate().map(|(at, batch)| {
        let record = Record::of(&batch, Timestamp::from_millis(at as i64));
        ledger.apply(Mode::Changes, batch);
        (record.with_cursor(&format!("T{at}")), texts(&ledger.snapshot()))
    });
    let steps = steps.collect();
    (ledger, steps)
}

#[test]
fn a_device_is_no_state_file_and_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "ban");
    std::os::unix::fs::symlink("/dev/zero", memory.path()).unwrap();
    let refused = format!("{:?}", memory.load(Timestamp::default()).unwrap_err());
    assert!(refused.contains("no regular file"), "{refused}");
    fs::remove_file(memory.path()).unwrap();
    memory.save_at(&snapshot(), "T", Timestamp::default()).unwrap();
    let _ = fs::remove_file(memory.journal());
    std::os::unix::fs::symlink("/dev/zero", memory.journal()).unwrap();
    assert_eq!(loaded(&memory, Timestamp::default()), (texts(&snapshot()), "T".to_owned()));
}

#[test]
fn a_journal_is_replayed_up_to_the_first_torn_record() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "ban");
    let base = memory.save_at(&snapshot(), "T", Timestamp::default()).unwrap();
    let (_, steps) = answers();
    let mut journal = None;
    let mut ends = vec![20];
    for (place, (record, expected)) in steps.iter().enumerate() {
        let records = std::slice::from_ref(record);
        journal = Some(journal::Journal::append(journal, &memory.journal(), base, records, true).unwrap());
        assert_eq!(loaded(&memory, Timestamp::default()), (expected.clone(), format!("T{place}")));
        ends.push(fs::metadata(memory.journal()).unwrap().len());
    }
    let mode = fs::metadata(memory.journal()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // After the shorter end has come, the longer one that it replaced does not return.
    assert!(loaded(&memory, Timestamp::from_millis(60_000)).0.iter().all(|text| !text.contains("198.51")));

    let whole = fs::read(memory.journal()).unwrap();
    let states: Vec<_> =
        std::iter::once(texts(&snapshot())).chain(steps.into_iter().map(|(_, s)| s)).collect();
    for at in 0..whole.len() {
        let complete = ends.iter().filter(|end| **end <= at as u64).count().saturating_sub(1);
        fs::write(memory.journal(), &whole[..at]).unwrap();
        assert_eq!(loaded(&memory, Timestamp::default()).0, states[complete], "cut at {at}");
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        fs::write(memory.journal(), &bad).unwrap();
        let complete = if at < 20 { 0 } else { complete };
        assert_eq!(loaded(&memory, Timestamp::default()).0, states[complete], "byte {at}");
    }
    // The journal of another file is not read.
    fs::write(memory.journal(), &whole).unwrap();
    memory.save_at(&snapshot(), "N", Timestamp::from_millis(1)).unwrap();
    assert!(!memory.journal().exists());
    fs::write(memory.journal(), &whole).unwrap();
    assert_eq!(loaded(&memory, Timestamp::default()), (texts(&snapshot()), "N".to_owned()));
}

fn complete() -> Freshness {
    Freshness { last_full: Some(crate::now()), ..Freshness::default() }
}

/// Waits until that many decisions are persisted; returns how long that took.
async fn remembered(memory: &StateFile, count: usize) -> Duration {
    let begun = std::time::Instant::now();
    loop {
        let found = memory.load(Timestamp::default()).unwrap();
        if found.is_some() && loaded(memory, Timestamp::default()).0.len() == count {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{count} are never remembered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_in_force_is_on_disk_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "ban");
    let mut ledger = Ledger::new(Policy::default(), 0);
    let (publisher, cache) = channel(ledger.snapshot());
    let stop = CancellationToken::new();
    let keeping = keep(memory.clone(), cache, Duration::from_millis(500), stop.clone());
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "s" };
    let far = crate::now().saturating_add(Duration::from_secs(3600));
    let mut ban = |number: u32| {
        let mut batch = Batch::new();
        let address = std::net::Ipv4Addr::from(0x0A00_0000 + number);
        batch.announce_net(
            ipnet::IpNet::from(std::net::IpAddr::from(address)),
            reason,
            far,
            i64::from(number),
        );
        let record = Record::of(&batch, crate::now());
        ledger.apply(Mode::Changes, batch);
        (ledger.snapshot(), record)
    };
    let second = Duration::from_secs(1);
    let living = async {
        // The response arrives after the first check by the writer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        publisher.publish_freshness(complete());
        publisher.publish_at(ban(1).0, "T1");
        assert!(remembered(&memory, 1).await < second);
        assert!(!memory.journal().exists());
        let base = fs::read(memory.path()).unwrap();
        for number in 2..6 {
            let (snapshot, record) = ban(number);
            publisher.publish_response(
                snapshot,
                &format!("T{number}"),
                Update::Changes(Some(record)),
                complete(),
            );
            assert!(remembered(&memory, number as usize).await < second);
        }
        assert_eq!(fs::read(memory.path()).unwrap(), base, "changes go to the journal");
        assert_eq!(loaded(&memory, Timestamp::default()).1, "T5");
        // What no record describes is written whole.
        publisher.publish_at(ban(6).0, "T6");
        assert!(remembered(&memory, 6).await < second);
        assert!(!memory.journal().exists());
        // At the end everything is in the file, with the last cursor.
        let (snapshot, record) = ban(7);
        publisher.publish_response(snapshot.clone(), "T7", Update::Changes(Some(record)), complete());
        remembered(&memory, 7).await;
        publisher.publish_response(snapshot, "T8", Update::Changes(None), complete());
        stop.cancel();
    };
    tokio::join!(keeping, living);
    assert!(!memory.journal().exists());
    assert_eq!(loaded(&memory, Timestamp::default()).1, "T8");
}

#[tokio::test]
async fn a_journal_that_grows_is_written_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "ban");
    let mut ledger = Ledger::new(Policy::default(), 0);
    let (publisher, cache) = channel(ledger.snapshot());
    let stop = CancellationToken::new();
    let keeping = keep(memory.clone(), cache, Duration::from_millis(5), stop.clone());
    let reason = Reason { remediation: "ban", origin: "cscli", scenario: "s" };
    let far = crate::now().saturating_add(Duration::from_secs(3600));
    let living = async {
        publisher.publish_freshness(complete());
        let mut largest = 0;
        for round in 0..40u32 {
            let mut batch = Batch::new();
            for number in 0..500 {
                let address = std::net::Ipv4Addr::from(0x0A00_0000 + round * 500 + number);
                batch.announce_net(ipnet::IpNet::from(std::net::IpAddr::from(address)), reason, far, 1);
            }
            let record = Record::of(&batch, crate::now());
            ledger.apply(Mode::Changes, batch);
            publisher.publish_response(ledger.snapshot(), "T", Update::Changes(Some(record)), complete());
            remembered(&memory, (round as usize + 1) * 500).await;
            largest = largest.max(fs::metadata(memory.journal()).map_or(0, |journal| journal.len()));
        }
        assert!(largest > 100_000 && largest < 2 * 256 * 1024, "{largest}");
        assert!(fs::metadata(memory.path()).unwrap().len() > 256 * 1024, "the file has grown");
        stop.cancel();
    };
    tokio::join!(keeping, living);
}

#[test]
fn a_list_of_lapis_may_grow_and_shrink() {
    let folder = tempfile::tempdir().unwrap();
    let memory = |lapis: &[&str], kind: &str| {
        StateFile::new(folder.path().join("decisions"), lapis.iter().copied(), kind)
    };
    memory(&["http://a", "http://b"], "ban").save(&snapshot(), Timestamp::default()).unwrap();
    for (lapis, kind, usable) in [
        (&["http://b"][..], "ban", true),
        (&["http://c", "http://a"], "ban", true),
        (&["http://c"], "ban", false),
        (&["http://a"], "ban,captcha", false),
    ] {
        let found = memory(lapis, kind).load(Timestamp::default());
        let other = matches!(found, Err(PersistError::OtherLapi { .. }));
        assert_eq!((found.is_ok(), other), (usable, !usable), "{lapis:?} {kind}");
    }
}

#[test]
fn a_file_of_the_version_before_is_read_and_has_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["http://a"], "ban");
    let (mut old, _) = encode(&snapshot(), "http://a (ban)", "", Timestamp::from_millis(5));
    let body = old.len() - 4;
    old.truncate(body);
    // The length of an empty cursor goes.
    let at = 8 + 4 + "http://a (ban)".len();
    old.drain(at..at + 4);
    old[..8].copy_from_slice(WITHOUT_CURSOR);
    let checksum = crc32fast::hash(&old);
    old.extend_from_slice(&checksum.to_le_bytes());
    fs::write(memory.path(), old).unwrap();
    let found = memory.load(Timestamp::default()).unwrap().unwrap();
    assert_eq!((found.base.announced(), found.written.as_millis(), found.cursor.as_str()), (3, 5, ""));
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "ban");
    memory.save(&snapshot(), Timestamp::default()).unwrap();
    let good = fs::read(memory.path()).unwrap();
    for at in 8..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(memory.path(), &bad).unwrap();
        assert!(matches!(memory.load(Timestamp::default()), Err(PersistError::Damaged { .. })), "byte {at}");
        fs::write(memory.path(), &good[..at]).unwrap();
        assert!(memory.load(Timestamp::default()).is_err(), "cut at {at}");
    }
    fs::write(memory.path(), b"#!/bin/sh\n").unwrap();
    assert!(matches!(memory.load(Timestamp::default()), Err(PersistError::Foreign { .. })));
    fs::write(memory.path(), &good).unwrap();
    let other = StateFile::new(memory.path(), ["b"], "ban");
    assert!(matches!(other.load(Timestamp::default()), Err(PersistError::OtherLapi { .. })));
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "ban");
    memory.save(&snapshot(), Timestamp::default()).unwrap();
    let before = fs::read(memory.path()).unwrap();
    fs::create_dir(memory.path().with_extension("new")).unwrap();
    assert!(memory.save(&snapshot(), Timestamp::default()).is_err());
    assert_eq!(fs::read(memory.path()).unwrap(), before);
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions");
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    let error = StateFile::new(&path, ["a"], "ban").save(&snapshot(), Timestamp::default()).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
