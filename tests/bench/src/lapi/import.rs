//! Import of a hundred thousand decisions: one alert that carries them all, from the request's first byte to the response,
//! with the memory it takes; and the whole command that reads them from a file.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use palisade_e2e::{Make, Outcome, World};
use serde_json::json;

use super::bench_server::{BenchServer, MACHINE};
use super::{STOCK, grouped, say, sized};
use crate::data;
use crate::report::{BenchRow, Target, median};

const RUNS: usize = 3;
/// How long the stock server may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The goals, for a hundred thousand decisions.
const SECONDS: f64 = 0.5;
const PEAK_MB: f64 = 90.0;
const AFTERWARDS_MB: f64 = 60.0;

/// One import.
#[derive(Debug, Clone, Copy)]
struct Import {
    seconds: f64,
    /// Resident memory of the server, in MB.
    peak: f64,
    afterwards: f64,
}

/// What is measured: the end of its name, its unit, and the goal.
type Figure = (&'static str, &'static str, fn(&Import) -> f64, f64);

const FIGURES: [Figure; 3] = [
    ("", "s", |run| run.seconds, SECONDS),
    (", peak of resident memory", "MB", |run| run.peak, PEAK_MB),
    (", resident memory afterwards", "MB", |run| run.afterwards, AFTERWARDS_MB),
];

type Once = fn(&World, Make, usize) -> Outcome<Import>;

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let count = sized(100_000);
    let figure = format!("import of {} decisions", grouped(count));
    let mut rows = Vec::new();
    for (what, once) in [("in one alert", post as Once), ("by the command", command)] {
        say(&format!("importing into the stock LAPI, {what}"));
        let theirs = once(world, Make::Stock, count);
        say(&format!("importing into ours, {what}"));
        let ours = (0..RUNS).map(|_| once(world, Make::Ours, count)).collect::<Outcome<Vec<_>>>();
        let figure = format!("{figure} {what}");
        let ours = match ours {
            Ok(ours) => ours,
            Err(failure) => {
                rows.push(BenchRow::failed(&figure, &failure.to_string()));
                continue;
            }
        };
        if let Err(failure) = &theirs {
            rows.push(BenchRow::failed(&format!("{figure}: {STOCK}"), &failure.to_string()));
        }
        for (part, unit, of, goal) in FIGURES {
            let peer = theirs.as_ref().ok().map(|theirs| (of(theirs), STOCK));
            let ours = median(ours.iter().map(of).collect());
            rows.push(BenchRow::new(format!("{figure}{part}"), unit, ours, peer, Target::AtMost(goal)));
        }
    }
    Ok(rows)
}

/// One request, as the command sends it.
fn post(world: &World, make: Make, count: usize) -> Outcome<Import> {
    let mut server = BenchServer::start(world, make)?;
    let took = server.import(count, TIMEOUT)?;
    finish(&mut server, took)
}

/// The administration tool with a file: it logs in, reads, checks the allowlists and posts.
fn command(world: &World, make: Make, count: usize) -> Outcome<Import> {
    let mut server = BenchServer::start(world, make)?;
    let credentials = json!({ "url": server.process.url(), "login": MACHINE.0, "password": MACHINE.1 });
    std::fs::write(server.process.config().with_file_name("credentials.yaml"), credentials.to_string())?;
    let list = world.fresh_path("list.csv");
    let mut text = String::from("duration,scope,reason,type,value\n");
    for net in data::v4(count, 1) {
        let scope = if net.prefix_len() == 32 { "Ip" } else { "Range" };
        let value = if scope == "Ip" { net.addr().to_string() } else { net.to_string() };
        let _ = writeln!(text, "400h,{scope},a blocklist,ban,{value}");
    }
    std::fs::write(&list, text)?;
    let started = Instant::now();
    server.process.admin(&["decisions", "import", "--format", "csv", "-i", &list.display().to_string()])?;
    let took = started.elapsed();
    finish(&mut server, took)
}

fn finish(server: &mut BenchServer, took: Duration) -> Outcome<Import> {
    let process = server.process.process()?;
    let mb = |line| process.memory(line).map(|kb| kb as f64 / 1024.0);
    Ok(Import { seconds: took.as_secs_f64(), peak: mb("VmHWM")?, afterwards: mb("VmRSS")? })
}
