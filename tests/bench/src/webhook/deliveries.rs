//! How fast decisions are delivered, over HTTP and to programs, beside the stock custom bouncer.
//!
//! ```text
//!  scripted LAPI ── decisions ──► palisade-webhook ─────────┬─► HTTP endpoint: an event in each message, or 1,000
//!        │                                                  ├─► a program that reads lines
//!        └──────────────────────► crowdsec-custom-bouncer ──┴─► a program for each decision (/bin/true)
//! ```
//! Each run begins with a new process and an empty state directory. Its time is from the last byte of the LAPI's response
//! until the receiver has everything.

use std::time::Duration;

use palisade_e2e::{Failure, Outcome};

use super::http_receiver::HttpReceiver;
use super::program_receiver::{LineReader, StartCounter};
use super::sender::{Measured, Program, Sender, decisions, folder, http_file, stock_file};
use crate::data;
use crate::report::{BenchRow, Target, median};
use crate::scripted::ScriptedStream;

const DECISIONS: usize = 100_000;
/// Of the runs that start a process for each decision.
const CALLS: usize = 2_000;
const ROUNDS: usize = 3;
/// The longest time of a run.
const LIMIT: Duration = Duration::from_secs(300);
const UPDATE_FREQUENCY: Duration = Duration::from_secs(10);
const STOCK_CALLS: &str = "crowdsec-custom-bouncer, a process each (2,000 decisions)";
const STOCK_LINES: &str = "crowdsec-custom-bouncer, standard input";

/// Runs of one way of delivery.
#[derive(Default)]
struct Runs {
    rates: Vec<f64>,
    /// Processor seconds for 100,000 decisions.
    processor: Vec<f64>,
}

impl Runs {
    fn add(&mut self, count: usize, run: Measured) {
        self.rates.push(count as f64 / run.seconds);
        self.processor.push(run.processor * DECISIONS as f64 / count as f64);
    }

    fn medians(&self) -> (f64, f64) {
        (median(self.rates.clone()), median(self.processor.clone()))
    }
}

/// Ways of delivery over HTTP: events in a message, messages at once.
const HTTP: [(usize, usize); 4] = [(1, 4), (1, 16), (1000, 4), (1000, 16)];

#[expect(clippy::print_stderr, reason = "a command talks to its user")]
pub(crate) fn bench() -> Vec<BenchRow> {
    measure().unwrap_or_else(|failure| {
        eprintln!("webhook-deliveries: {failure}");
        vec![BenchRow::failed("webhook-deliveries", "the run failed")]
    })
}

fn measure() -> Outcome<Vec<BenchRow>> {
    let nets = data::v4(DECISIONS, 15);
    let (all, few) = (
        ScriptedStream::start_here(decisions(&nets))?,
        ScriptedStream::start_here(decisions(&nets[..CALLS]))?,
    );
    let mut http: [Runs; HTTP.len()] = Default::default();
    let [mut lines, mut calls]: [[Runs; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((events, parallel), runs) in HTTP.into_iter().zip(&mut http) {
            runs.add(DECISIONS, over_http(&all, events, parallel)?);
        }
        for (at, program) in [Program::Ours, Program::Stock].into_iter().enumerate() {
            lines[at].add(DECISIONS, by_lines(&all, program)?);
            calls[at].add(CALLS, by_calls(&few, program)?);
        }
    }
    let ([lines, stock_lines], [calls, stock_calls]) =
        (lines.map(|runs| runs.medians()), calls.map(|runs| runs.medians()));
    let mut rows = Vec::new();
    for ((events, parallel), runs) in HTTP.into_iter().zip(&http) {
        let target = if events == 1 { Target::TimesMore(50.0) } else { Target::None };
        let what = format!("HTTP, {events} in a message, {parallel} at once");
        rows.extend(pair(&what, runs.medians(), (stock_calls, STOCK_CALLS), target));
    }
    rows.extend(pair("lines on standard input", lines, (stock_lines, STOCK_LINES), Target::TimesMore(1.0)));
    rows.extend(pair("a process each (2,000 decisions)", calls, (stock_calls, STOCK_CALLS), Target::None));
    Ok(rows)
}

/// Decisions a second and processor time.
fn pair(what: &str, ours: (f64, f64), peer: ((f64, f64), &str), target: Target) -> [BenchRow; 2] {
    let ((rate, processor), name) = peer;
    [
        BenchRow::new(what, "dec/s", ours.0, Some((rate, name)), target),
        BenchRow::new(
            format!("{what}: processor, for 100,000"),
            "s",
            ours.1,
            Some((processor, name)),
            Target::None,
        ),
    ]
}

fn over_http(lapi: &ScriptedStream, events: usize, parallel: usize) -> Outcome<Measured> {
    let receiver = HttpReceiver::start(DECISIONS)?;
    let more = format!("    batch: {{events: {events}}}\n    parallel: {parallel}\n");
    let config = http_file(&lapi.access(), &receiver.url(), &more, UPDATE_FREQUENCY);
    let sender = Sender::start(Program::Ours, &config)?;
    let complete_at = receiver.wait_until_complete(LIMIT).map_err(|failure| sender.failed(&failure))?;
    let measured = sender.measured(lapi, complete_at)?;
    drop(sender);
    expect_all(receiver.different().0)?;
    Ok(measured)
}

fn by_lines(lapi: &ScriptedStream, program: Program) -> Outcome<Measured> {
    let reader = LineReader::expect(DECISIONS)?;
    let path = reader.program(&folder()?)?;
    let sender = Sender::start(program, &stock_file(&lapi.access(), &path, true)?)?;
    let (complete_at, different) =
        reader.wait_until_complete(LIMIT).map_err(|failure| sender.failed(&failure))?;
    let measured = sender.measured(lapi, complete_at)?;
    expect_all(different)?;
    Ok(measured)
}

fn by_calls(lapi: &ScriptedStream, program: Program) -> Outcome<Measured> {
    let counter = StartCounter::start(&folder()?)?;
    let sender = Sender::start(program, &stock_file(&lapi.access(), counter.program(), false)?)?;
    let complete_at = counter.wait_for(CALLS, LIMIT).map_err(|failure| sender.failed(&failure))?;
    sender.measured(lapi, complete_at)
}

fn expect_all(different: usize) -> Outcome {
    match different {
        DECISIONS => Ok(()),
        _ => Err(Failure::new(format!("{different} values were delivered, not {DECISIONS}"))),
    }
}
