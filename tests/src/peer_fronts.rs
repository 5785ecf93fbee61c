//! nginx, HAProxy and Caddy of Debian as reverse proxies, configured as their manuals advise.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrontKind {
    /// With the `proxy_set_header` lines of its documentation.
    Nginx,
    /// With `option forwardfor`.
    Haproxy,
    /// `reverse_proxy` alone.
    Caddy,
}

/// A reverse proxy of another maker in front of one upstream; killed when dropped.
pub struct PeerFront {
    address: SocketAddr,
    _process: Process,
}

impl PeerFront {
    /// Starts it on the loopback interface of `host` and returns once it listens.
    ///
    /// # Errors
    /// When it is not unpacked, or does not come up.
    pub fn start(world: &World, host: &Host, kind: FrontKind, upstream: SocketAddr) -> Outcome<Self> {
        let folder = world.fresh_path("front");
        std::fs::create_dir_all(&folder)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, host.free_port()?));
        let config = folder.join("config");
        let shown = folder.display();
        let (text, program, words): (String, _, &[&str]) = match kind {
            FrontKind::Nginx => {
                (nginx(&shown.to_string(), address, upstream), "usr/sbin/nginx", &["-e", "stderr", "-c"])
            }
            FrontKind::Haproxy => (haproxy(address, upstream), "usr/sbin/haproxy", &["-db", "-f"]),
            FrontKind::Caddy => {
                (caddy(address, upstream), "usr/bin/caddy", &["run", "--adapter", "caddyfile", "--config"])
            }
        };
        std::fs::write(&config, text)?;
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut process = world.start(host, name, command(&folder, program, words, &config)?)?;
        eventually("the other proxy listens", || {
            if let Some(status) = process.exited() {
                return Err(Failure::new(format!("it ended with {status}: {}", process.log())));
            }
            host.run(|| TcpStream::connect(address)).doing("connecting to it").map(|_| true)
        })?;
        Ok(Self { address, _process: process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn command(folder: &Path, program: &str, words: &[&str], config: &Path) -> Outcome<std::process::Command> {
    let path = tools::peers_dir()?.join("root").join(program);
    if !path.is_file() {
        return Err(Failure::new(format!("{} is missing; run tests/peers", path.display())));
    }
    let mut command = tools::command(path)?;
    command.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder);
    command.current_dir(folder).args(words).arg(config);
    Ok(command)
}

fn nginx(folder: &str, address: SocketAddr, upstream: SocketAddr) -> String {
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "user root root;\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{folders}\
         access_log off;\nupstream app {{ server {upstream}; keepalive 8; }}\nserver {{\nlisten {address};\nlocation / {{\n\
         proxy_pass http://app;\nproxy_http_version 1.1;\nproxy_set_header Host $http_host;\nproxy_set_header Connection \"\";\n\
         proxy_set_header X-Real-IP $remote_addr;\nproxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto $scheme;\n}}\n}}\n}}\n"
    )
}

fn haproxy(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "defaults\nmode http\noption forwardfor\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\ntimeout http-request 10s\n\
         frontend web\nbind {address}\ndefault_backend app\nbackend app\nserver one {upstream}\n"
    )
}

fn caddy(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{} {{\n\tbind 127.0.0.1\n\treverse_proxy {upstream}\n}}\n",
        address.port()
    )
}
