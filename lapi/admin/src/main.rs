//! `palisade`: the admin CLI of the LAPI, with the names, flags and outputs of CrowdSec's `cscli`. Invoked as `cscli`
//! (a link), it uses that name in its output.
//!
//! ```text
//!   bouncers, machines, allowlists (changes), alerts flush ──► database ◄── the running LAPI follows
//!   decisions, alerts, allowlists (reading), lapi ──► HTTP as a machine ──► any LAPI, also from elsewhere
//!   metrics ──► metrics page and database         profiles, pki, config, completion, version ──► files only
//! ```

mod advice;
mod client_log;
mod command_line;
mod commands;
mod failure;
mod missing_database;
mod output;
mod prompt;
mod secrets;
mod session;
mod table;
mod yaml;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use palisade_go_compat::go_errors;

use crate::advice::{Mistake, advice, for_dashes};
use crate::command_line::CommandLine;
use crate::failure::{Failure, Form};
use crate::output::{note, print};
use crate::session::Globals;

/// Manage the Local API (LAPI): machines, bouncers, decisions, alerts, allowlists
#[derive(Debug, Parser)]
#[command(args_override_self = true, disable_help_subcommand = true)]
struct Cli {
    /// Display version
    #[arg(long)]
    version: bool,
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Option<commands::Command>,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let called = words.next().unwrap_or_default();
    let program = match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("cscli") => "cscli",
        _ => "palisade",
    };
    let words: Vec<String> = words.collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(&format!("Error: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(program, &words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            note(&format!("Error: {}", go_errors(&text)));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command line.
///
/// # Errors
///
/// The text to print.
async fn run(program: &'static str, words: &[String]) -> Result<(), String> {
    let commands = CommandLine::new(Cli::command().name(program));
    // Before clap: what follows is an unfinished line, which need not parse.
    if let Some(at) = words.iter().position(|word| word == "__complete") {
        let (flags, line) = (&words[..at], &words[at + 1..]);
        return commands::complete(flags, &commands, line).await.map_err(|failure| failure.to_string());
    }
    let (selected, parsed) = commands.parse::<Cli>(words);
    let run = match parsed {
        Ok(None) => Ok(()),
        Ok(Some(Cli { version: true, command: None, .. })) => print(&commands::version()),
        Ok(Some(Cli { command: None, .. })) => selected.print_help(),
        Ok(Some(Cli { globals, command: Some(command), .. })) => command.run(&globals, &commands).await,
        Err(failure) => Err(failure),
    };
    run.or_else(|failure| {
        let path = selected.path.join(" ");
        if program == "cscli" {
            if matches!(
                failure,
                Failure::Usage(_) | Failure::Advised { form: Form::Usage | Form::Unknown, .. }
            ) {
                selected.print_help().map_err(|failure| failure.to_string())?;
            }
            return Err(match failure {
                Failure::Bare(text) | Failure::Advised { text, form: Form::Unknown, .. } => text,
                other => format!("{path}: {other}"),
            });
        }
        Err(match failure {
            Failure::Bare(text) => text,
            Failure::Command(text) => format!("{path}: {text}"),
            // One line with what to type, and not the whole help.
            Failure::Usage(text) => {
                format!("{path}: {text}; {}", advice(&selected, words, &Mistake::Flags))
            }
            Failure::Advised { text, advice, form: Form::Unknown } => format!("{text}; {advice}"),
            Failure::Advised { text, advice, .. } => {
                let advice = for_dashes(&selected, words).unwrap_or(advice);
                format!("{path}: {text}; {advice}")
            }
        })
    })
}
