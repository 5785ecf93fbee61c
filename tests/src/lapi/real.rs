//! A LAPI of either implementation with a registered machine, through which tests ban and lift.

use std::ops::{Deref, DerefMut};
use std::process::ExitStatus;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::lapi_process::{LapiProcess, Make, Setup, merge};
use super::machine::{AlertId, Machine};
use super::{Access, Authority, Ban};
use crate::host::Host;
use crate::outcome::Outcome;
use crate::world::World;

/// The machine that bans and lifts, and its password.
const HARNESS: &str = "harness";

/// A running LAPI, a bouncer's key, and a registered machine. Operations unrelated to bans, such as
/// [`LapiProcess::admin`], are its [`LapiProcess`]'s.
pub struct Lapi {
    lapi: LapiProcess,
    key: String,
    token: Mutex<String>,
}

impl Deref for Lapi {
    type Target = LapiProcess;

    fn deref(&self) -> &LapiProcess {
        &self.lapi
    }
}

impl DerefMut for Lapi {
    fn deref_mut(&mut self) -> &mut LapiProcess {
        &mut self.lapi
    }
}

impl Lapi {
    /// Starts one on the router, reachable through the loopback only, and returns once it responds.
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
        Self::set_up(LapiProcess::prepare(world, make, &Self::setup(make, config))?, world)
    }

    fn setup(make: Make, config: &Value) -> Setup {
        // No profile of the LAPI may add to a test's bans.
        let mut setup = Setup {
            profiles: "name: none\nfilters: [\"false\"]\non_success: break\n".to_owned(),
            ..Setup::default()
        };
        if make == Make::Stock {
            // One connection: with two writers, SQLite refuses one ("database is locked").
            setup.config = json!({ "db_config": { "max_open_conns": 1 } });
        }
        merge(&mut setup.config, config);
        setup
    }

    /// Registers the harness and a bouncer at a prepared LAPI, and starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn set_up(lapi: LapiProcess, world: &World) -> Outcome<Self> {
        let lapi = Self { lapi, key: "key-of-the-story".to_owned(), token: Mutex::default() };
        let credentials = lapi.config().with_file_name("credentials.yaml").display().to_string();
        lapi.admin(&["machines", "add", HARNESS, "--password", HARNESS, "--force", "-f", &credentials])?;
        lapi.lapi.add_bouncer("firewall-of-the-story", &lapi.key)?;
        let mut lapi = lapi;
        lapi.up(world)?;
        Ok(lapi)
    }

    /// Starts another LAPI on the same database, on a host of its own: it listens on all interfaces at 8080. The
    /// bouncers and the machine are registered already.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn beside(&self, world: &World, host: &Host, config: &Value) -> Outcome<Self> {
        let mut setup = Self::setup(self.make(), config);
        merge(&mut setup.config, &everywhere());
        let lapi = LapiProcess::prepare_on(world, host, self.make(), &setup)?;
        let mut lapi = Self { lapi, key: self.key.clone(), token: Mutex::default() };
        let credentials = lapi.config().with_file_name("credentials.yaml");
        std::fs::copy(self.config().with_file_name("credentials.yaml"), credentials)?;
        lapi.up(world)?;
        Ok(lapi)
    }

    /// Starts one on the router that listens on all interfaces, at 8080, for bouncers on other hosts.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_open(world: &World, make: Make, config: &Value) -> Outcome<Self> {
        let mut open = everywhere();
        merge(&mut open, config);
        Self::start_with(world, make, &open)
    }

    /// Starts it behind TLS, with a certificate of this authority; machines and bouncers may authenticate with
    /// certificates of the same authority whose organisational units are `agent-ou` and `bouncer-ou`. Ban through
    /// [`admin`](LapiProcess::admin) there.
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

    /// Starts it again after [`down`](Self::down) or [`stop`](LapiProcess::stop), with the same database, keys and
    /// port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self, world: &World) -> Outcome {
        self.lapi.up(world)?;
        if self.lapi.is_plain() {
            let token = self.lapi.log_in(HARNESS, HARNESS)?;
            *self.token.lock().expect("nothing panics while it holds this lock") = token;
        }
        Ok(())
    }

    /// Kills it; connections are refused from now on.
    pub fn down(&mut self) {
        self.lapi.kill();
    }

    /// Stops it as a service manager does and starts it again.
    ///
    /// # Errors
    /// When it does not end, or does not come up.
    pub fn restart(&mut self, world: &World) -> Outcome<ExitStatus> {
        let status = self.lapi.stop()?;
        self.up(world)?;
        Ok(status)
    }

    /// The settings of a bouncer on another host, for a LAPI that listens on all interfaces.
    pub fn access_from_afar(&self) -> Access {
        Access { url: self.url_from_afar(), key: self.key.clone() }
    }

    /// The settings of a bouncer.
    pub fn access(&self) -> Access {
        Access { url: self.url(), key: self.key.clone() }
    }

    /// Registers another bouncer.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn add_bouncer(&self, name: &str, key: &str) -> Outcome<Access> {
        self.lapi.add_bouncer(name, key)?;
        Ok(Access { key: key.to_owned(), ..self.access() })
    }

    /// The registered bouncers, from the tool's `bouncers list` in JSON.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn bouncers(&self) -> Outcome<Vec<Value>> {
        Ok(serde_json::from_str(&self.admin(&["bouncers", "list", "-o", "json"])?)?)
    }

    /// The registered machines, from the tool's `machines list` in JSON.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn machines(&self) -> Outcome<Vec<Value>> {
        Ok(serde_json::from_str(&self.admin(&["machines", "list", "-o", "json"])?)?)
    }

    /// The machine through which the test bans and lifts, for another thread. Its login outlives the LAPI.
    pub fn machine(&self) -> Machine {
        let token = self.token.lock().expect("nothing panics while it holds this lock").clone();
        Machine { host: self.host().clone(), address: self.address(), token }
    }

    /// Bans one address or range.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban(&self, ban: impl Into<Ban>) -> Outcome<AlertId> {
        self.machine().ban(ban)
    }

    /// Bans many at once.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban_all(&self, bans: impl IntoIterator<Item = Ban>) -> Outcome<Vec<AlertId>> {
        self.machine().ban_all(bans)
    }

    /// Lifts a ban: its decisions expire, and bouncers get the deletion.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn lift(&self, ban: AlertId) -> Outcome {
        self.machine().lift(ban)
    }

    /// Deletes the alert: its decisions are removed from the database. A stock LAPI does not announce that.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn erase(&self, ban: AlertId) -> Outcome {
        self.machine().erase(ban)
    }

    /// Sends a request as the harness's machine and returns the response's body.
    ///
    /// # Errors
    /// When the LAPI does not respond, or with an error status; quotes it.
    pub fn as_machine(&self, method: &str, path: &str, body: Option<&[u8]>) -> Outcome<String> {
        self.machine().ask(method, path, body)
    }
}

/// The configuration of a LAPI that is reachable from every host.
fn everywhere() -> Value {
    json!({ "api": { "server": { "listen_uri": "0.0.0.0:8080" } } })
}

/// The configuration of a LAPI with TLS that accepts certificates of this authority.
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
