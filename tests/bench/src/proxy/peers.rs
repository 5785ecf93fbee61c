//! Starts the origin and the peers from the configurations in `templates/`.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};

use palisade_e2e::{Doing, Failure, Outcome, Process, eventually_within, tools};

use super::front::{Front, Fronts, LOAD_LIMIT, Ports, UPSTREAM_CONNECTIONS};
use super::shape::Body;

const ORIGIN: &str = include_str!("templates/origin.conf");
const NGINX: &str = include_str!("templates/nginx.conf");
const HAPROXY: &str = include_str!("templates/haproxy.cfg");
const CADDY: &str = include_str!("templates/Caddyfile");

/// A configuration, and the folder it lies in.
struct Written {
    folder: PathBuf,
    file: PathBuf,
}

impl Fronts<'_> {
    /// Serves the bodies on the load's core.
    pub(super) fn start_origin(&self) -> Outcome<Process> {
        let ports = Ports { plain: self.origin, h2c: 0, tls: 0 };
        let written = self.write("origin.conf", ORIGIN, ports, &[])?;
        for body in Body::ALL {
            std::fs::write(written.folder.join(&body.path()[1..]), vec![b'x'; body.bytes()])?;
        }
        let mut process = self.start_nginx(&written)?;
        wait_until_listening(&mut process, self.origin)?;
        Ok(process)
    }

    pub(super) fn nginx(&self) -> Outcome<Front> {
        self.nginx_with("nginx", "", "")
    }

    /// nginx that refuses the addresses of a list, one `ADDRESS 1;` in each line, in `X-Forwarded-For`.
    pub(super) fn nginx_geo(&self, list: &Path) -> Outcome<Front> {
        let geo = format!("geo $banned {{ proxy 127.0.0.1; default 0; include {}; }}", list.display());
        self.nginx_with("nginx geo", &geo, "if ($banned) { return 403; }")
    }

    fn nginx_with(&self, name: &'static str, geo: &str, refuse: &str) -> Outcome<Front> {
        let ports = Ports::separate(self.world)?;
        let written = self.write("nginx.conf", NGINX, ports, &[("GEO", geo), ("REFUSE", refuse)])?;
        self.up(name, ports, || self.start_nginx(&written))
    }

    pub(super) fn haproxy(&self) -> Outcome<Front> {
        self.haproxy_with("HAProxy", "")
    }

    /// HAProxy that refuses the addresses of a list, one in each line, in `X-Forwarded-For`.
    pub(super) fn haproxy_acl(&self, list: &Path) -> Outcome<Front> {
        let refuse =
            format!("http-request deny if {{ req.hdr_ip(x-forwarded-for,-1) -f {} }}", list.display());
        self.haproxy_with("HAProxy ACL", &refuse)
    }

    fn haproxy_with(&self, name: &'static str, refuse: &str) -> Outcome<Front> {
        let ports = Ports::separate(self.world)?;
        let pem = self.world.fresh_path("both.pem");
        let read = |path| std::fs::read(path).doing("reading the certificate");
        std::fs::write(&pem, [read(&self.certificate.cert)?, read(&self.certificate.key)?].concat())?;
        let more = [("PEM", &*pem.to_string_lossy()), ("REFUSE", refuse)];
        let written = self.write("haproxy.cfg", HAPROXY, ports, &more)?;
        let mut command = tools::command(tools::peers_dir()?.join("root/usr/sbin/haproxy"))?;
        command.arg("-db").arg("-f").arg(&written.file);
        self.up(name, ports, || self.world.start(&self.world.router, "haproxy", command))
    }

    pub(super) fn caddy(&self) -> Outcome<Front> {
        let ports = Ports::separate(self.world)?;
        let ports = Ports { h2c: ports.plain, ..ports };
        let written = self.write("Caddyfile", CADDY, ports, &[])?;
        let mut command = tools::command(tools::peer("caddy")?)?;
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&written.file);
        command.env("GOMAXPROCS", "1").env("HOME", &written.folder);
        self.up("Caddy", ports, || self.world.start(&self.world.router, "caddy", command))
    }

    /// Fills a template in.
    fn write(&self, file: &str, template: &str, ports: Ports, more: &[(&str, &str)]) -> Outcome<Written> {
        let folder = self.world.fresh_path(file);
        std::fs::create_dir_all(&folder)?;
        let mut text = template.to_owned();
        let mut fill = |name: &str, value: &str| text = text.replace(&format!("@{name}@"), value);
        fill("FOLDER", &folder.to_string_lossy());
        fill("ORIGIN", &self.origin.to_string());
        fill("IDLE", &UPSTREAM_CONNECTIONS.to_string());
        fill("CERT", &self.certificate.cert.to_string_lossy());
        fill("KEY", &self.certificate.key.to_string_lossy());
        for (name, port) in [("PLAIN", ports.plain), ("H2C", ports.h2c), ("TLS", ports.tls)] {
            fill(name, &port.to_string());
        }
        more.iter().for_each(|(name, value)| fill(name, value));
        let file = folder.join(file);
        std::fs::write(&file, text)?;
        Ok(Written { folder, file })
    }

    fn start_nginx(&self, written: &Written) -> Outcome<Process> {
        let program = tools::peers_dir()?.join("root/usr/sbin/nginx");
        if !program.is_file() {
            return Err(Failure::new(format!("nginx is not in {}; run tests/peers", program.display())));
        }
        let mut command = tools::command(program)?;
        command.arg("-p").arg(&written.folder).args(["-e", "stderr", "-c"]).arg(&written.file);
        self.world.start(&self.world.router, "nginx", command)
    }

    /// Starts a peer on the proxy's core.
    fn up(
        &self,
        name: &'static str,
        ports: Ports,
        start: impl FnOnce() -> Outcome<Process>,
    ) -> Outcome<Front> {
        let mut process = self.cores.on_proxy_core(start)?;
        wait_until_listening(&mut process, ports.tls).doing(name)?;
        Ok(Front::new(name, process.id(), ports, process))
    }
}

/// Waits for a listening port on the loopback.
fn wait_until_listening(process: &mut Process, port: u16) -> Outcome {
    eventually_within(LOAD_LIMIT, "it listens", || {
        process.exited().is_some() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    })?;
    match process.exited() {
        Some(status) => Err(Failure::new(format!("it ended with {status}: {}", process.log()))),
        None => Ok(()),
    }
}
