//! `palisade-lapi`: flags in, Local API out.

use std::process::ExitCode;

use palisade_daemon::runtime;
use palisade_lapi::{
    cli::{Begun, begin},
    serve::{check, serve},
};
use tracing::info;

fn main() -> ExitCode {
    match begin(std::env::args().skip(1)) {
        Begun::Done(code) => code,
        Begun::Test(config, logs) => {
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
        Begun::Daemon { config, level, logs } => {
            runtime::run(logs, async move |daemon| serve(*config, level, daemon).await)
        }
    }
}
