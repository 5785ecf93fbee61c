//! Processes that are killed while they commit.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::workload::{Content, commit, contents, limits};
use super::*;

const PATH: &str = "PALISADE_STORE_KILL_TEST";
const COMMITS: u64 = 400;

#[test]
#[ignore = "runs in a process of its own, started by the test below"]
fn commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let store = Store::open(path, limits()).unwrap();
    for number in store.state().sequence + 1..=COMMITS {
        let commit = commit(number);
        store.commit(&commit, NOW).unwrap();
        if commit.durable {
            std::io::stderr().write_all(format!("durable {number}\n").as_bytes()).unwrap();
        }
    }
}

/// Lets a process commit for a while and kills it. The last commit that it reported as durable.
fn killed_after(path: &Path, time: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "store::tests::kill::commits_until_it_is_killed", "--ignored", "--nocapture"]);
    child.env(PATH, path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut numbers =
        lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("durable ")?.parse().ok());
    let mut last = numbers.next().unwrap_or(0);
    let begun = Instant::now();
    last = numbers.by_ref().find(|_| begun.elapsed() >= time).unwrap_or(last);
    child.kill().unwrap();
    child.wait().unwrap();
    numbers.last().unwrap_or(last)
}

#[test]
fn a_killed_process_loses_no_durable_commit() {
    let contents = contents(COMMITS + 1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("siem.redb");
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..25 {
        let reported = killed_after(&path, Duration::from_micros(random.u64(..20_000)));
        let store = Store::open(&path, limits()).unwrap();
        let number = store.state().sequence;
        assert!(number >= reported, "{reported} was durable, {number} is stored");
        assert_eq!(Content::of(&store), contents[usize::try_from(number).unwrap()]);
        drop(store);
        if number >= COMMITS {
            std::fs::remove_file(&path).unwrap();
        }
    }
    assert!(!directory.path().join("siem.redb.unusable").exists());
}
