//! What the check of decisions adds to a request.

use palisade_e2e::Outcome;
use serde_json::json;

use super::front::Front;
use super::load::{Job, Run};
use super::shape::{Body, Http, Shape};
use super::{Bench, Report, decision_list, decisions, say};
use crate::report::{BenchRow, Target, median};

const SHAPE: Shape = Shape::new(false, Http::KeepAlive, Body::K1);
/// Pairs of runs in each round of the plan: the difference is small, and so must be its noise.
const PAIRS: usize = 5;

pub(super) fn measure(bench: &Bench<'_>) -> Outcome<Report> {
    let nets = decision_list();
    let script = decisions::wrk_script(bench.fronts.world, &decisions::clean(&nets))?;
    let on = bench.fronts.ours("on", "stream", decisions::as_json(&nets, 1))?;
    let off = bench.fronts.ours("off", "off", std::iter::empty())?;
    let run = |front: &Front| -> Outcome<Run> {
        let job = Job {
            port: front.ports.of(SHAPE),
            pid: front.pid,
            shape: SHAPE,
            seconds: 1,
            script: Some(&script),
        };
        bench.generators.run(job)
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..bench.plan.rounds * PAIRS {
        // Each is the first of a pair as often as the second.
        if pair % 2 == 0 {
            with.push(run(&on.front)?);
            without.push(run(&off.front)?);
        } else {
            without.push(run(&off.front)?);
            with.push(run(&on.front)?);
        }
    }
    let added: Vec<f64> =
        with.iter().zip(&without).map(|(on, off)| on.microseconds() - off.microseconds()).collect();
    let off_us = median(without.iter().map(Run::microseconds).collect());
    let on_us = median(with.iter().map(Run::microseconds).collect());
    say(&format!("processor time of a request: {on_us:.2} us with the check, {off_us:.2} us without"));
    let middle = median(added.clone());
    let what = format!("processor time that the check among {} decisions adds to a request", nets.len());
    let rows = vec![
        BenchRow::new(what.clone(), "us", middle, None, Target::AtMost(1.0)),
        BenchRow::new(
            format!("{what}, of its {off_us:.1} us"),
            "%",
            100.0 * middle / off_us,
            None,
            Target::AtMost(1.0),
        ),
    ];
    let figures = json!({ "on": on_us, "off": off_us, "added": added });
    Ok(Report { rows, table: String::new(), figures })
}
