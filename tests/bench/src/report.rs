//! Rows of a comparison: printed as a table and written to `target/bench/<name>.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One measured figure beside its peer's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BenchRow {
    pub(crate) figure: String,
    pub(crate) unit: String,
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    pub(crate) peer_name: String,
    pub(crate) ratio: Option<f64>,
    pub(crate) target: String,
    pub(crate) met: bool,
}

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Ours, in the row's unit, at most this.
    AtMost(f64),
    /// Ours at most this many times the peer's.
    WithinTimes(f64),
    /// The peer's at least this many times ours.
    TimesLess(f64),
    /// Ours at least this many times the peer's.
    TimesMore(f64),
    /// Shown for the record.
    None,
}

impl BenchRow {
    pub(crate) fn new(
        figure: impl Into<String>,
        unit: &'static str,
        ours: f64,
        peer: Option<(f64, &str)>,
        target: Target,
    ) -> Self {
        let ratio = peer.map(|(peer, _)| ours / peer);
        let (text, met) = match (target, ratio) {
            (Target::AtMost(limit), _) => (format!("<= {limit} {unit}"), ours <= limit),
            (Target::WithinTimes(times), ratio) => {
                (format!("<= {times} x peer"), ratio.is_some_and(|ratio| ratio <= times))
            }
            (Target::TimesLess(times), ratio) => {
                (format!("<= 1/{times} of peer"), ratio.is_some_and(|ratio| ratio <= 1.0 / times))
            }
            (Target::TimesMore(times), ratio) => {
                (format!(">= {times} x peer"), ratio.is_some_and(|ratio| ratio >= times))
            }
            (Target::None, _) => ("-".to_owned(), true),
        };
        Self {
            figure: figure.into(),
            unit: unit.to_owned(),
            ours,
            peer: peer.map(|(peer, _)| peer),
            peer_name: peer.map_or("-", |(_, name)| name).to_owned(),
            ratio,
            target: text,
            met,
        }
    }

    /// A figure that cannot be measured on this machine, which is no fault.
    pub(crate) fn skipped(figure: &str, why: &str) -> Self {
        Self { target: "skipped".to_owned(), met: true, ..Self::failed(figure, why) }
    }

    /// A figure that could not be measured, so its target is not met.
    pub(crate) fn failed(figure: &str, why: &str) -> Self {
        Self {
            figure: figure.to_owned(),
            unit: "-".to_owned(),
            ours: 0.0,
            peer: None,
            peer_name: why.to_owned(),
            ratio: None,
            target: "measured".to_owned(),
            met: false,
        }
    }
}

/// Prints the rows and writes them down.
#[expect(clippy::print_stdout, reason = "printing figures is what a benchmark is for")]
pub(crate) fn publish(name: &str, rows: &[BenchRow]) -> std::io::Result<()> {
    let width = rows.iter().map(|row| row.figure.len()).max().unwrap_or(0).max(58);
    println!("\n{name}");
    println!(
        "  {:<width$} {:>12} {:>12} {:<10} {:>8}  {:<16} met   peer",
        "figure", "ours", "peer", "unit", "ratio", "target"
    );
    for row in rows {
        let number = |value: f64| if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        println!(
            "  {:<width$} {:>12} {:>12} {:<10} {:>8}  {:<16} {:<5} {}",
            row.figure,
            number(row.ours),
            row.peer.map_or("-".to_owned(), number),
            row.unit,
            row.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
            row.target,
            if row.met { "yes" } else { "NO" },
            row.peer_name
        );
    }
    save(name, rows)
}

/// Writes figures to `target/bench/<name>.json`.
pub(crate) fn save(name: &str, figures: &(impl Serialize + ?Sized)) -> std::io::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(figures)? + "\n")
}

/// `target/bench` of this workspace.
pub(crate) fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("bench")
}

/// The middle of several runs.
pub(crate) fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}
