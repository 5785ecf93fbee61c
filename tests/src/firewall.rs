//! The firewall bouncer under test: ours, or the stock one as the peer, behind one interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Signal;
use crate::host::Host;
use crate::http_client::HttpClient;
use crate::lapi::Access;
use crate::notify::Notify;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// The tested program. `PALISADE_FIREWALL=stock` runs the tests against the stock bouncer instead, to see which
/// guarantees it meets; a path runs that binary as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Implementation {
    /// `palisade-firewall`.
    Palisade(PathBuf),
    /// `crowdsec-firewall-bouncer` from Debian's package.
    Stock(PathBuf),
}

impl Implementation {
    /// The implementation under test.
    ///
    /// # Errors
    /// When it is not built, or not fetched.
    pub fn under_test() -> Outcome<Self> {
        match std::env::var("PALISADE_FIREWALL").ok().as_deref() {
            None | Some("" | "palisade") => Ok(Self::Palisade(tools::ours("palisade-firewall")?)),
            Some("stock") => Self::stock(),
            Some(path) => Ok(Self::Palisade(path.into())),
        }
    }

    /// The stock bouncer.
    ///
    /// # Errors
    /// When it is not fetched.
    pub fn stock() -> Outcome<Self> {
        Ok(Self::Stock(tools::peer("crowdsec-firewall-bouncer")?))
    }

    /// Whether this is ours; guarantees that the stock one does not give are only checked for ours.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Palisade(_))
    }

    /// The program's file.
    pub fn program(&self) -> &Path {
        match self {
            Self::Palisade(path) | Self::Stock(path) => path,
        }
    }

    /// Its name, for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Palisade(_) => "palisade-firewall",
            Self::Stock(_) => "crowdsec-firewall-bouncer",
        }
    }
}

/// The bouncer's configuration, in the stock file's keys.
#[derive(Debug, Clone)]
pub struct Config {
    keys: Value,
}

impl Config {
    /// nftables on input and forward, both families, polling ten times a second.
    ///
    /// # Errors
    /// When no port is left for its metrics.
    pub fn new(world: &World, lapi: &Access) -> Outcome<Self> {
        let state = world.fresh_path("state");
        std::fs::create_dir_all(&state)?;
        Ok(Self {
            keys: json!({
                "mode": "nftables",
                "update_frequency": "0.1s",
                "daemonize": true,
                "pid_dir": world.folder(),
                "log_mode": "stdout",
                "log_level": "info",
                "api_url": lapi.url,
                "api_key": lapi.key,
                "deny_action": "DROP",
                "nftables": { "ipv4": { "enabled": true }, "ipv6": { "enabled": true } },
                "nftables_hooks": ["input", "forward"],
                "prometheus": {
                    "enabled": true, "listen_addr": "127.0.0.1", "listen_port": world.router.free_port()?.to_string(),
                },
                "state_dir": state,
            }),
        })
    }

    /// Sets a key by its dotted name, `nftables.ipv4.set-only` for instance.
    #[must_use]
    pub fn set(mut self, dotted: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.keys;
        for key in dotted.split('.') {
            at = &mut at[key];
        }
        *at = value.into();
        self
    }

    /// Sets a key to the path of a file or folder.
    #[must_use]
    pub fn set_path(self, dotted: &str, path: &Path) -> Self {
        self.set(dotted, path.display().to_string())
    }

    /// Removes a top-level key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        if let Some(keys) = self.keys.as_object_mut() {
            keys.remove(key);
        }
        self
    }

    /// A key's text.
    pub fn text(&self, dotted: &str) -> String {
        let found = dotted.split('.').fold(&self.keys, |at, key| &at[key]);
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    }

    /// Writes it to a new file of the world, as JSON, which is YAML.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, world: &World) -> Outcome<PathBuf> {
        let path = world.fresh_path("firewall.yaml");
        self.write_to(&path)?;
        Ok(path)
    }

    /// Overwrites a file, as an operator edits it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_to(&self, path: &Path) -> Outcome {
        std::fs::write(path, serde_json::to_string_pretty(&self.keys)?)
            .doing(format_args!("writing {}", path.display()))
    }
}

/// A running firewall bouncer; killed, not stopped, when dropped.
pub struct Firewall {
    process: Process,
    notify: Notify,
    path: PathBuf,
    metrics: SocketAddr,
}

