//! A LAPI of either make with a machine registered at it, through which stories ban and lift.

use std::ops::{Deref, DerefMut};
use std::process::ExitStatus;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::rig::{Make, Rig, Setup, merge};
use super::{Access, Authority, Ban};
use crate::outcome::{Doing, Failure, Outcome};
use crate::world::World;

/// Decisions in one alert; more in one request make SQLite slow.
const PER_ALERT: usize = 5_000;

/// The machine that bans and lifts, and its password.
const HARNESS: &str = "harness";

/// A running LAPI, a bouncer's key to it, and a machine registered at it. What is no business of bans, such as
/// [`Rig::admin`], is its [`Rig`]'s.
pub struct Lapi {
    rig: Rig,
    key: String,
    token: Mutex<String>,
}

/// One manual ban at a real LAPI, to be lifted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertId(u64);

impl Deref for Lapi {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl DerefMut for Lapi {
    fn deref_mut(&mut self) -> &mut Rig {
        &mut self.rig
    }
}

impl Lapi {
    /// Starts one on the router, reached through the loopback only, and returns once it answers.
    ///
    /// # Errors
    /// When it is not built or unpacked, or does not come up.
    pub fn start(world: &World, make: Make) -> Outcome<Self> {
        Self::start_with(world, make, &json!({}))
    }

    /// Starts one with this configuration merged over the usual one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(world: &World, make: Make, config: &Value) -> Outcome<Self> {
        // A story's bans are its own; no profile of the LAPI adds to them.
        let mut setup = Setup {
            profiles: "name: none\nfilters: [\"false\"]\non_success: break\n".to_owned(),
            ..Setup::default()
        };
        if make == Make::Stock {
            // One connection: of two that write, SQLite refuses one ("database is locked").
            setup.config = json!({ "db_config": { "max_open_conns": 1 } });
        }
        merge(&mut setup.config, config);
        Self::set_up(Rig::prepare(world, make, &setup)?, world)
    }

    /// Registers the harness and a bouncer at a prepared LAPI, and starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn set_up(rig: Rig, world: &World) -> Outcome<Self> {
        let lapi = Self { rig, key: "key-of-the-story".to_owned(), token: Mutex::default() };
        let credentials = lapi.config().with_file_name("credentials.yaml").display().to_string();
        lapi.admin(&["machines", "add", HARNESS, "--password", HARNESS, "--force", "-f", &credentials])?;
        lapi.rig.add_bouncer("firewall-of-the-story", &lapi.key)?;
        let mut lapi = lapi;
        lapi.up(world)?;
        Ok(lapi)
    }

    /// Starts it behind TLS, with a certificate of this authority; machines and bouncers may come with certificates
    /// of the same authority whose organisational units are `agent-ou` and `bouncer-ou`. Ban through
    /// [`admin`](Rig::admin) there.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with_tls(world: &World, make: Make, authority: &Authority) -> Outcome<Self> {
        let lapi = Self::start_with(world, make, &tls_config(authority)?)?;
        // The tool writes the plain address.
        let text = json!({
            "url": lapi.url(), "login": HARNESS, "password": HARNESS, "ca_cert_path": authority.path(),
        });
        std::fs::write(lapi.config().with_file_name("credentials.yaml"), text.to_string())?;
        Ok(lapi)
    }

    /// Starts it again after [`down`](Self::down) or [`stop`](Rig::stop), with the same database, keys and port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self, world: &World) -> Outcome {
        self.rig.up(world)?;
        if self.rig.is_plain() {
            let token = self.rig.log_in(HARNESS, HARNESS)?;
            *self.token.lock().expect("nothing panics while it holds this lock") = token;
        }
        Ok(())
    }

    /// Kills it; connections are refused from now on.
    pub fn down(&mut self) {
        self.rig.kill();
    }

    /// Ends it as a service manager does and starts it again.
    ///
    /// # Errors
    /// When it does not end, or does not come up.
    pub fn restart(&mut self, world: &World) -> Outcome<ExitStatus> {
        let status = self.rig.stop()?;
        self.up(world)?;
        Ok(status)
    }

    /// What a bouncer needs to connect.
    pub fn access(&self) -> Access {
        Access { url: self.url(), key: self.key.clone() }
    }

    /// Registers another bouncer.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn add_bouncer(&self, name: &str, key: &str) -> Outcome<Access> {
        self.rig.add_bouncer(name, key)?;
        Ok(Access { key: key.to_owned(), ..self.access() })
    }

    /// The registered bouncers, as the tool's `bouncers list` tells them in JSON.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn bouncers(&self) -> Outcome<Vec<Value>> {
        Ok(serde_json::from_str(&self.admin(&["bouncers", "list", "-o", "json"])?)?)
    }

    /// The registered machines, as the tool's `machines list` tells them in JSON.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn machines(&self) -> Outcome<Vec<Value>> {
        Ok(serde_json::from_str(&self.admin(&["machines", "list", "-o", "json"])?)?)
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
            let answer = self.as_machine("POST", "/v1/alerts", Some(&body))?;
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
            serde_json::from_str(&self.as_machine("GET", &format!("/v1/alerts/{}", ban.0), None)?)?;
        for decision in alert["decisions"].as_array().doing("an alert has decisions")? {
            self.as_machine("DELETE", &format!("/v1/decisions/{}", decision["id"]), None)?;
        }
        Ok(())
    }

    /// Deletes the alert: its decisions vanish from the database. A stock LAPI tells nobody.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn erase(&self, ban: AlertId) -> Outcome {
        self.as_machine("DELETE", &format!("/v1/alerts/{}", ban.0), None).map(drop)
    }

    /// Makes a request as the harness's machine and returns the answer's body.
    ///
    /// # Errors
    /// When the LAPI does not answer, or with a status that is no success; quotes it.
    pub fn as_machine(&self, method: &str, path: &str, body: Option<&[u8]>) -> Outcome<String> {
        let token = self.token.lock().expect("nothing panics while it holds this lock").clone();
        let headers = [("Authorization", token.as_str())];
        let reply = self.host().run(|| self.caller().ask(method, path, &headers, body));
        let reply = reply.doing(format_args!("{method} {path}"))?;
        if reply.status >= 300 {
            return Err(Failure::new(format!("{method} {path}: status {}: {}", reply.status, reply.text())));
        }
        Ok(reply.text())
    }
}

/// The configuration with which a LAPI speaks TLS and knows certificates of this authority.
///
/// # Errors
/// When the server's certificate cannot be written.
pub fn tls_config(authority: &Authority) -> Outcome<Value> {
    let server = authority.server()?;
    Ok(json!({ "api": { "server": { "tls": {
        "cert_file": server.cert, "key_file": server.key, "ca_cert_path": authority.path(),
        "client_verification": "VerifyClientCertIfGiven",
        "agents_allowed_ou": ["agent-ou"], "bouncers_allowed_ou": ["bouncer-ou"],
    } } } }))
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
