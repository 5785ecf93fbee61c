//! Runs our LAPI and CrowdSec's in the same way: the same `config.yaml`, the same profiles, and SQLite by default, so
//! that their behaviour can be compared.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::host::Host;
use crate::http_client::HttpClient;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools::{self, ToolOutput};
use crate::wait::eventually;
use crate::world::World;

/// The implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// `palisade-lapi`.
    Ours,
    /// CrowdSec 1.4.6 of Debian's package.
    Stock,
}

/// The configuration of a LAPI.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The text of `profiles.yaml`.
    pub profiles: String,
    /// Merged over the configuration: objects deeply, everything else replaced.
    pub config: Value,
    /// The folder of the database, if not in the world's.
    pub data: Option<PathBuf>,
    /// Its limit of open files, if not the system's.
    pub open_files: Option<u32>,
}

/// The profiles CrowdSec ships: alerts about addresses and ranges that request remediation get a ban of four hours.
pub const SHIPPED_PROFILES: &str = "\
name: default_ip_remediation
filters:
 - Alert.Remediation == true && Alert.GetScope() == \"Ip\"
decisions:
 - type: ban
   duration: 4h
on_success: break
---
name: default_range_remediation
filters:
 - Alert.Remediation == true && Alert.GetScope() == \"Range\"
decisions:
 - type: ban
   duration: 4h
on_success: break
";

impl Default for Setup {
    fn default() -> Self {
        Self { profiles: SHIPPED_PROFILES.to_owned(), config: json!({}), data: None, open_files: None }
    }
}

/// A LAPI of either implementation: its files, its address, and its process while it runs.
pub struct LapiProcess {
    make: Make,
    host: Host,
    config: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    /// Whether it listens on TCP; otherwise only on the socket.
    tcp: bool,
    /// Whether it uses TLS there.
    tls: bool,
    socket: Option<PathBuf>,
    process: Option<Process>,
    open_files: Option<u32>,
}