impl Firewall {
    /// Starts the bouncer under test on the router with the usual [`Config`] and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(world: &World, lapi: &Access) -> Outcome<Self> {
        Self::start_with(world, &Config::new(world, lapi)?)
    }

    /// Starts it with another configuration and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_with(world: &World, config: &Config) -> Outcome<Self> {
        let mut firewall = Self::launch(world, &Implementation::under_test()?, config)?;
        firewall.ready()?;
        Ok(firewall)
    }

    /// Starts any implementation and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(world: &World, which: &Implementation, config: &Config) -> Outcome<Self> {
        let path = config.write(world)?;
        Self::launch_file(world, which, &path, config)
    }

    /// Starts any implementation with a prepared file; `config` contains the address of its metrics.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_file(world: &World, which: &Implementation, path: &Path, config: &Config) -> Outcome<Self> {
        Self::launch_prepared(world, &world.router, tools::command(which.program())?, path, config)
    }

    /// Starts a prepared command (with an environment, or under another program) on any host; `-c path` is appended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_prepared(
        world: &World,
        host: &Host,
        mut command: Command,
        path: &Path,
        config: &Config,
    ) -> Outcome<Self> {
        let notify = Notify::bind(world.fresh_path("notify"))?;
        command.arg("-c").arg(path).env("NOTIFY_SOCKET", notify.path());
        let process = world.start(host, "firewall", command)?;
        let port = config.text("prometheus.listen_port").parse().unwrap_or(60601);
        Ok(Self {
            process,
            notify,
            path: path.to_path_buf(),
            metrics: SocketAddr::from(([127, 0, 0, 1], port)),
        })
    }

    /// Waits for `READY=1`.
    ///
    /// # Errors
    /// When it ends first, or the notification does not arrive in time.
    pub fn ready(&mut self) -> Outcome<Duration> {
        eventually("the firewall bouncer is ready", || {
            if self.is_ready()? {
                return Ok(true);
            }
            match self.process.exited() {
                Some(status) => Err(Failure::new(format!("it ended with {status}"))),
                None => Ok(false),
            }
        })
    }

    /// Whether it has sent `READY=1`.
    ///
    /// # Errors
    /// When the notify socket fails.
    pub fn is_ready(&mut self) -> Outcome<bool> {
        Ok(self.notify.notifications()?.iter().any(|line| line == "READY=1"))
    }

    /// All notifications to the service manager, oldest first: `READY=1`, `STATUS=…`, `WATCHDOG=1`, `RELOADING=1`.
    ///
    /// # Errors
    /// When the notify socket fails.
    pub fn manager_messages(&mut self) -> Outcome<Vec<String>> {
        Ok(self.notify.notifications()?.to_vec())
    }

    /// The process itself: its log, signals, memory.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its configuration file.
    pub fn config_file(&self) -> &Path {
        &self.path
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Whether its log contains this text.
    pub fn log_contains(&self, text: &str) -> bool {
        self.process.log().contains(text)
    }

    /// Waits until its log contains this text.
    ///
    /// # Errors
    /// When it does not appear in time, or the program ends without it.
    pub fn wait_for_log(&mut self, text: &str) -> Outcome<Duration> {
        self.process.wait_for_log(text)
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Outcome<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.end()
    }

    /// SIGHUP.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn reload(&mut self) -> Outcome {
        self.process.signal(Signal::HUP)
    }

    /// Its Prometheus samples, `name{labels}` as written, by value.
    ///
    /// # Errors
    /// When its listener does not answer.
    pub fn metrics(&self) -> Outcome<BTreeMap<String, f64>> {
        let text = HttpClient::new(self.metrics).ask("GET", "/metrics", &[], None)?.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Ok(samples
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect())
    }
}

/// Runs the program under test to its end with these arguments: `-t`, `-T`, `-version`; returns its exit status and
/// output.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn run_to_end(
    world: &World,
    which: &Implementation,
    words: &[&str],
) -> Outcome<(ExitStatus, String)> {
    let mut command = tools::command(which.program())?;
    command.args(words);
    let mut process = world.start(&world.router, which.name(), command)?;
    let status = process.end()?;
    Ok((status, process.log()))
}

impl Implementation {
    /// Runs it with a configuration that must fail: it exits with code 1, and its output contains all of these phrases.
    ///
    /// # Errors
    /// When it does otherwise; quotes its output.
    pub fn refuses(&self, world: &World, config: &Config, phrases: &[&str]) -> Outcome {
        let path = config.write(world)?.display().to_string();
        let (status, said) = self.run(world, &["-c", &path])?;
        if status.code() != Some(1) {
            return Err(Failure::new(format!("it ended with {status} and said: {said}")));
        }
        match phrases.iter().find(|phrase| !said.contains(**phrase)) {
            Some(phrase) => Err(Failure::new(format!("it should have said {phrase:?}, but said: {said}"))),
            None => Ok(()),
        }
    }

    /// Runs it to its end with these arguments; returns its exit status and output.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run(&self, world: &World, words: &[&str]) -> Outcome<(ExitStatus, String)> {
        run_to_end(world, self, words)
    }
}
