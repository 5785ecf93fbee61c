//! CrowdSec's own LAPI, from Debian's package: SQLite in a folder of the world, no agent, no central service.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Access, Authority, Ban};
use crate::http;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// Decisions in one alert; more in one request make SQLite slow.
const PER_ALERT: usize = 5_000;

/// A running CrowdSec LAPI, and a machine registered at it through which stories ban and lift.
pub struct CrowdSec {
    config: PathBuf,
    address: SocketAddr,
    key: String,
    token: Mutex<String>,
    process: Option<Process>,
    /// `http`, or `https` with a certificate of an [`Authority`].
    scheme: &'static str,
}

/// One manual ban at a real LAPI, to be lifted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertId(u64);

impl CrowdSec {
    /// Starts it on the router and returns once it answers.
    ///
    /// # Errors
    /// When the peer is not unpacked or does not come up.
    pub fn start(world: &World) -> Outcome<Self> {
        Self::start_as(world, None)
    }

    /// Starts it behind TLS, with a certificate of this authority; bouncers may come with certificates of the same
    /// authority whose organisational unit is `bouncer-ou`. Ban through [`cscli`](Self::cscli) there.
    ///
    /// # Errors
    /// When the peer is not unpacked or does not come up.
    pub fn start_with_tls(world: &World, authority: &Authority) -> Outcome<Self> {
        Self::start_as(world, Some(authority))
    }

    fn start_as(world: &World, authority: Option<&Authority>) -> Outcome<Self> {
        let folder = world.fresh_path("crowdsec");
        std::fs::create_dir_all(folder.join("data"))?;
        let port = world.router.free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let config = folder.join("config.yaml");
        let path = |name: &str| folder.join(name).display().to_string();
        // JSON is YAML.
        let mut text = json!({
            "common": { "daemonize": false, "log_media": "stdout", "log_level": "info", "working_dir": "." },
            "config_paths": {
                "config_dir": path(""), "data_dir": path("data"), "simulation_path": path("simulation.yaml"),
                "hub_dir": path("hub"), "index_path": path("hub/.index.json"),
                "notification_dir": path("notifications"), "plugin_dir": path("plugins"),
            },
            "cscli": { "output": "raw" },
            "db_config": {
                "type": "sqlite", "db_path": path("data/crowdsec.db"), "log_level": "info", "use_wal": true,
                // One connection: of two that write, SQLite refuses one ("database is locked").
                "max_open_conns": 1,
                "flush": { "max_items": 1_000_000, "max_age": "30d" },
            },
            "api": {
                "client": { "credentials_path": path("credentials.yaml") },
                "server": {
                    "log_level": "info", "listen_uri": address.to_string(), "profiles_path": path("profiles.yaml"),
                    "trusted_ips": ["127.0.0.1"],
                },
            },
            "prometheus": { "enabled": false },
        });
        if let Some(authority) = authority {
            let server = authority.server()?;
            text["api"]["server"]["tls"] = json!({
                "cert_file": server.cert, "key_file": server.key, "ca_cert_path": authority.path(),
                "client_verification": "VerifyClientCertIfGiven",
                "agents_allowed_ou": ["agent-ou"], "bouncers_allowed_ou": ["bouncer-ou"],
            });
        }
        std::fs::write(&config, serde_json::to_string_pretty(&text)?)?;
        std::fs::write(folder.join("simulation.yaml"), "simulation: off\n")?;
        std::fs::write(
            folder.join("profiles.yaml"),
            "name: none\nfilters: [\"false\"]\non_success: break\n",
        )?;
        std::fs::write(folder.join("credentials.yaml"), "")?;
        let mut lapi = Self {
            config,
            address,
            key: "key-of-the-story".to_owned(),
            token: Mutex::default(),
            process: None,
            scheme: if authority.is_some() { "https" } else { "http" },
        };
        let credentials = path("credentials.yaml");
        lapi.cscli(&["machines", "add", "harness", "--password", "harness", "--force", "-f", &credentials])?;
        if let Some(authority) = authority {
            // cscli writes the plain address.
            let text = json!({
                "url": lapi.url(), "login": "harness", "password": "harness", "ca_cert_path": authority.path(),
            });
            std::fs::write(&credentials, text.to_string())?;
        }
        let key = lapi.add_bouncer("firewall-of-the-story", "key-of-the-story")?;
        lapi.key = key.key;
        lapi.up(world)?;
        Ok(lapi)
    }

