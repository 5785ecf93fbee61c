//! `palisade`: the admin CLI of the LAPI, with the names, flags and outputs of CrowdSec's `cscli`. Invoked as `cscli`
//! (a link), it uses that name in its output.
//!
//! ```text
//!   bouncers, machines, allowlists (changes), alerts flush ──► database ◄── the running LAPI follows
//!   decisions, alerts, allowlists (reading), lapi ──► HTTP as a machine ──► any LAPI, also from elsewhere
//!   metrics ──► metrics page and database         profiles, config, completion, version ──► files only
//! ```

mod alert_details;
mod alerts;
mod allowlists;
mod bouncer_metrics;
mod bouncers;
mod cli;
mod completion;
mod config;
mod decisions;
mod failure;
mod import;
mod instances;
mod lapi;
mod machine_details;
mod machines;
mod metrics;
mod output;
mod profiles;
mod scrape;
mod secrets;
mod session;

use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::cli::{Args, group};
use crate::failure::Failure;
use crate::output::{Level, note, print};
use crate::session::{Globals, Session};

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
    runtime.block_on(start(program, words))
}

/// The whole command line.
fn root(program: &'static str) -> Command {
    group(program, "Manage the Local API (LAPI): machines, bouncers, decisions, alerts, allowlists")
        .args(cli::global_flags())
        .arg(cli::switch("version", '\0', "Display version"))
        .subcommand(alerts::command())
        .subcommand(allowlists::command())
        .subcommand(bouncers::command())
        .subcommand(completion::command())
        .subcommand(config::command())
        .subcommand(decisions::command())
        .subcommand(lapi::command())
        .subcommand(machines::command())
        .subcommand(metrics::command())
        .subcommand(profiles::command())
        .subcommand(config::version_command())
}

/// Runs a command line and prints errors.
async fn start(program: &'static str, words: Vec<String>) -> ExitCode {
    // clap completes its command tree only when it is built.
    let mut root = root(program);
    root.build();
    if let Some(at) = words.iter().position(|word| word == "__complete") {
        let answered = completion::complete(&words[..at], &root, &words[at + 1..]).await;
        return if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (path, _) = cli::path_of(&root, &words);
    let line = std::iter::once(program.to_owned()).chain(words.iter().cloned());
    let matches = match root.clone().try_get_matches_from(line) {
        Ok(matches) => matches,
        Err(error) => {
            return match cli::complaint(&error, &words) {
                Ok(text) => {
                    note(&format!("Error: {}: {text}", path.join(" ")));
                    ExitCode::FAILURE
                }
                Err(code) => code,
            };
        }
    };
    let mut path = vec![program.to_owned()];
    match dispatch(&root, &matches, &mut path).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = match &failure {
                Failure::Bare(text) => text.clone(),
                Failure::Command(text) | Failure::Usage(text) => format!("{}: {text}", path.join(" ")),
            };
            note(&format!("Error: {text}"));
            ExitCode::FAILURE
        }
    }
}

/// Descends to the selected command and runs it.
async fn dispatch(root: &Command, matches: &ArgMatches, path: &mut Vec<String>) -> Result<(), Failure> {
    let (mut command, mut at) = (root, matches);
    while let Some((name, inner)) = at.subcommand() {
        match command.find_subcommand(name) {
            Some(next) => {
                path.push(name.to_owned());
                (command, at) = (next, inner);
            }
            None => {
                help(command)?;
                let whole = path.join(" ");
                return Err(Failure::Bare(format!("unknown command \"{name}\" for \"{whole}\"")));
            }
        }
    }
    let args = Args::new(at, command);
    let names: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
    let run = execute(root, command, &args, &names).await;
    if matches!(run, Err(Failure::Usage(_))) {
        help(command)?;
    }
    run
}

fn help(command: &Command) -> Result<(), Failure> {
    print(&command.clone().render_help().to_string())
}

async fn execute(root: &Command, command: &Command, args: &Args<'_>, names: &[&str]) -> Result<(), Failure> {
    match names {
        [] if args.is_set("version")? => return print(&config::version()),
        ["version"] => return print(&config::version()),
        ["completion"] => return completion::run(root, args),
        // A group without a command shows its help; `metrics` alone is also a command.
        [] | [_] if *names != ["metrics"] => return help(command),
        _ => {}
    }
    let globals = Globals {
        config: args.text("config").map(str::to_owned),
        output: args.text("output").map(str::to_owned),
        color: args.text("color").map(str::to_owned),
        level: level(args)?,
        as_cscli: root.get_name() == "cscli",
    };
    let session = Session::open(&globals)?;
    let name = names.get(1).copied().unwrap_or_default();
    match names[0] {
        "alerts" => alerts::run(&session, name, args).await,
        "allowlists" => allowlists::run(&session, name, args).await,
        "bouncers" => bouncers::run(&session, name, args).await,
        "config" => config::run(&session, name, args),
        "decisions" => decisions::run(&session, name, args).await,
        "lapi" => lapi::run(&session, name, args).await,
        "machines" => machines::run(&session, name, args).await,
        "metrics" => metrics::run(&session, name, args).await,
        _ => profiles::run(&session, args),
    }
}

/// The log level from the flags; the most verbose wins.
fn level(args: &Args<'_>) -> Result<Option<Level>, Failure> {
    for (flag, level) in [
        ("trace", Level::Debug),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warning", Level::Warning),
        ("error", Level::Error),
    ] {
        if args.is_set(flag)? {
            return Ok(Some(level));
        }
    }
    Ok(None)
}
