//! nginx of Debian's package before a LAPI or as a receiver, with a minimal configuration, so that its defaults apply.

use std::time::Duration;

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// A running server; killed when dropped.
pub struct NginxFront {
    url: String,
    port: u16,
    process: Process,
}

impl NginxFront {
    /// Starts it on a host, for the server at `url` (a base address), and returns once it listens. After `timeout`
    /// without data from the server it responds with 504.
    ///
    /// # Errors
    /// When it is not unpacked, or does not come up.
    pub fn start(world: &World, host: &Host, url: &str, timeout: Duration) -> Outcome<Self> {
        let server = format!("location / {{ proxy_pass {url}; proxy_read_timeout {}s; }}", timeout.as_secs());
        Self::start_server(world, host, "", &server)
    }

    /// Starts it on a host with the directives of a `server` block, which listens with these options, such as `ssl`.
    ///
    /// # Errors
    /// When it is not unpacked, or does not come up.
    pub fn start_server(world: &World, host: &Host, options: &str, server: &str) -> Outcome<Self> {
        let folder = world.fresh_path("nginx");
        std::fs::create_dir_all(&folder)?;
        let port = host.free_port()?;
        let shown = folder.display();
        let own_folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {shown}/{kind};\n"))
            .concat();
        let text = format!(
            "user root root;\ndaemon off;\nmaster_process off;\npid {shown}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{own_folders}    \
             access_log off;\n    server {{\n        listen {port} {options};\n        {server}\n    }}\n}}\n"
        );
        let config = folder.join("nginx.conf");
        std::fs::write(&config, text)?;
        let program = tools::peers_dir()?.join("root/usr/sbin/nginx");
        if !program.is_file() {
            return Err(Failure::new(format!("nginx is not in {}; run tests/peers", program.display())));
        }
        let mut command = tools::command(program)?;
        command.arg("-p").arg(&folder).args(["-e", "stderr", "-c"]).arg(&config);
        let mut process = world.start(host, "nginx", command)?;
        let here = (std::net::Ipv4Addr::LOCALHOST, port);
        eventually("the proxy listens", || {
            if let Some(status) = process.exited() {
                return Err(Failure::new(format!("it ended with {status}: {}", process.log())));
            }
            host.run(|| std::net::TcpStream::connect(here)).doing("connecting to it").map(|_| true)
        })?;
        Ok(Self { url: format!("http://{}:{port}/", host.v4()), port, process })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The number of responses that timed out.
    pub fn timeouts(&self) -> usize {
        self.process.log().matches("upstream timed out").count()
    }

    /// Its base address, with a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}