    /// Starts it again after [`down`](Self::down), with the same database, keys and port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self, world: &World) -> Outcome {
        let mut command = tools::command(tools::peer("crowdsec")?)?;
        command.arg("-c").arg(&self.config).args(["-no-cs", "-no-capi"]);
        let mut process = world.start(&world.router, "crowdsec", command)?;
        eventually("the CrowdSec LAPI answers", || {
            if let Some(status) = process.exited() {
                return Err(Failure::new(format!("it ended with {status}")));
            }
            if self.scheme == "https" {
                return Ok(TcpStream::connect(self.address).is_ok());
            }
            Ok(http::request(self.address, "GET /health", &[], None)?.status == 200)
        })?;
        self.process = Some(process);
        if self.scheme == "https" { Ok(()) } else { self.log_in() }
    }

    fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Kills it; connections are refused from now on.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// What a bouncer needs to connect.
    pub fn access(&self) -> Access {
        Access { url: self.url(), key: self.key.clone() }
    }

    /// Registers another bouncer.
    ///
    /// # Errors
    /// When cscli refuses.
    pub fn add_bouncer(&self, name: &str, key: &str) -> Outcome<Access> {
        self.cscli(&["bouncers", "add", name, "-k", key])?;
        Ok(Access { key: key.to_owned(), ..self.access() })
    }

    /// The registered bouncers, as `cscli bouncers list` tells them in JSON.
    ///
    /// # Errors
    /// When cscli fails.
    pub fn bouncers(&self) -> Outcome<Vec<Value>> {
        Ok(serde_json::from_str(&self.cscli(&["bouncers", "list", "-o", "json"])?)?)
    }

    /// Runs CrowdSec's own administration tool against this LAPI.
    ///
    /// # Errors
    /// When it fails; quotes what it said.
    pub fn cscli(&self, words: &[&str]) -> Outcome<String> {
        tools::output(tools::command(tools::peer("cscli")?)?.arg("-c").arg(&self.config).args(words))
    }

    /// Bans one address or range.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban(&self, ban: impl Into<Ban>) -> Outcome<AlertId> {
        let made = self.ban_all([ban.into()])?;
        made.into_iter().next().doing("the LAPI made no alert")
    }

    /// Bans many at once.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban_all(&self, bans: impl IntoIterator<Item = Ban>) -> Outcome<Vec<AlertId>> {
        let bans: Vec<Ban> = bans.into_iter().collect();
        let mut made = Vec::new();
        for chunk in bans.chunks(PER_ALERT) {
            let body = serde_json::to_vec(&json!([alert(chunk)]))?;
            let answer = self.as_machine("POST /v1/alerts", Some(&body))?;
            let ids: Vec<String> = serde_json::from_str(&answer).doing("the ids of new alerts")?;
            for id in ids {
                made.push(AlertId(id.parse()?));
            }
        }
        Ok(made)
    }

    /// Lifts a ban: its decisions expire, and bouncers are told.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn lift(&self, ban: AlertId) -> Outcome {
        let alert: Value =
            serde_json::from_str(&self.as_machine(&format!("GET /v1/alerts/{}", ban.0), None)?)?;
        for decision in alert["decisions"].as_array().doing("an alert has decisions")? {
            self.as_machine(&format!("DELETE /v1/decisions/{}", decision["id"]), None)?;
        }
        Ok(())
    }

    /// Deletes the alert: its decisions vanish from the database, and nobody is told.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn erase(&self, ban: AlertId) -> Outcome {
        self.as_machine(&format!("DELETE /v1/alerts/{}", ban.0), None).map(drop)
    }

    fn log_in(&self) -> Outcome {
        let body =
            serde_json::to_vec(&json!({ "machine_id": "harness", "password": "harness", "scenarios": [] }))?;
        let answer = http::request(self.address, "POST /v1/watchers/login", &[], Some(&body))?;
        let answer: Value = serde_json::from_str(&answer.body).doing("the login's answer")?;
        let token = answer["token"].as_str().doing(format_args!("no token in {answer}"))?;
        *self.token.lock().expect("nothing panics while it holds this lock") = format!("Bearer {token}");
        Ok(())
    }

    fn as_machine(&self, line: &str, body: Option<&[u8]>) -> Outcome<String> {
        let token = self.token.lock().expect("nothing panics while it holds this lock").clone();
        let answer = http::request(self.address, line, &[("Authorization", &token)], body)?;
        if answer.status >= 300 {
            return Err(Failure::new(format!("{line}: status {}: {}", answer.status, answer.body)));
        }
        Ok(answer.body)
    }
}

/// An alert that carries these decisions, as cscli sends it.
fn alert(bans: &[Ban]) -> Value {
    let decisions: Vec<Value> = bans
        .iter()
        .map(|ban| {
            json!({
                "duration": format!("{}ms", ban.duration.as_millis()), "origin": ban.origin, "scenario": ban.scenario,
                "scope": ban.scope, "type": ban.kind, "value": ban.value,
            })
        })
        .collect();
    let (scope, value) = bans.first().map_or(("Ip", ""), |ban| (ban.scope.as_str(), ban.value.as_str()));
    // The LAPI counts the duration from `stop_at`.
    let now = jiff::Timestamp::now().to_string();
    json!({
        "capacity": 0, "decisions": decisions, "events": [], "events_count": 1, "leakspeed": "0",
        "message": "by hand", "scenario": "a story bans", "scenario_hash": "", "scenario_version": "",
        "simulated": false, "source": { "scope": scope, "value": value }, "start_at": now, "stop_at": now,
    })
}
