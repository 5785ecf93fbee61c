//! The `palisade-lapi` daemon.

use std::process::ExitCode;

use palisade_daemon::runtime;
use palisade_lapi::{
    cli::{Startup, start_up},
    serve::{check, serve},
};
use tracing::info;

fn main() -> ExitCode {
    match start_up(std::env::args().skip(1)) {
        Startup::Done(code) => code,
        Startup::Test(config, logs) => {
            let code = match check(&config) {
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
