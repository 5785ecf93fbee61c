//! curl and openssl as TLS clients, as visitors have them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::tools;

/// A visitor of a TLS site, who trusts one authority.
#[derive(Clone)]
pub struct TlsVisitor {
    host: Host,
    address: SocketAddr,
    ca: PathBuf,
}

/// What curl reports.
#[derive(Debug)]
pub struct CurlReply {
    /// The statuses, one for each request; 0 when there was no response.
    pub statuses: Vec<u16>,
    /// New connections, in all.
    pub connections: usize,
    /// Bodies, one after the other.
    pub body: String,
    /// What went wrong.
    pub error: String,
}

impl TlsVisitor {
    /// On `host`, for the site at `address`.
    pub fn new(host: &Host, address: SocketAddr, ca: &Path) -> Self {
        Self { host: host.clone(), address, ca: ca.to_owned() }
    }

    /// Runs curl for `https://NAME/PATH`, where the path may be a pattern such as `[1-9]`, and more arguments. A
    /// certificate that does not verify is an error of curl.
    ///
    /// # Errors
    /// When curl cannot be started.
    pub fn curl(&self, name: &str, path: &str, more: &[&str]) -> Outcome<CurlReply> {
        const MARK: &str = "curl-reports";
        let (ip, port) = (self.address.ip(), self.address.port());
        let mut command = tools::command("curl")?;
        command.args(["-sS", "--max-time", "60", "--resolve", &format!("{name}:{port}:{ip}"), "--cacert"]);
        command.arg(&self.ca).args(["-w", &format!("\n{MARK} %{{http_code}} %{{num_connects}}\n")]);
        command.args(more).arg(format!("https://{name}:{port}{path}"));
        let output = self.host.run(|| command.output()).doing("running curl")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (reports, bodies): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(MARK));
        let numbers: Vec<Vec<usize>> = reports
            .iter()
            .map(|line| line.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect())
            .collect();
        Ok(CurlReply {
            statuses: numbers.iter().filter_map(|line| u16::try_from(*line.first()?).ok()).collect(),
            connections: numbers.iter().filter_map(|line| line.get(1)).sum(),
            body: bodies.join("\n"),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The output of `openssl s_client`, whatever became of the handshake; without a name, none is sent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn handshake(&self, name: Option<&str>, more: &[&str]) -> Outcome<String> {
        let mut command = tools::command("openssl")?;
        command.args(["s_client", "-connect", &self.address.to_string(), "-CAfile"]).arg(&self.ca);
        match name {
            Some(name) => command.args(["-servername", name, "-verify_hostname", name]),
            None => command.arg("-noservername"),
        };
        command.args(more);
        let output = self.host.run(|| command.output()).doing("running openssl")?;
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// The certificate that a client which asks for `name` is shown, as base64; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn certificate(&self, name: Option<&str>, more: &[&str]) -> Outcome<String> {
        Ok(base64_of_first(&self.handshake(name, more)?))
    }
}

/// The first certificate of a PEM text, as base64 without line ends, to be compared.
pub fn base64_of_first(pem: &str) -> String {
    let begin = pem.split_once("-----BEGIN CERTIFICATE-----").map_or("", |(_, rest)| rest);
    begin.split("-----END").next().unwrap_or_default().split_whitespace().collect()
}
