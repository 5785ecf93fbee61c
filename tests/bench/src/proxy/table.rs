//! All figures in lines for people.

use std::fmt::Write as _;

use super::Plan;
use super::throughput::{Figures, Line};
use crate::report::median;

/// Requests of every proxy in every cell.
pub(super) fn throughput(lines: &[Line], decisions: usize, plan: Plan) -> String {
    let mut out = format!(
        "\nproxy: requests for each second of the proxy's processor time, and requests a second; median (least to most) \
         of {} runs of {} s.\n\"ours, full\" has {decisions} decisions. load: share of its core that generator and \
         origin used.\n\n",
        plan.rounds, plan.seconds
    );
    let cells = lines.iter().map(|line| line.cell.len()).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "{:<cells$}  {:<12} {:>24} {:>24} {:>6}",
        "cell", "proxy", "per processor second", "per second", "load"
    );
    for line in lines {
        let figures = &line.figures;
        let _ = writeln!(
            out,
            "{:<cells$}  {:<12} {:>24} {:>24} {:>6}  {}",
            line.cell,
            line.proxy,
            spread(&figures.per_processor_second),
            spread(&figures.per_second),
            busy(figures),
            figures.rejected.first().map_or("", String::as_str)
        );
    }
    out
}

/// The middle, and the extremes.
pub(super) fn spread(runs: &[f64]) -> String {
    if runs.is_empty() {
        return "-".to_owned();
    }
    let least = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = runs.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ({least:.0} to {most:.0})", median(runs.to_vec()))
}

fn busy(figures: &Figures) -> String {
    if figures.load_busy.is_empty() {
        return "-".to_owned();
    }
    format!("{:.0} %", median(figures.load_busy.clone()) * 100.0)
}
