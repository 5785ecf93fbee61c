//! Runs a bouncer program: everything of a bouncer except its remediation.
//!
//! [`run`] parses the command line, loads the configuration, answers `-version`, `-t`, `-T`, `check`, `lookup` and `status`, or
//! runs the daemon: instance lock, subscription, readiness, watchdog, reload, control socket, metrics, usage metrics and
//! an orderly end. What a program does with the decisions is its implementation of [`Bouncer`].
//!
//! ```text
//!  cli.rs ──► load.rs ──► daemon.rs ──┬─► Subscription ──CacheHandle──► enforcement (Bouncer::start)
//!    │                                ├─► Bouncer::reload, Bouncer::tick
//!    └──────► commands                └─► control socket, /metrics, usage metrics ◄── Bouncer::status, ::effect, ::act, ::meter
//! ```

mod bouncer;
mod check;
mod cli;
mod config;
mod connect;
mod daemon;
mod load;
mod needed_files;

use std::io;
use std::process::ExitCode;

use palisade_daemon::file_access::{check_as_unit, exposed_secret};
use palisade_daemon::flags::Typed;
use palisade_daemon::logs::Logs;
use palisade_daemon::runtime;
use tracing::{info, warn};

pub use self::bouncer::{
    Bouncer, CommandContext, Enforcement, EnforcementStatus, FirstDecisions, InForce, ProgramInfo, Start,
};
pub use self::cli::{CHECK, DEBUG_FLAG, LOOKUP, PROGRAM_FLAGS, STATUS, TRACE_FLAG};
pub use self::config::{Checked, Loaded, Note, NoteLevel, Overrides};
pub use self::load::check;

use self::cli::Invocation;
use self::connect::connect;
use self::needed_files::needed_files;

#[cfg(test)]
mod tests;

/// Runs the program `B` with the arguments after its name, and returns its exit code.
pub fn run<B: Bouncer>(args: impl IntoIterator<Item = String>) -> ExitCode {
    // First, so that every later error is logged in the stock format.
    let logs = match Logs::start() {
        Ok(logs) => logs,
        Err(error) => {
            cli::print_error(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let invocation = match Invocation::from_args::<B>(args) {
        Ok(invocation) => invocation,
        Err(cli::CliError::Flags(error)) => {
            // Usage goes to standard error as plain text, with exit code 2, as in the stock programs.
            cli::print_error(error.text().trim_end());
            return ExitCode::from(error.exit_code());
        }
        Err(error) => return finish(&logs, Err(error.into())),
    };
    match invocation {
        Invocation::Version => {
            cli::print(&cli::version_text(B::INFO.version));
            ExitCode::SUCCESS
        }
        Invocation::PrintConfig { config } => finish(&logs, cli::print_config::<B>(&config)),
        Invocation::Test { config, overrides, user } => {
            let loaded = load::start::<B>(&config, overrides, &logs, load::Messages::Stderr);
            finish(&logs, loaded.and_then(|loaded| test::<B>(&loaded, user.as_deref())))
        }
        Invocation::Command { config, overrides, typed } => {
            if let Some(done) = B::command_without_config(&typed) {
                return finish(&logs, done);
            }
            let loaded = load::start::<B>(&config, overrides, &logs, load::Messages::ErrorsOnly);
            match loaded.and_then(|loaded| command::<B>(&loaded, &typed)) {
                // What failed has been printed.
                Ok(false) => {
                    logs.flush();
                    ExitCode::FAILURE
                }
                done => finish(&logs, done.map(|_| ())),
            }
        }
        Invocation::Daemon { config, overrides } => {
            match load::start::<B>(&config, overrides, &logs, load::Messages::AsConfigured) {
                Ok(loaded) => runtime::run(logs, async move |context| {
                    daemon::serve::<B>(loaded, overrides, context).await
                }),
                Err(error) => finish(&logs, Err(error)),
            }
        }
    }
}

/// `-t`: everything that can be checked without changing anything.
fn test<B: Bouncer>(loaded: &Loaded<B::Config>, user: Option<&str>) -> anyhow::Result<()> {
    for path in loaded.document.secret_files() {
        if let Some(warning) = exposed_secret(&path) {
            warn!("{warning}");
        }
    }
    let (settings, _) = connect::<B>(loaded)?;
    check_as_unit(&B::INFO.unit, loaded.document.path(), user, &needed_files(loaded, &settings))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(B::check(&loaded.config))?;
    info!("config is valid");
    Ok(())
}

/// Returns whether what was checked is as it should be.
fn command<B: Bouncer>(loaded: &Loaded<B::Config>, typed: &Typed) -> anyhow::Result<bool> {
    let (settings, lapis) = connect::<B>(loaded)?;
    let context = CommandContext::<B> { loaded, settings: &settings, lapis: &lapis, typed };
    let argument = || typed.words().first().map(String::as_str).unwrap_or_default();
    match typed.command() {
        // `check ADDRESS` is the word of other bouncers for it.
        Some("check") if !argument().is_empty() => context.query().lookup(argument(), &mut io::stdout())?,
        Some("lookup") => context.query().lookup(argument(), &mut io::stdout())?,
        Some("status") => return Ok(context.query().status(&mut io::stdout())?),
        Some("check") => return check_lapis(&context),
        // The flag parser has refused every command that the program does not declare.
        _ => B::command(&context)?,
    }
    Ok(true)
}

/// Checks each LAPI as the command `check` does, and prints the steps; returns whether all went well.
///
/// # Errors
/// When the steps cannot be printed.
pub fn check_lapis<B: Bouncer>(context: &CommandContext<'_, B>) -> anyhow::Result<bool> {
    let config = context.loaded.document.path().display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check::check(&config, context.settings, context.lapis, context.json()))
}

fn finish(logs: &Logs, result: anyhow::Result<()>) -> ExitCode {
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logs.fatal(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    logs.flush();
    code
}
