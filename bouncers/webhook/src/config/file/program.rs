//! The keys of an endpoint that is a program.

use std::path::PathBuf;

use palisade_go_compat::GoDuration;
use serde::Deserialize;

/// How events are passed to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramModeFile {
    /// A process for each event.
    Arguments,
    /// One process that reads lines.
    Stdin,
}

/// The `program` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProgramFile {
    /// The program, by its absolute path. Required.
    ///
    /// - example: `/usr/local/bin/ban`
    pub path: Option<PathBuf>,
    /// Arguments of the program.
    ///
    /// - default: `[]`
    /// - with: `mode: stdin`
    /// - example: `[--fast]`
    pub arguments: Option<Vec<String>>,
    /// How events are passed to it.
    ///
    /// - default: `stdin`
    /// - example: `arguments`
    pub mode: Option<ProgramModeFile>,
    /// How long a process may run.
    ///
    /// - default: `60s`
    /// - at least: `10ms`
    /// - with: `mode: arguments`
    /// - example: `30s`
    pub timeout: Option<GoDuration>,
    /// How often it is started in all.
    ///
    /// - default: any number
    /// - at least: `1`
    /// - with: `mode: stdin`
    /// - example: `3`
    pub max_starts: Option<u32>,
    /// The wait before it is started again.
    ///
    /// - default: `2s`
    /// - at least: `10ms`
    /// - with: `mode: stdin`
    /// - example: `10s`
    pub restart_wait: Option<GoDuration>,
    /// How long it may take to end after its input was closed.
    ///
    /// - default: `5s`
    /// - at least: `10ms`
    /// - at most: `15s`
    /// - with: `mode: stdin`
    /// - example: `10s`
    pub stop_timeout: Option<GoDuration>,
    /// Pass on the whole environment; otherwise only `PATH`, `HOME` and `LANG`.
    ///
    /// - default: `true`
    /// - example: `false`
    pub inherit_environment: Option<bool>,
}
