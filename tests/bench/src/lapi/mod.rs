//! Our LAPI and CrowdSec's side by side: each figure of both, in turn in one run, in namespaces of their own, SQLite
//! both. `PALISADE_BENCH_DIVIDE=100` makes every size a hundredth, to try the benches themselves.

mod bench_server;
mod delta;
mod import;
mod login;
mod memory;
mod mixed;
mod push;
mod startup;
mod takeover;

use std::process::{Command, Stdio};

use palisade_e2e::{Outcome, World};

use crate::report::BenchRow;

type Measure = fn(&World) -> Outcome<Vec<BenchRow>>;

const MEASURES: &[(&str, Measure)] = &[
    ("lapi-import", import::measure),
    ("lapi-startup", startup::measure),
    ("lapi-delta", delta::measure),
    ("lapi-mixed", mixed::measure),
    ("lapi-memory", memory::measure),
    ("lapi-login", login::measure),
    ("takeover", takeover::measure),
    ("push-latency", push::latency),
    ("push-waiters", push::waiters),
    ("push-fleet", push::fleet),
];

/// What the peer is called in the tables.
const STOCK: &str = "CrowdSec 1.4.6 LAPI";

/// Runs a comparison as a child of this program, which enters the namespaces.
pub(crate) fn bench(name: &str) -> Vec<BenchRow> {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(program);
    child.args(["child-lapi", name]).stderr(Stdio::inherit());
    if name.starts_with("push-") {
        // As real root where we are root: the firewall may then raise its socket's buffer, as on a real host.
        child.env("PALISADE_REAL_ROOT", "1");
    }
    let output = child.output().expect("this program can run itself");
    let rows = String::from_utf8_lossy(&output.stdout);
    match rows.lines().find_map(|line| line.strip_prefix("rows: ")) {
        Some(rows) => serde_json::from_str(rows).expect("the child prints what report writes"),
        None => vec![BenchRow::failed(name, "the run in the namespaces failed")],
    }
}

/// The child of [`bench()`]; returns whether it succeeded.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn child(name: &str) -> bool {
    let result = palisade_e2e::enter().and_then(|()| {
        let world = World::raise()?;
        let measure = MEASURES.iter().find(|(known, _)| *known == name);
        measure.map_or_else(|| Ok(Vec::new()), |(_, measure)| measure(&world))
    });
    match result {
        Ok(rows) => {
            println!("rows: {}", serde_json::to_string(&rows).expect("rows are plain data"));
            true
        }
        Err(failure) => {
            eprintln!("{name}: {failure}");
            false
        }
    }
}

/// The full size, or the requested fraction.
pub(crate) fn sized(full: usize) -> usize {
    let part = std::env::var("PALISADE_BENCH_DIVIDE").ok().and_then(|text| text.parse().ok());
    (full / part.unwrap_or(1).max(1)).max(1)
}

/// `100000` as `100,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints the progress of a benchmark to the terminal: some take minutes.
#[expect(clippy::print_stderr, reason = "a command talks to its user")]
fn say(text: &str) {
    eprintln!("  {text}");
}
