//! Our reverse proxy beside nginx, HAProxy and Caddy: each in turn in one run, before the same origin.
//!
//! ```text
//!  core 1                          core 0                      core 1
//!  wrk, h2load, paced ──────────►  one proxy, one worker ────► origin (nginx, static bodies)
//!                                      ▲ decisions
//!                                  ScriptedStream (core 1)
//! ```
//! The generator shares its core with the origin, so requests per second compare proxies and are no absolute figures.
//! The measure is requests for each second of the proxy's processor time, which a busy machine disturbs less.
//! docs/benchmarks.md has the method.

mod check;
pub(crate) mod cores;
mod decisions;
mod front;
mod latency;
pub(crate) mod load;
mod memory;
mod paced;
mod peers;
mod shape;
mod table;
mod throughput;
mod update;

use std::process::{Command, Stdio};
use std::time::Duration;

use palisade_e2e::{Authority, Failure, Outcome, Process, World};
use serde::{Deserialize, Serialize};

use self::cores::Cores;
use self::front::Fronts;
use self::load::Generators;
use crate::report::{BenchRow, save};

type Measure = fn(&Bench<'_>) -> Outcome<Report>;

const MEASURES: &[(&str, Measure)] = &[
    ("proxy-throughput", throughput::measure),
    ("proxy-latency", latency::measure),
    ("proxy-update", update::measure),
    ("proxy-memory", memory::measure),
    ("proxy-check", check::measure),
];

/// Decisions in the runs with decisions, and in an update.
const DECISIONS: usize = 500_000;
const UPDATE: usize = 50_000;

/// The decisions, as many as the run has.
pub(crate) fn decision_list() -> Vec<ipnet::IpNet> {
    decisions::list(crate::lapi::sized(DECISIONS))
}

/// What the child prints.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    rows: Vec<BenchRow>,
    /// All figures for people, in lines.
    table: String,
    /// All figures of all runs.
    figures: serde_json::Value,
}

/// What every comparison needs.
struct Bench<'a> {
    fronts: Fronts<'a>,
    generators: Generators<'a>,
    plan: Plan,
    _origin: Process,
}

/// How long and how often; the variables are for trying the benches themselves, and for long runs.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// `PALISADE_BENCH_PROXY_SECONDS`: of one run.
    seconds: u64,
    /// `PALISADE_BENCH_PROXY_ROUNDS`: runs of each proxy in each cell.
    rounds: usize,
    /// `PALISADE_BENCH_PROXY_REQUESTS`: of the comparison of memory.
    requests: f64,
}

impl Plan {
    fn from_env() -> Self {
        let number = |name: &str, default: u64| {
            let given = std::env::var(format!("PALISADE_BENCH_PROXY_{name}")).ok();
            given.and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
        };
        Self {
            seconds: number("SECONDS", 2),
            rounds: number("ROUNDS", 3) as usize,
            requests: number("REQUESTS", 1_000_000) as f64,
        }
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Runs a comparison as a child of this program, which enters the namespaces.
#[expect(clippy::print_stdout, reason = "printing figures is what a benchmark is for")]
pub(crate) fn bench(name: &str) -> Vec<BenchRow> {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(program);
    child.args(["child-proxy", name]).stderr(Stdio::inherit());
    let output = child.output().expect("this program can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(report) = text.lines().find_map(|line| line.strip_prefix("report: ")) else {
        return vec![BenchRow::failed(name, "the run in the namespaces failed")];
    };
    let report: Report = serde_json::from_str(report).expect("the child prints what is read here");
    print!("{}", report.table);
    let saved = save(&format!("{name}-runs"), &report.figures);
    let unsaved = saved.err().map(|error| BenchRow::failed("all figures as JSON", &error.to_string()));
    report.rows.into_iter().chain(unsaved).collect()
}

/// The child of [`bench()`]; returns whether it succeeded.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn child(name: &str) -> bool {
    match palisade_e2e::enter().and_then(|()| measure(name)) {
        Ok(report) => {
            println!("report: {}", serde_json::to_string(&report).expect("figures are plain data"));
            true
        }
        Err(failure) => {
            eprintln!("{name}: {failure}");
            false
        }
    }
}

fn measure(name: &str) -> Outcome<Report> {
    // Threads inherit the core, so this comes before any is started.
    let Some(cores) = Cores::separate()? else {
        let rows = vec![BenchRow::skipped(name, "needs two cores")];
        return Ok(Report { rows, ..Report::default() });
    };
    let world = World::raise()?;
    let certificate = Authority::new(&world)?.server()?;
    let fronts = Fronts { world: &world, cores, certificate, origin: world.router.free_port()? };
    let origin = fronts.start_origin()?;
    let generators = Generators::new(&world, origin.id())?;
    let bench = Bench { fronts, generators, plan: Plan::from_env(), _origin: origin };
    let known = MEASURES.iter().find(|(known, _)| *known == name);
    let (_, measure) = known.ok_or_else(|| Failure::new(format!("no comparison is called {name}")))?;
    measure(&bench)
}

/// Prints progress to the terminal: some comparisons take minutes.
#[expect(clippy::print_stderr, reason = "a command talks to its user")]
fn say(text: &str) {
    eprintln!("  {text}");
}
