//! `palisade-firewall`: flags in, daemon or answer out.

use std::io;
use std::process::ExitCode;

use palisade_bouncer::control::{LocalQuery, Subject};
use palisade_cache::Policy;
use palisade_daemon::logs::Logs;
use palisade_daemon::runtime;
use palisade_firewall::cli::{Begun, CONFIG_IS_VALID, Question, begin};
use palisade_firewall::config::Loaded;
use palisade_firewall::{about, check, connect, enforcer_config, explain, pass_on_net_admin, serve};
use tracing::info;

fn main() -> ExitCode {
    // Before any thread is started. Where it is refused, the error of `nft` names what is missing.
    let _best_effort = pass_on_net_admin();
    match begin(std::env::args().skip(1)) {
        Begun::Done(code) => code,
        Begun::Test(loaded, logs) => finish(&logs, test(&loaded)),
        Begun::Ask { loaded, logs, question, json } => finish(&logs, answer(&loaded, &question, json)),
        Begun::Daemon { loaded, overrides, logs } => {
            runtime::run(logs, async move |life| serve(*loaded, overrides, life).await)
        }
    }
}

/// `-t`: everything that can be known without changing anything.
fn test(loaded: &Loaded) -> anyhow::Result<()> {
    connect(loaded)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check(&loaded.config))?;
    info!("{CONFIG_IS_VALID}");
    Ok(())
}

fn answer(loaded: &Loaded, question: &Question, json: bool) -> anyhow::Result<()> {
    let (settings, lapis) = connect(loaded)?;
    let inquiry = LocalQuery {
        about: about(&lapis),
        settings: &settings,
        types: Some(&loaded.config.types),
        policy: Policy::longest_wins(),
        json,
    };
    match question {
        Question::Explain(packet) => {
            let cache = inquiry.decisions_on(&Subject::Address(packet.source));
            let cache = cache.map_err(|error| error.to_string());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let enforcer_config = runtime.block_on(enforcer_config(loaded, &lapis));
            explain(&enforcer_config, *packet, cache, json, &mut io::stdout())?;
        }
        Question::Lookup(subject) => inquiry.lookup(subject, &mut io::stdout())?,
        Question::Status => inquiry.status(&mut io::stdout())?,
    }
    Ok(())
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
