//! Resident memory after many requests.

use palisade_e2e::Outcome;
use serde_json::json;

use super::cores::resident_mb;
use super::front::Front;
use super::load::Job;
use super::shape::{Body, Http, Shape};
use super::{Bench, Report, decision_list, decisions, say};
use crate::cache;
use crate::report::{BenchRow, Target};

/// Every way to use connections has its part.
const MIX: [Shape; 4] = [
    Shape::new(false, Http::KeepAlive, Body::K1),
    Shape::new(false, Http::Two, Body::K1),
    Shape::new(true, Http::KeepAlive, Body::K64),
    Shape::new(true, Http::Two, Body::K1),
];
/// Growth that counts as none: pages that an allocator takes for other reasons.
const FLAT_MB: f64 = 2.0;

pub(super) fn measure(bench: &Bench<'_>) -> Outcome<Report> {
    let nets = decision_list();
    let empty = bench.fronts.ours("ours", "stream", std::iter::empty())?;
    let full = bench.fronts.ours("ours, full", "stream", decisions::as_json(&nets, 1))?;
    let haproxy = bench.fronts.haproxy()?;
    let nginx = bench.fronts.nginx()?;
    let mut figures = Vec::new();
    for front in [&empty.front, &full.front, &haproxy, &nginx] {
        figures.push(bench.grow(front)?);
    }
    let [(_, ours), (early, full), (_, haproxy), _] = figures[..] else { unreachable!("four were measured") };
    let cache = cache::child_memory(cache::PROXY) * nets.len() as f64 / 1_048_576.0;
    let count = format!("{:.1} million", bench.plan.requests / 1e6);
    let rows = vec![
        BenchRow::new(
            format!("resident after {count} requests, no decisions"),
            "MB",
            ours,
            Some((haproxy, "HAProxy")),
            Target::WithinTimes(1.0),
        ),
        BenchRow::new(
            format!("resident after {count} requests, {} decisions", nets.len()),
            "MB",
            full,
            Some((haproxy + cache, "HAProxy and the cache")),
            Target::WithinTimes(1.0),
        ),
        BenchRow::new(
            format!("growth from a tenth of {count} requests to all"),
            "MB",
            full - early,
            None,
            Target::AtMost(FLAT_MB),
        ),
    ];
    let figures = json!({ "ours": figures[0], "full": figures[1], "haproxy": figures[2], "nginx": figures[3], "cache": cache });
    Ok(Report { rows, table: String::new(), figures })
}

impl Bench<'_> {
    /// Resident megabytes after a tenth of the requests, and after all.
    fn grow(&self, front: &Front) -> Outcome<(f64, f64)> {
        let (mut done, mut early) = (0.0, None);
        let start = resident_mb(front.pid)?;
        for shape in MIX.iter().cycle() {
            let job =
                Job { port: front.ports.of(*shape), pid: front.pid, shape: *shape, seconds: 2, script: None };
            done += self.generators.run(job)?.requests;
            let now = resident_mb(front.pid)?;
            // Not before every shape had its turn.
            if early.is_none() && done >= self.plan.requests / 10.0 && *shape == MIX[MIX.len() - 1] {
                early = Some(now);
            }
            if let Some(early) = early.filter(|_| done >= self.plan.requests) {
                say(&format!(
                    "{:<12} {start:.1} MB at first, {early:.1} MB early, {now:.1} MB after {done:.0} requests",
                    front.name
                ));
                return Ok((early, now));
            }
        }
        unreachable!("a cycle has no end")
    }
}
