//! Reads an unchanged `crowdsec-custom-bouncer.yaml`.
//!
//! Its keys of the LAPI, of logs and of metrics have the names that they have here. The others become an endpoint whose
//! receiver is the program ([`check`]). Pure, except that [`check`] looks whether the program exists.

use std::io;
use std::path::PathBuf;

use palisade_bouncer::run::{Checked, Note};
use palisade_daemon::{Document, Problems};
use palisade_go_compat::GoDuration;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::file::{EndpointFile, ProgramFile, ProgramModeFile};
use super::{Config, ConfigFile, Files, read_text};

/// The name of the stock program, also to a LAPI.
pub const STOCK_CUSTOM: &str = "crowdsec-custom-bouncer";

/// The keys of the stock file, for [`Document::unknown_keys`].
pub const STOCK_CUSTOM_KEYS: &[&str] = &[
    "bin_path",
    "bin_args",
    "feed_via_stdin",
    "total_retries",
    "cache_retention_duration",
    "include_scenarios_containing",
    "exclude_scenarios_containing",
    "only_include_decisions_from",
    "piddir",
    "daemonize",
];

/// Keys that only the stock file has.
const MARKS: &[&str] =
    &["bin_path", "bin_args", "feed_via_stdin", "total_retries", "cache_retention_duration"];

/// The endpoint's name.
const ENDPOINT: &str = "custom";
/// The stock program's limit of a log file, in megabytes.
const LOG_MAX_SIZE: &str = "40";
const DEFAULT_CACHE_RETENTION: GoDuration = GoDuration::from_nanos(10_000_000_000);
/// How long a process for one decision may run. The stock program has no limit, so this one is far beyond any use.
const CALL_TIMEOUT: GoDuration = GoDuration::from_nanos(600_000_000_000);
/// The wait before a program that ended is started again.
const RESTART_WAIT: GoDuration = GoDuration::from_nanos(2_000_000_000);

/// Whether a document is the stock program's file.
pub fn is_stock_custom(document: &Document) -> bool {
    MARKS.iter().any(|key| document.has(key))
}

/// Gives keys the defaults that they have in the stock program.
pub fn translate(document: Document) -> Document {
    document.with_default("log_max_size", LOG_MAX_SIZE)
}

/// The keys as written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomFile {
    bin_path: Option<PathBuf>,
    bin_args: Option<Vec<String>>,
    feed_via_stdin: Option<bool>,
    total_retries: Option<i64>,
    cache_retention_duration: Option<GoDuration>,
    include_scenarios_containing: Option<Vec<String>>,
    exclude_scenarios_containing: Option<Vec<String>>,
    only_include_decisions_from: Option<Vec<String>>,
    piddir: Option<IgnoredAny>,
    daemonize: Option<bool>,
    // Of palisade-webhook.yaml.
    endpoints: Option<IgnoredAny>,
    mirror: Option<IgnoredAny>,
}

/// Checks the stock file, after [`translate`]. `None` when problems were added.
pub fn check(document: &Document, problems: &mut Problems) -> Option<Checked<Config>> {
    let file: CustomFile = document.parse_into(problems)?;
    let mut wrong = Problems::new();
    let mut notes = Vec::new();
    for (key, is_given) in [("endpoints", file.endpoints.is_some()), ("mirror", file.mirror.is_some())] {
        if is_given {
            wrong.add(
                key,
                "it has no effect beside `bin_path`; make the program an entry of `endpoints`, with its path as \
                 `program.path`",
            );
        }
    }
    ignored(&file, &mut notes);
    let path = program(file.bin_path, &mut wrong);
    let max_starts = max_starts(file.total_retries.unwrap_or(0), &mut wrong);
    let hold = hold_repeats(file.cache_retention_duration, &mut wrong, &mut notes);
    let is_fed = file.feed_via_stdin.unwrap_or(false);
    let program = ProgramFile {
        path,
        arguments: file.bin_args.filter(|_| is_fed),
        mode: Some(if is_fed { ProgramModeFile::Stdin } else { ProgramModeFile::Arguments }),
        timeout: Some(CALL_TIMEOUT),
        max_starts,
        restart_wait: Some(RESTART_WAIT),
        ..ProgramFile::default()
    };
    let checked = wrong.or(()).and_then(|()| config(program, hold));
    match checked {
        Ok(config) => Some(Checked { config, notes }),
        Err(wrong) => {
            problems.extend(wrong);
            None
        }
    }
}

