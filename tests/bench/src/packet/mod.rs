//! What a packet pays for the rules: the built palisade-firewall on lists of many sizes and shapes, beside the rules
//! of a stock bouncer and none, in throw-away namespaces.
//!
//! ```text
//!  ScriptedStream ──decisions──► palisade-firewall ──rules──► host "ours"  ◄─┐
//!                                            stock::load ───► host "stock" ◄─┼── frames.c, each host in turn
//!                                                             host "bare"  ◄─┘
//! ```
//! Sending frames takes CAP_BPF and CAP_NET_ADMIN of the first user namespace; without them the bench is skipped.

mod cell;
mod frames;
mod lists;
mod origin;
mod stock;
mod table;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_e2e::{Outcome, World};
use serde::{Deserialize, Serialize};

use self::cell::{Bench, Cell};
use self::frames::{Receiver, Sender};
use self::lists::{Contents, Spread};
use crate::report::{BenchRow, Target, save};

/// A clean packet pays at most this many nanoseconds over no rules.
const CLEAN_NS: f64 = 450.0;
/// One more or one less range takes at most this many milliseconds, at this many ranges.
const RANGE_MS: f64 = 1.0;
const MANY_RANGES: usize = 200_000;
/// No cell is begun after this long.
const LIMIT: Duration = Duration::from_secs(14 * 60);

/// What the child prints.
#[derive(Serialize, Deserialize)]
enum Report {
    Unable(String),
    Cells(Vec<Cell>, Vec<(Contents, usize, String)>),
}

/// Hosts and ranges of a list, and of how many origins it is measured.
type Size = (usize, usize, &'static [usize]);

/// Runs the matrix, or for `packet-quick` a few cells of it.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]
pub(crate) fn packet(name: &str) -> Vec<BenchRow> {
    const FIGURE: &str = "what a packet pays";
    // Root of a user namespace alone may not load the program that makes the frames.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if !(whole && rustix::process::geteuid().is_root()) {
        eprintln!("{name} is skipped: needs root of the first user namespace, to make packets in the kernel");
        return vec![BenchRow::skipped(FIGURE, "needs root of the first user namespace")];
    }
    let program = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(program);
    child.args(["child-packet", name]).env("PALISADE_REAL_ROOT", "1").stderr(Stdio::inherit());
    let output = child.output().expect("this program can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(report) = text.lines().find_map(|line| line.strip_prefix("report: ")) else {
        return vec![BenchRow::failed(FIGURE, "the run in the namespaces failed")];
    };
    match serde_json::from_str(report).expect("the child prints what is read here") {
        Report::Unable(why) => {
            eprintln!("{name} is skipped: needs root and Linux 5.18: {why}");
            vec![BenchRow::skipped(FIGURE, &format!("needs root and Linux 5.18: {why}"))]
        }
        Report::Cells(cells, failed) => {
            print!("{}", table::print(&cells));
            let saved = save(&format!("{name}-cells"), &cells);
            let unsaved =
                saved.err().map(|error| BenchRow::failed("all figures as JSON", &error.to_string()));
            let failed = failed.iter().map(|(contents, origins, why)| {
                BenchRow::failed(&table::describe(contents, *origins), why.as_str())
            });
            cells.iter().flat_map(rows).chain(failed).chain(unsaved).collect()
        }
    }
}

/// The figures of a cell that have targets.
fn rows(cell: &Cell) -> Vec<BenchRow> {
    let what = table::describe(&cell.contents, cell.origins);
    let stock = Some((cell.clean.stock.min, "the stock bouncer's rules"));
    let mut rows = vec![BenchRow::new(
        format!("{what}: clean packet over no rules"),
        "ns",
        cell.clean.ours.min,
        stock,
        Target::AtMost(CLEAN_NS),
    )];
    if cell.contents.ranges >= MANY_RANGES {
        for (change, figure) in [("more", cell.ranges.more), ("less", cell.ranges.less)] {
            let text = format!("{what}: one {change} range");
            rows.push(match figure {
                Some(ms) => BenchRow::new(text, "ms", ms, None, Target::AtMost(RANGE_MS)),
                None => BenchRow::failed(&text, "no notification of a change"),
            });
        }
    }
    rows
}

/// The child of [`packet`]; returns only its exit.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn child(name: &str) -> bool {
    let reported = palisade_e2e::enter().and_then(|()| measure(name == "packet-quick"));
    match reported {
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

#[expect(clippy::print_stderr, reason = "a run of minutes shows that it goes on")]
fn measure(quick: bool) -> Outcome<Report> {
    let start = Instant::now();
    let world = World::raise()?;
    let sender = Sender::build(&world)?;
    let bare = Receiver::new(&world, "bare", 21)?;
    if let Some(why) = sender.unable(&bare)? {
        return Ok(Report::Unable(why));
    }
    let (ours, stock) = (Receiver::new(&world, "ours", 22)?, Receiver::new(&world, "stock", 23)?);
    let bench = Bench { world: &world, sender, bare, ours, stock };
    let (mut cells, mut failed) = (Vec::new(), Vec::new());
    for (contents, origins) in matrix(quick) {
        let what = table::describe(&contents, origins);
        let measured = if start.elapsed() < LIMIT {
            bench.measure(contents, origins).map_err(|failure| failure.to_string())
        } else {
            Err(format!("not begun within {LIMIT:?}"))
        };
        match measured {
            Ok(cell) => {
                let (ours, stock) = (cell.clean.ours.min, cell.clean.stock.min);
                eprintln!("  {:>4.0?} {what}: clean {ours:.0} ns, stock {stock:.0} ns", start.elapsed());
                cells.push(cell);
            }
            Err(why) => {
                eprintln!("  {:>4.0?} {what}: {why}", start.elapsed());
                failed.push((contents, origins, why));
            }
        }
    }
    Ok(Report::Cells(cells, failed))
}

fn matrix(quick: bool) -> Vec<(Contents, usize)> {
    let sizes: &[Size] = if quick {
        &[(100_000, 20_000, &[5])]
    } else {
        &[(100_000, 0, &[1, 5, 20]), (100_000, 20_000, &[1, 5, 20]), (0, MANY_RANGES, &[1, 5, 20])]
    };
    let mut cells = Vec::new();
    for v6 in [false, true] {
        let contents = |spread, hosts, ranges| Contents { v6, spread, hosts, ranges };
        cells.push((contents(Spread::Uniform, 0, 0), 1));
        for spread in [Spread::Uniform, Spread::Clustered] {
            for (hosts, ranges, origins) in sizes {
                cells.extend(origins.iter().map(|origins| (contents(spread, *hosts, *ranges), *origins)));
            }
        }
        if quick {
            cells.push((contents(Spread::Clustered, 0, MANY_RANGES), 5));
        }
    }
    cells
}
