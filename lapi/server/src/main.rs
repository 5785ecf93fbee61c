//! The `palisade-lapi` daemon.

use std::process::ExitCode;

use palisade_daemon::runtime;
use palisade_lapi::{
    cli::{Startup, log_loaded, start_up},
    serve::{check, check_access, serve},
};
use palisade_lapi_config::Config;
use tracing::info;

fn main() -> ExitCode {
    match start_up(std::env::args().skip(1)) {
        Startup::Done(code) => code,
        Startup::Test { config, user, logs } => {
            log_loaded(&config);
            let code = match test(&config, user.as_deref()) {
                Ok(()) => {
                    info!("config is valid");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    logs.fatal(&format!("{error:#}"));
                    ExitCode::FAILURE
                }
            };
            logs.flush();
            code
        }
        Startup::Daemon { config, level, logs } => {
            runtime::run(logs, async move |daemon| serve(*config, level, daemon).await)
        }
    }
}

/// `-t`; the runtime resolves names and reads a database.
fn test(config: &Config, user: Option<&str>) -> anyhow::Result<()> {
    check_access(config, user)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(check(config))
}
