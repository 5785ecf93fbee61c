//! The webhook bouncer under test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::Signal;
use crate::http_client::{HttpClient, Reply};
use crate::notify::Notify;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// A running `palisade-webhook` on the router.
pub struct Webhook {
    process: Process,
    notify: Notify,
    path: PathBuf,
    state: PathBuf,
}

impl Webhook {
    /// Starts it with this configuration file and state directory, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start(world: &World, config: &str, state: &Path) -> Outcome<Self> {
        let path = world.fresh_path("webhook.yaml");
        std::fs::write(&path, config)?;
        let notify = Notify::bind(world.fresh_path("notify"))?;
        let mut command = tools::command(tools::ours("palisade-webhook")?)?;
        command.arg("-c").arg(&path).env("NOTIFY_SOCKET", notify.path());
        // The file of a stock program names no state directory, so the environment does, as a unit would.
        command.env("STATE_DIRECTORY", state);
        let process = world.start(&world.router, "webhook", command)?;
        let mut webhook = Self { process, notify, path, state: state.to_path_buf() };
        webhook.ready()?;
        Ok(webhook)
    }

    fn ready(&mut self) -> Outcome<Duration> {
        eventually("the webhook bouncer is ready", || {
            if self.notify.notifications()?.iter().any(|line| line == "READY=1") {
                return Ok(true);
            }
            match self.process.exited() {
                Some(status) => Err(Failure::new(format!("it ended with {status}: {}", self.process.log()))),
                None => Ok(false),
            }
        })
    }

    /// One GET request to a port of it, from the router itself.
    ///
    /// # Errors
    /// When there is no complete response.
    pub fn get(&self, world: &World, port: u16, path: &str, headers: &[(&str, &str)]) -> Outcome<Reply> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut client = HttpClient::new(address).with_timeout(Duration::from_secs(30));
        world.router.run(|| client.ask("GET", path, headers, None)).doing(format_args!("GET {path}"))
    }

    /// Runs a command of the program with this configuration to its end; returns its exit status and output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn command(&self, world: &World, words: &[&str]) -> Outcome<(ExitStatus, String)> {
        let mut command = tools::command(tools::ours("palisade-webhook")?)?;
        command.arg("-c").arg(&self.path).args(words);
        command.env("STATE_DIRECTORY", &self.state);
        let mut process = world.start(&world.router, "palisade-webhook", command)?;
        let status = process.end()?;
        Ok((status, process.log()))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Outcome<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.end()
    }
}