/// The program as the one endpoint of a file of this program, which has the other defaults.
fn config(program: ProgramFile, hold_repeats: GoDuration) -> Result<Config, Problems> {
    let endpoint = EndpointFile {
        name: Some(ENDPOINT.to_owned()),
        program: Some(program),
        hold_repeats: Some(hold_repeats),
        ..EndpointFile::default()
    };
    let file = ConfigFile {
        present_as: Some(STOCK_CUSTOM.to_owned()),
        endpoints: Some(vec![endpoint]),
        ..ConfigFile::default()
    };
    file.check(Files { secret: &|_| Err("unexpected secret".to_owned()), text: &read_text })
}

fn program(given: Option<PathBuf>, wrong: &mut Problems) -> Option<PathBuf> {
    let Some(path) = given.filter(|path| !path.as_os_str().is_empty()) else {
        wrong.add("bin_path", "bin_path is not set");
        return None;
    };
    if path.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        wrong.add("bin_path", format!("binary '{}' doesn't exist", path.display()));
    }
    // The program whose existence was checked is the one that is started, whatever the search path has.
    Some(std::path::absolute(&path).unwrap_or(path))
}

/// Starts in all, of the key that counts them under a misleading name.
fn max_starts(total_retries: i64, wrong: &mut Problems) -> Option<u32> {
    match total_retries {
        -1 => None,
        0 => Some(1),
        more => {
            let starts = u32::try_from(more).ok();
            if starts.is_none() {
                wrong.add(
                    "total_retries",
                    "it must be the number of times that the program is started in all, or -1 for any number",
                );
            }
            starts
        }
    }
}

fn hold_repeats(given: Option<GoDuration>, wrong: &mut Problems, notes: &mut Vec<Note>) -> GoDuration {
    match given {
        Some(given) if given.nanos() < 0 => {
            wrong.add("cache_retention_duration", "it must not be negative");
            given
        }
        Some(given) if given.nanos() > 0 => given,
        _ => {
            notes.push(Note::info("cache_retention_duration defaults to 10 seconds"));
            DEFAULT_CACHE_RETENTION
        }
    }
}

/// Notes keys that have no effect.
fn ignored(file: &CustomFile, notes: &mut Vec<Note>) {
    for (key, values, other) in [
        ("include_scenarios_containing", &file.include_scenarios_containing, "scenarios_containing"),
        ("exclude_scenarios_containing", &file.exclude_scenarios_containing, "scenarios_not_containing"),
        ("only_include_decisions_from", &file.only_include_decisions_from, "origins"),
    ] {
        // Obeying it now would stop calls that the operator of an unchanged file is used to.
        if values.as_ref().is_some_and(|values| !values.is_empty()) {
            notes.push(Note::warn(format!("{key} has no effect, as in {STOCK_CUSTOM}; use {other}")));
        }
    }
    let is_fed = file.feed_via_stdin.unwrap_or(false);
    if !is_fed && file.bin_args.as_ref().is_some_and(|arguments| !arguments.is_empty()) {
        notes
            .push(Note::warn(format!("bin_args has no effect without feed_via_stdin, as in {STOCK_CUSTOM}")));
    }
    if file.piddir.is_some() {
        notes.push(Note::debug("piddir is deprecated and ignored"));
    }
    match file.daemonize {
        Some(true) => notes.push(Note::debug("daemonize is deprecated and ignored")),
        Some(false) => {
            notes.push(Note::debug("daemonize: false is deprecated, it is treated as always true"))
        }
        None => {}
    }
}

#[cfg(test)]
mod tests;
