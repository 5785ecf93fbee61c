//! The reverse proxy under test.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Signal;
use crate::host::Host;
use crate::http_client::{HttpClient, Reply};
use crate::lapi::Access;
use crate::notify::Notify;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// The configuration of a [`Proxy`].
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    keys: Value,
    port: u16,
    metrics: u16,
}

impl ProxyConfig {
    /// One plain listener on all addresses, and one route for everything to `upstream`, a URL; polls the LAPI ten times
    /// a second.
    ///
    /// # Errors
    /// When no port is left.
    pub fn new(world: &World, lapi: &Access, upstream: &str) -> Outcome<Self> {
        let state = world.fresh_path("state");
        std::fs::create_dir_all(&state)?;
        let (port, metrics) = (world.router.free_port()?, world.router.free_port()?);
        let keys = json!({
            "api_url": lapi.url,
            "api_key": lapi.key,
            "update_frequency": "0.1s",
            "log_mode": "stdout",
            "state_dir": state,
            "prometheus": { "enabled": true, "listen_addr": "127.0.0.1", "listen_port": metrics.to_string() },
            "listen": [{ "address": format!(":{port}") }],
            "routes": [{ "upstream": upstream }],
        });
        Ok(Self { keys, port, metrics })
    }

    /// Sets a key by its dotted name; numbers are positions in lists, as in `routes.0.hosts`.
    #[must_use]
    pub fn set(mut self, dotted: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.keys;
        for key in dotted.split('.') {
            at = match key.parse::<usize>() {
                Ok(position) => &mut at[position],
                Err(_) => &mut at[key],
            };
        }
        *at = value.into();
        self
    }

    /// Appends an entry to a list, such as `listen` or `routes`.
    #[must_use]
    pub fn push(mut self, key: &str, entry: Value) -> Self {
        match self.keys[key].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => self.keys[key] = json!([entry]),
        }
        self
    }

    /// Writes it to a new file of the world, as JSON, which is YAML.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, world: &World) -> Outcome<PathBuf> {
        let path = world.fresh_path("proxy.yaml");
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

    /// The port of the first listener.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A running reverse proxy on the router; killed, not stopped, when dropped.
pub struct Proxy {
    process: Process,
    notify: Notify,
    path: PathBuf,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Proxy {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(world: &World, config: &ProxyConfig) -> Outcome<Self> {
        let mut proxy = Self::launch(world, config)?;
        proxy.ready()?;
        Ok(proxy)
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(world: &World, config: &ProxyConfig) -> Outcome<Self> {
        let path = config.write(world)?;
        Self::launch_file(world, &path, config)
    }

    /// Starts it with a prepared file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_file(world: &World, path: &Path, config: &ProxyConfig) -> Outcome<Self> {
        let command = tools::command(tools::ours("palisade-proxy")?)?;
        Self::launch_prepared(world, &world.router, command, path, config)
    }

    /// Starts a prepared command (with an environment, or under another program) on any host; `-c path` is appended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_prepared(
        world: &World,
        host: &Host,
        mut command: std::process::Command,
        path: &Path,
        config: &ProxyConfig,
    ) -> Outcome<Self> {
        let notify = Notify::bind(world.fresh_path("notify"))?;
        command.arg("-c").arg(path).env("NOTIFY_SOCKET", notify.path());
        let process = world.start(host, "proxy", command)?;
        Ok(Self {
            process,
            notify,
            path: path.to_path_buf(),
            address: SocketAddr::new(host.v4(), config.port),
            metrics: SocketAddr::from(([127, 0, 0, 1], config.metrics)),
        })
    }

    /// Waits for `READY=1`.
    ///
    /// # Errors
    /// When it ends first, or the notification does not arrive in time.
    pub fn ready(&mut self) -> Outcome<Duration> {
        eventually("the proxy is ready", || {
            if self.notify.notifications()?.iter().any(|line| line == "READY=1") {
                return Ok(true);
            }
            match self.process.exited() {
                Some(status) => Err(Failure::new(format!("it ended with {status}: {}", self.process.log()))),
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

    /// Where the first listener is, as visitors see it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One GET request from `host` on a connection of its own.
    ///
    /// # Errors
    /// When there is no complete response.
    pub fn get(&self, host: &Host, path: &str, headers: &[(&str, &str)]) -> Outcome<Reply> {
        let mut client = HttpClient::new(self.address).with_timeout(Duration::from_secs(30));
        host.run(|| client.ask("GET", path, headers, None)).doing(format_args!("GET {path}"))
    }

    /// The same from a particular address of `host`.
    ///
    /// # Errors
    /// When there is no complete response.
    pub fn get_from(
        &self,
        host: &Host,
        from: IpAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Outcome<Reply> {
        let mut client = HttpClient::new(self.address).with_timeout(Duration::from_secs(30)).from(from);
        host.run(|| client.ask("GET", path, headers, None)).doing(format_args!("GET {path}"))
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

    /// SIGHUP, and waits until the new configuration is in force.
    ///
    /// # Errors
    /// When it is not.
    pub fn reload(&mut self) -> Outcome {
        let before = self.log().matches("configuration reloaded").count();
        self.process.signal(Signal::HUP)?;
        eventually("the configuration is reloaded", || {
            self.log().matches("configuration reloaded").count() > before
        })
        .map(drop)
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Outcome<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.end()
    }

    /// Runs a command of the program with this configuration to its end, such as `["lookup", "192.0.2.1"]`; returns its
    /// exit status and output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn command(&self, world: &World, words: &[&str]) -> Outcome<(ExitStatus, String)> {
        let mut command = tools::command(tools::ours("palisade-proxy")?)?;
        command.arg("-c").arg(&self.path).args(words);
        let mut process = world.start(&world.router, "palisade-proxy", command)?;
        let status = process.end()?;
        Ok((status, process.log()))
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
