//! Response times while 50,000 decisions arrive at once.

use std::time::{Duration, Instant};

use palisade_e2e::{Failure, Outcome};
use serde_json::json;

use super::front::Ours;
use super::paced::{self, Paced, percentile};
use super::shape::{Body, Http, Shape};
use super::{Bench, DECISIONS, Report, UPDATE, decisions, say};
use crate::lapi::sized;
use crate::report::{BenchRow, Target, median};

const SHAPE: Shape = Shape::new(false, Http::KeepAlive, Body::K1);
/// Updates: added, deleted, added, ...
const UPDATES: usize = 8;
/// From one update to the next.
const APART: Duration = Duration::from_secs(3);
/// What counts as during an update: from the last byte of the LAPI's response.
const DURING: f64 = 1.0;
/// p99 in the second before an update, at most.
const CALM_US: f64 = 100_000.0;

pub(super) fn measure(bench: &Bench<'_>) -> Outcome<Report> {
    let all = decisions::list(sized(DECISIONS) + sized(UPDATE));
    // Spread over the whole list.
    let every = (all.len() / sized(UPDATE)).max(2);
    let at_first: Vec<_> =
        all.iter().enumerate().filter(|(at, _)| at % every != 0).map(|(_, net)| *net).collect();
    let later: Vec<_> = all.iter().step_by(every).copied().collect();
    let ours = bench.fronts.ours("ours", "stream", decisions::as_json(&at_first, 1))?;
    let maximum = bench.cell(SHAPE, &format!("{SHAPE}, the maximum"), &[&ours.front], None);
    let Some(maximum) = maximum[0].figures.middle_per_second() else {
        return Err(Failure::new(format!("no maximum: {:?}", maximum[0].figures.rejected)));
    };
    let changes: String = decisions::as_json(&later, 10_000_000).collect::<Vec<_>>().join(",");
    let (paced, sent) = under_load(&ours, maximum / 2.0, &changes)?;
    let moments: Vec<f64> = sent.iter().map(|at| (*at - paced.begun).as_secs_f64()).collect();
    let p99 = |from: f64| percentile(paced.between(from, from + DURING), 0.99);
    // Where requests queued before an update, it shows nothing.
    let calm = |at: &&f64| p99(**at - DURING - 0.2) < CALM_US;
    let (during, before): (Vec<f64>, Vec<f64>) =
        moments.iter().filter(calm).map(|at| (p99(*at), p99(at - DURING - 0.2))).unzip();
    if before.is_empty() {
        return Err(Failure::new("the load's core cannot keep half of the maximum"));
    }
    say(&format!("p99 in us: during {during:.0?}, before {before:.0?}"));
    let figure = format!(
        "p99 in the second of an update of {} to {} decisions, at 50 % of the maximum",
        later.len(),
        at_first.len()
    );
    let quiet = Some((median(before.clone()), "itself, the second before"));
    let rows = vec![BenchRow::new(figure, "us", median(during.clone()), quiet, Target::WithinTimes(1.05))];
    let figures = json!({ "rate": maximum / 2.0, "during": during, "before": before });
    Ok(Report { rows, table: String::new(), figures })
}

/// Adds and deletes in turn; returns when each response of the LAPI was sent.
fn under_load(ours: &Ours, rate: f64, changes: &str) -> Outcome<(Paced, Vec<Instant>)> {
    let length = APART * (UPDATES as u32 + 1);
    let port = ours.front.ports.of(SHAPE);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| paced::run(port, SHAPE.body.path(), rate, length));
        let begun = Instant::now();
        let mut sent = Vec::new();
        for update in 1..=UPDATES as u32 {
            std::thread::sleep((APART * update).saturating_sub(begun.elapsed()));
            sent.push(if update % 2 == 1 {
                ours.lapi.announce(changes)?
            } else {
                ours.lapi.delete(changes)?
            });
        }
        let paced = load.join().map_err(|_| Failure::new("the generator panicked"))??;
        Ok((paced, sent))
    })
}
