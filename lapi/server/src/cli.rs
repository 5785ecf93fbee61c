//! The command line: those flags of the stock daemon that apply to a server without a log processor.

use std::{path::PathBuf, process::ExitCode};

use palisade_daemon::{
    flags::{Flag, Program},
    logs::{AccessLog, LogConfig, LogError, LogLevel, LogTarget, Logs},
};
use palisade_lapi_config::Config;
use tracing::{info, warn};

use crate::adopt::{ADOPT, adopt};

/// The version, as shown by `-version` and metrics.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// The configuration file when `-c` is not given.
pub const DEFAULT_CONFIG: &str = "/etc/crowdsec/config.yaml";

/// The flags and their help texts.
pub const PROGRAM: Program = Program {
    name: "palisade-lapi",
    about: "Takes alerts from CrowdSec log processors, makes decisions, feeds bouncers.",
    flags: &[
        Flag::valued("c", "file", "configuration file (default /etc/crowdsec/config.yaml)"),
        Flag::switch("t", "test the configuration without touching anything, and exit"),
        Flag::valued(
            "user",
            "name",
            "with -t as root: check that this user can use the files; root for no check (default: palisade-lapi, for \
             /etc/crowdsec/config.yaml)",
        ),
        Flag::switch("version", "print the version and exit"),
        Flag::switch("trace", "log everything"),
        Flag::switch("debug", "log at debug level"),
        Flag::switch("info", "log at info level"),
        Flag::switch("warning", "log warnings and errors"),
        Flag::switch("error", "log errors"),
        Flag::switch("no-cs", "accepted: there is no log processor in here"),
        Flag::switch("no-capi", "accepted: the central service is not used"),
    ],
    commands: &[ADOPT],
};

/// What the command line asks for; the result of [`start_up`].
#[derive(Debug)]
pub enum Startup {
    /// Exit with this code.
    Done(ExitCode),
    /// `-t`: validate the configuration and the files it names.
    Test {
        /// The validated configuration.
        config: Box<Config>,
        /// `-user`: the user whose access to the files is checked.
        user: Option<String>,
        /// The log that was set up.
        logs: Logs,
    },
    /// Run the server.
    Daemon {
        /// The validated configuration.
        config: Box<Config>,
        /// The level given on the command line; it takes precedence over the file's.
        level: Option<LogLevel>,
        /// The log that was set up.
        logs: Logs,
    },
}

/// Parses the command line and loads the configuration; touches nothing outside the configuration files and the log.
pub fn start_up<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Startup {
    let logs = match Logs::start() {
        Ok(logs) => logs,
        Err(error) => {
            print_error(&error.to_string());
            return Startup::Done(ExitCode::FAILURE);
        }
    };
    let typed = match PROGRAM.parse(args) {
        Ok(typed) => typed,
        Err(error) => {
            print_error(error.text().trim_end());
            return Startup::Done(ExitCode::from(error.exit_code()));
        }
    };
    if typed.switch("version") {
        print(&format!("version: {VERSION}\nPlatform: linux\nDatabases: sqlite, postgresql\n"));
        return Startup::Done(ExitCode::SUCCESS);
    }
    if typed.command() == Some(ADOPT.name) {
        return match adopt(&typed) {
            Ok(()) => Startup::Done(ExitCode::SUCCESS),
            Err(error) => failed(&logs, &format!("{error:#}")),
        };
    }
    let level = [
        ("trace", LogLevel::Trace),
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warning", LogLevel::Warn),
        ("error", LogLevel::Error),
    ]
    .into_iter()
    .find_map(|(flag, level)| typed.switch(flag).then_some(level));
    let path = PathBuf::from(typed.value("c").filter(|path| !path.is_empty()).unwrap_or(DEFAULT_CONFIG));
    let mut config = match Config::load(&path) {
        Ok(config) => config,
        Err(error) => return failed(&logs, &error.to_string()),
    };
    if let Some(level) = level {
        config.set_log_level(level);
    }
    if typed.switch("t") {
        // The log file is not opened either.
        let user = typed.value("user").map(str::to_owned);
        return Startup::Test { config: Box::new(config), user, logs };
    }
    if let Err(error) = configure_logs(&logs, &config.logs) {
        return failed(&logs, &error.to_string());
    }
    log_loaded(&config);
    Startup::Daemon { config: Box::new(config), level, logs }
}

/// Sets up the log; where its file cannot be opened, on standard error.
///
/// CrowdSec's own configuration names `/var/log`, where the user of the packaged unit cannot write. Serving matters more
/// than the place of the log, and the service manager keeps standard error.
///
/// # Errors
///
/// Standard error cannot be used either.
pub fn configure_logs(logs: &Logs, config: &LogConfig) -> Result<(), LogError> {
    let Err(error) = logs.configure(config) else { return Ok(()) };
    logs.configure(&on_standard_error(config))?;
    warn!(error = &error as &dyn std::error::Error, "logging to standard error instead of a file");
    Ok(())
}

/// As [`configure_logs`], of the access log.
///
/// # Errors
///
/// Standard error cannot be used either.
pub fn configure_access_log(access: &AccessLog, config: &LogConfig) -> Result<(), LogError> {
    let Err(error) = access.configure(config) else { return Ok(()) };
    access.configure(&on_standard_error(config))?;
    warn!(error = &error as &dyn std::error::Error, "logging requests to standard error instead of a file");
    Ok(())
}

fn on_standard_error(config: &LogConfig) -> LogConfig {
    LogConfig { target: LogTarget::Stderr, ..config.clone() }
}

/// Logs which files were loaded, and their warnings.
pub fn log_loaded(config: &Config) {
    if let Some(local) = &config.local {
        info!(
            "Loading yaml file: '{}' with additional values from '{}'",
            config.path.display(),
            local.display()
        );
    }
    for warning in &config.warnings {
        warn!("{warning}");
    }
}

fn failed(logs: &Logs, text: &str) -> Startup {
    logs.fatal(text);
    Startup::Done(ExitCode::FAILURE)
}

#[expect(clippy::print_stderr, reason = "before there is a log, or for a person at a terminal")]
fn print_error(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(text: &str) {
    print!("{text}");
}
