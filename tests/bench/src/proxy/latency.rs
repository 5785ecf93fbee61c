//! Response times at half and at four fifths of what the slower of ours and nginx can do.

use std::time::Duration;

use palisade_e2e::{Failure, Outcome};
use serde::{Deserialize, Serialize};

use super::front::Front;
use super::load::Job;
use super::paced::{self, percentile};
use super::shape::{Body, Http, Shape};
use super::table::spread;
use super::{Bench, Report, say};
use crate::report::{BenchRow, Target, median};

/// Over TLS the generator is h2load, which has no open loop: its clients are many and slow instead.
const CELLS: [Shape; 4] = [
    Shape::new(false, Http::KeepAlive, Body::K1),
    Shape::new(false, Http::KeepAlive, Body::K64),
    Shape::new(true, Http::KeepAlive, Body::K1),
    Shape::new(true, Http::Two, Body::K1),
];

const LOADS: [f64; 2] = [0.5, 0.8];
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Half of the requests take longer only when they queue before the proxy.
const OVERLOADED_US: f64 = 100_000.0;

/// Microseconds, one for each run.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    cell: String,
    proxy: String,
    rate: f64,
    percentiles: Vec<(String, Vec<f64>)>,
}

pub(super) fn measure(bench: &Bench<'_>) -> Outcome<Report> {
    let nginx = bench.fronts.nginx()?;
    let ours = bench.fronts.ours("ours", "stream", std::iter::empty())?;
    let both = [&ours.front, &nginx];
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for shape in CELLS {
        let maxima = bench.cell(shape, &format!("{shape}, the maximum"), &both, None);
        let maxima = maxima.iter().map(|line| line.figures.middle_per_second());
        let Some(slower) =
            maxima.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().reduce(f64::min))
        else {
            rows.push(BenchRow::failed(&shape.to_string(), "its maximum was not measured"));
            continue;
        };
        for load in LOADS {
            match bench.at_load(shape, load, slower * load, &both) {
                Ok(measured) => {
                    rows.push(row(&measured));
                    lines.extend(measured);
                }
                Err(failure) => rows.push(BenchRow::failed(&title(shape, load), &failure.to_string())),
            }
        }
    }
    let table = table(&lines);
    Ok(Report { rows, table, figures: serde_json::to_value(&lines)? })
}

fn title(shape: Shape, load: f64) -> String {
    format!("{shape} at {:.0} % of the slower one's maximum", load * 100.0)
}

impl Bench<'_> {
    fn at_load(&self, shape: Shape, load: f64, rate: f64, both: &[&Front]) -> Outcome<Vec<Line>> {
        let cell = title(shape, load);
        let empty = || SHARES.map(|(name, _)| (name.to_owned(), Vec::new())).into();
        let line = |front: &&Front| Line {
            cell: cell.clone(),
            proxy: front.name.to_owned(),
            rate,
            percentiles: empty(),
        };
        let mut lines: Vec<_> = both.iter().map(line).collect();
        for _ in 0..self.plan.rounds {
            for (front, line) in both.iter().zip(&mut lines) {
                let times = self.times(front, shape, rate)?;
                for ((_, share), (_, runs)) in SHARES.iter().zip(&mut line.percentiles) {
                    runs.push(percentile(times.clone(), *share));
                }
            }
        }
        for line in &lines {
            say(&format!("{cell}: {:<6} p99 {} us", line.proxy, spread(&line.percentiles[2].1)));
        }
        Ok(lines)
    }

    /// Response times in microseconds.
    fn times(&self, front: &Front, shape: Shape, rate: f64) -> Outcome<Vec<f64>> {
        let (port, seconds) = (front.ports.of(shape), self.plan.seconds);
        if shape.tls {
            return self.generators.at_rate(Job { port, pid: front.pid, shape, seconds, script: None }, rate);
        }
        let warm_up = Duration::from_millis(500);
        let paced = paced::run(port, shape.body.path(), rate, self.plan.length() + warm_up)?;
        let times = paced.between(warm_up.as_secs_f64(), f64::INFINITY);
        // The open loop costs its core more than wrk, which found the maximum; then the queue only grows.
        if percentile(times.clone(), 0.5) > OVERLOADED_US {
            return Err(Failure::new(format!("the load's core cannot keep {rate:.0} requests a second")));
        }
        Ok(times)
    }
}

fn row(lines: &[Line]) -> BenchRow {
    let p99 = |line: &Line| median(line.percentiles[2].1.clone());
    let figure = format!("p99, {}", lines[0].cell);
    BenchRow::new(figure, "us", p99(&lines[0]), Some((p99(&lines[1]), "nginx")), Target::WithinTimes(1.0))
}

fn table(lines: &[Line]) -> String {
    use std::fmt::Write as _;
    let mut out =
        "\nproxy: response times in microseconds at a fixed rate; median (least to most) of the runs.\n\n"
            .to_owned();
    let cells = lines.iter().map(|line| line.cell.len()).max().unwrap_or(0);
    for line in lines {
        let _ = write!(out, "{:<cells$}  {:<6} {:>6.0}/s", line.cell, line.proxy, line.rate);
        for (name, runs) in &line.percentiles {
            let _ = write!(out, "  {name} {:>20}", spread(runs));
        }
        out.push('\n');
    }
    out
}
