//! The webhook bouncer under test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::Signal;
use crate::http_client::{HttpClient, Reply};
use crate::notify::Notify;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools::{self, ToolOutput};
use crate::wait::eventually;
use crate::world::World;

/// A running `palisade-webhook` on the router.
pub struct Webhook {
    process: Process,
    notify: Notify,
    path: PathBuf,
    state: PathBuf,
    /// How often it has reported that it is ready, when it was last started.
    readied: usize,
}

impl Webhook {
    /// Starts it with this configuration file and state directory, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start(world: &World, config: &str, state: &Path) -> Outcome<Self> {
        let mut webhook = Self::launch(world, config, state)?;
        webhook.ready()?;
        Ok(webhook)
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(world: &World, config: &str, state: &Path) -> Outcome<Self> {
        Self::launch_as(world, tools::command(tools::ours("palisade-webhook")?)?, config, state)
    }

    /// Starts it by this command, such as one whose clock is manipulated, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_as(world: &World, command: Command, config: &str, state: &Path) -> Outcome<Self> {
        let path = world.fresh_path("webhook.yaml");
        std::fs::write(&path, config)?;
        let notify = Notify::bind(world.fresh_path("notify"))?;
        let process = spawn(world, command, &path, notify.path(), state)?;
        Ok(Self { process, notify, path, state: state.to_path_buf(), readied: 0 })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it is not in time, or ends; quotes its log.
    pub fn ready(&mut self) -> Outcome<Duration> {
        let mut ended = None;
        let took = eventually("the webhook bouncer is ready", || {
            ended = self.process.exited();
            Ok(ended.is_some() || ready_count(&mut self.notify)? > self.readied)
        })?;
        match ended {
            Some(status) => Err(Failure::new(format!("it ended with {status}: {}", self.process.log()))),
            None => Ok(took),
        }
    }

    /// Starts it again with the same files, once it has ended, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_again(&mut self, world: &World) -> Outcome {
        self.readied = ready_count(&mut self.notify)?;
        let command = tools::command(tools::ours("palisade-webhook")?)?;
        self.process = spawn(world, command, &self.path, self.notify.path(), &self.state)?;
        Ok(())
    }

    /// Stops it as a service manager does, and starts it again.
    ///
    /// # Errors
    /// When it does not end well, or is not ready in time.
    pub fn restart(&mut self, world: &World) -> Outcome {
        self.process.signal(Signal::TERM)?;
        let status = self.process.end()?;
        if !status.success() {
            return Err(Failure::new(format!("it ended with {status}: {}", self.process.log())));
        }
        self.launch_again(world)?;
        self.ready().map(drop)
    }

    /// Puts another configuration in place of its file, and has it read again.
    ///
    /// # Errors
    /// When the file cannot be written, or the program has ended.
    pub fn reload(&mut self, config: &str) -> Outcome {
        std::fs::write(&self.path, config)?;
        self.process.signal(Signal::HUP)
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

    /// As [`command`](Self::command), with both outputs apart.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn tool(&self, world: &World, words: &[&str]) -> Outcome<ToolOutput> {
        let mut command = tools::command(tools::ours("palisade-webhook")?)?;
        command.arg("-c").arg(&self.path).args(words).env("STATE_DIRECTORY", &self.state);
        world.router.run(|| tools::run(&mut command, ""))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
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

fn spawn(world: &World, mut command: Command, path: &Path, notify: &Path, state: &Path) -> Outcome<Process> {
    command.arg("-c").arg(path).env("NOTIFY_SOCKET", notify);
    // The file of a stock program names no state directory, so the environment does, as a unit would.
    command.env("STATE_DIRECTORY", state);
    world.start(&world.router, "webhook", command)
}

fn ready_count(notify: &mut Notify) -> Outcome<usize> {
    Ok(notify.notifications()?.iter().filter(|line| *line == "READY=1").count())
}