impl LapiProcess {
    /// Writes its files for the router without starting it.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn prepare(world: &World, make: Make, setup: &Setup) -> Outcome<Self> {
        Self::prepare_on(world, &world.router, make, setup)
    }

    /// As [`prepare`](Self::prepare), for another host. The address is read from the configuration:
    /// `api.server.listen_uri` (all interfaces are reached through the loopback; null is none), `listen_socket`, `tls`.
    ///
    /// # Errors
    /// When its files cannot be written, or `listen_uri` is no address with a port.
    pub fn prepare_on(world: &World, host: &Host, make: Make, setup: &Setup) -> Outcome<Self> {
        let folder = world.fresh_path(make.name());
        std::fs::create_dir_all(&folder)?;
        let data = setup.data.clone().unwrap_or_else(|| folder.join("data"));
        std::fs::create_dir_all(&data)?;
        let address = SocketAddr::from(([127, 0, 0, 1], host.free_port()?));
        let path = |name: &str| folder.join(name).display().to_string();
        // JSON is YAML.
        let mut text = json!({
            "common": { "daemonize": false, "log_media": "stdout", "log_level": "info", "working_dir": "." },
            "config_paths": {
                "config_dir": path(""), "data_dir": data, "simulation_path": path("simulation.yaml"),
                "hub_dir": path("hub"), "index_path": path("hub/.index.json"),
                "notification_dir": path("notifications"), "plugin_dir": path("plugins"),
            },
            "cscli": { "output": "raw" },
            "db_config": {
                "type": "sqlite", "db_path": data.join("crowdsec.db"), "log_level": "info", "use_wal": true,
                "flush": { "max_items": 10_000_000, "max_age": "30d" },
            },
            "api": {
                "client": { "credentials_path": path("credentials.yaml") },
                "server": {
                    "log_level": "info", "listen_uri": address.to_string(),
                    "profiles_path": path("profiles.yaml"), "trusted_ips": ["127.0.0.1"],
                },
            },
            "prometheus": { "enabled": false },
        });
        merge(&mut text, &setup.config);
        let server = &mut text["api"]["server"];
        let tcp = !server["listen_uri"].is_null();
        if let (false, Some(keys)) = (tcp, server.as_object_mut()) {
            keys.remove("listen_uri");
        }
        let mut address: SocketAddr = match server["listen_uri"].as_str() {
            Some(uri) => uri.parse().doing(format_args!("listening on {uri}"))?,
            None => address,
        };
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let socket = server["listen_socket"].as_str().map(PathBuf::from);
        let tls = !server["tls"]["cert_file"].is_null();
        let config = folder.join("config.yaml");
        std::fs::write(&config, serde_json::to_string_pretty(&text)?)?;
        std::fs::write(folder.join("simulation.yaml"), "simulation: off\n")?;
        std::fs::write(folder.join("profiles.yaml"), &setup.profiles)?;
        std::fs::write(folder.join("credentials.yaml"), "")?;
        let (host, open_files) = (host.clone(), setup.open_files);
        Ok(Self { make, host, config, data, address, tcp, tls, socket, process: None, open_files })
    }

    /// Writes its files and starts it; returns once it responds.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(world: &World, make: Make, setup: &Setup) -> Outcome<Self> {
        let mut lapi = Self::prepare(world, make, setup)?;
        lapi.up(world)?;
        Ok(lapi)
    }

    /// Starts it, again or for the first time; returns once it responds.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self, world: &World) -> Outcome<Duration> {
        let mut process = world.start(&self.host, self.make.name(), self.command()?)?;
        let took = eventually(&format!("the LAPI ({}) answers", self.make.name()), || {
            if let Some(status) = process.exited() {
                return Err(Failure::new(format!("it ended with {status}: {}", last_line(&process.log()))));
            }
            self.host.run(|| self.answers())
        })?;
        self.process = Some(process);
        Ok(took)
    }

    /// The command that starts it; a test may add to it.
    ///
    /// # Errors
    /// When the program is not built, or not fetched.
    pub fn command(&self) -> Outcome<Command> {
        let server = self.make.server()?;
        let mut command = match self.open_files {
            Some(limit) => {
                let mut shell = tools::command("sh")?;
                shell.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(server);
                shell
            }
            None => tools::command(server)?,
        };
        command.arg("-c").arg(&self.config);
        if self.make == Make::Stock {
            command.args(["-no-cs", "-no-capi"]);
        }
        Ok(command)
    }

    /// Checks its health; behind TLS, and on a socket alone, an accepted connection must suffice.
    fn answers(&self) -> Outcome<bool> {
        if let Some(socket) = &self.socket {
            UnixStream::connect(socket).doing(format_args!("connecting to {}", socket.display()))?;
        }
        if !self.tcp {
            return Ok(self.socket.is_some());
        }
        if self.tls {
            return Ok(TcpStream::connect(self.address).is_ok());
        }
        Ok(self.http_client().ask("GET", "/health", &[], None)?.status == 200)
    }

    /// Stops it as a service manager does, and returns its exit status.
    ///
    /// # Errors
    /// When it is not running or does not end.
    pub fn stop(&mut self) -> Outcome<ExitStatus> {
        let process = self.process()?;
        process.signal(Signal::TERM)?;
        let status = process.end()?;
        self.process = None;
        Ok(status)
    }

    /// Its log since it was last started.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The implementation.
    pub fn make(&self) -> Make {
        self.make
    }

    /// Its address on its own host.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host it runs on.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its base address for clients on its own host, with a slash at the end; or its socket, when that is all.
    pub fn url(&self) -> String {
        if let (false, Some(socket)) = (self.tcp, &self.socket) {
            return socket.display().to_string();
        }
        format!("{}://{}/", self.scheme(), self.address)
    }

    /// Its base address for clients elsewhere, when it listens on all interfaces.
    pub fn url_from_afar(&self) -> String {
        format!("{}://{}:{}/", self.scheme(), self.host.v4(), self.address.port())
    }

    /// Whether it serves plain HTTP over TCP, which the harness uses.
    pub(crate) fn is_plain(&self) -> bool {
        self.tcp && !self.tls
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The folder its database lies in.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The SQLite file it keeps its data in: ours lies beside the one that the configuration names.
    pub fn database(&self) -> PathBuf {
        self.data.join(match self.make {
            Make::Ours => "crowdsec.palisade.db",
            Make::Stock => "crowdsec.db",
        })
    }

    /// Puts the other implementation in its place, with the same files and address; it is not running.
    pub fn become_other(&mut self, make: Make) {
        self.process = None;
        self.make = make;
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The running process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process(&mut self) -> Outcome<&mut Process> {
        self.process.as_mut().doing("the LAPI is not running")
    }

    /// `kill -9`; connections are refused from now on.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// A new connection to it.
    pub fn http_client(&self) -> HttpClient {
        HttpClient::new(self.address)
    }

    /// Runs its own administration tool; both accept the same arguments.
    ///
    /// # Errors
    /// When it fails; quotes its output.
    pub fn admin(&self, words: &[&str]) -> Outcome<String> {
        let mut command = tools::command(self.make.admin()?)?;
        command.arg("-c").arg(&self.config).args(words);
        self.host.run(|| tools::output(&mut command))
    }

    /// As [`admin`](Self::admin), whatever the exit status.
    ///
    /// # Errors
    /// When the tool cannot be started.
    pub fn tool(&self, words: &[&str]) -> Outcome<ToolOutput> {
        let mut command = tools::command(self.make.admin()?)?;
        command.arg("-c").arg(&self.config).args(words);
        self.host.run(|| tools::run(&mut command, ""))
    }

    /// Registers a bouncer with this key.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn add_bouncer(&self, name: &str, key: &str) -> Outcome {
        self.admin(&["bouncers", "add", name, "-k", key]).map(drop)
    }

    /// Registers a machine, validated.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn add_machine(&self, name: &str, password: &str) -> Outcome {
        let credentials = self.config.with_file_name(format!("credentials-{name}.yaml"));
        let file = credentials.display().to_string();
        self.admin(&["machines", "add", name, "--password", password, "--force", "-f", &file]).map(drop)
    }

    /// Logs a machine in and returns the value of its `Authorization` header.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn log_in(&self, name: &str, password: &str) -> Outcome<String> {
        let body = serde_json::to_vec(&json!({ "machine_id": name, "password": password, "scenarios": [] }))?;
        let reply =
            self.host.run(|| self.http_client().ask("POST", "/v1/watchers/login", &[], Some(&body)))?;
        let answer: Value =
            serde_json::from_slice(&reply.body).doing(format_args!("the login's answer {reply:?}"))?;
        let token = answer["token"].as_str().doing(format_args!("no token in {answer}"))?;
        Ok(format!("Bearer {token}"))
    }
}

impl Make {
    /// Its name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "palisade-lapi",
            Self::Stock => "crowdsec",
        }
    }

    /// The program of the server.
    ///
    /// # Errors
    /// When it is not built, or not fetched.
    pub fn server(self) -> Outcome<PathBuf> {
        match self {
            Self::Ours => tools::ours("palisade-lapi"),
            Self::Stock => tools::peer("crowdsec"),
        }
    }

    /// The program of its administration tool.
    ///
    /// # Errors
    /// When it is not built, or not fetched.
    pub fn admin(self) -> Outcome<PathBuf> {
        match self {
            Self::Ours => tools::ours("palisade"),
            Self::Stock => tools::peer("cscli"),
        }
    }
}

fn last_line(log: &str) -> &str {
    log.lines().last().unwrap_or("it said nothing")
}

/// Lays `over` over `base`.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}
