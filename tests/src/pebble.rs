//! pebble, Let's Encrypt's ACME server for tests, with a name server that resolves every name to the router.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::Host;
use crate::lapi::Authority;
use crate::outcome::{Doing, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// How pebble is started.
#[derive(Debug, Clone)]
pub struct PebbleOptions {
    /// Where it validates HTTP-01 and TLS-ALPN-01.
    pub ports: (u16, u16),
    /// The lifetime of certificates, in seconds.
    pub lifetime: u32,
    /// Before each validation, it sleeps up to this many seconds.
    pub sleep: u32,
}

impl Default for PebbleOptions {
    fn default() -> Self {
        Self { ports: (80, 443), lifetime: 90 * 24 * 3600, sleep: 0 }
    }
}

/// A running pebble on the router; killed when dropped. It forgets everything then.
pub struct Pebble {
    process: Process,
    _names: Process,
    management: SocketAddr,
    folder: PathBuf,
}

/// Where a pebble will be, before it is started.
#[derive(Debug, Clone)]
pub struct PebblePlace {
    directory: SocketAddr,
    management: SocketAddr,
    ca: PathBuf,
}

impl PebblePlace {
    /// Chooses ports.
    ///
    /// # Errors
    /// When none is left.
    pub fn new(world: &World, authority: &Authority) -> Outcome<Self> {
        let port =
            |host: &Host| Ok::<_, crate::Failure>(SocketAddr::from(([127, 0, 0, 1], host.free_port()?)));
        Ok(Self { directory: port(&world.router)?, management: port(&world.router)?, ca: authority.path() })
    }

    /// The `acme` block for it.
    pub fn config(&self, challenge: &str) -> Value {
        json!({
            "directory": format!("https://{}/dir", self.directory),
            "ca": self.ca,
            "challenge": challenge,
            "email": "admin@example.org",
        })
    }
}

impl Pebble {
    /// Starts it and its name server, and waits until it answers.
    ///
    /// # Errors
    /// When it is not unpacked, or does not come up.
    pub fn start(
        world: &World,
        authority: &Authority,
        place: &PebblePlace,
        options: &PebbleOptions,
    ) -> Outcome<Self> {
        let folder = world.fresh_path("pebble");
        std::fs::create_dir_all(&folder)?;
        let (names, tcp) = (world.router.free_port()?, world.router.free_port()?);
        let mut command = tools::command(tools::peer("pebble-challtestsrv")?)?;
        command.arg("-defaultIPv4").arg(world.router.v4().to_string()).args(["-defaultIPv6", ""]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        command.arg("-dns01").arg(format!("127.0.0.1:{names}"));
        command.arg("-management").arg(format!("127.0.0.1:{tcp}"));
        let mut name_server = world.start(&world.router, "names", command)?;
        name_server.wait_for_log("Starting management server")?;

        let server = authority.server()?;
        let config = folder.join("pebble.json");
        let text = json!({ "pebble": {
            "listenAddress": place.directory.to_string(),
            "managementListenAddress": place.management.to_string(),
            "certificate": server.cert,
            "privateKey": server.key,
            "httpPort": options.ports.0,
            "tlsPort": options.ports.1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": options.lifetime,
        }});
        std::fs::write(&config, text.to_string())?;
        let mut command = tools::command(tools::peer("pebble")?)?;
        command.arg("-strict").arg("-config").arg(&config);
        command.arg("-dnsserver").arg(format!("127.0.0.1:{names}"));
        match options.sleep {
            0 => command.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        let mut process = world.start(&world.router, "pebble", command)?;
        process.wait_for_log("Root CA certificate available")?;
        let pebble = Self { process, _names: name_server, management: place.management, folder };
        eventually("pebble answers", || pebble.root(authority).map(|_| true))?;
        Ok(pebble)
    }

    /// The root that its certificates lead to, in a file; another one after each start.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn root(&self, authority: &Authority) -> Outcome<PathBuf> {
        let path = self.folder.join("root.pem");
        let url = format!("https://{}/roots/0", self.management);
        fetch(&authority.path(), &url, &path)?;
        Ok(path)
    }

    /// How often its log has `text`.
    pub fn count(&self, text: &str) -> usize {
        self.process.log().matches(text).count()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn fetch(ca: &Path, url: &str, to: &Path) -> Outcome {
    let mut command = tools::command("curl")?;
    command.args(["-sS", "--fail", "--max-time", "10", "--cacert"]).arg(ca).arg("-o").arg(to).arg(url);
    tools::output(&mut command).doing(format_args!("fetching {url}")).map(drop)
}
