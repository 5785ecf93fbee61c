//! Sends the bytes of a case, and sums up what client and upstream saw.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use palisade_e2e::{Doing as _, Outcome, RawRequest, RawUpstream};

/// Follows each case on its connection: it is answered, and the connection closed, if the proxy reads the case as sent.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// Fields that proxies write themselves. They are shown only if they have something of the client's.
const OWN: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "via",
    "accept-encoding",
    "user-agent",
    "x-request-id",
];

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// By the client; empty when the connection was closed without a response.
    pub(super) statuses: Vec<u16>,
    /// By the upstream.
    pub(super) requests: Vec<RawRequest>,
    /// The connection was neither closed nor answered in full: the last request was taken for something else.
    pub(super) stuck: bool,
}

/// Sends a case through a proxy.
pub(super) fn exchange(front: SocketAddr, upstream: &RawUpstream, bytes: &[u8]) -> Outcome<Seen> {
    let mut stream = TcpStream::connect(front).doing("connecting to the proxy")?;
    // A proxy that waits for more than it got is stuck; those that answer do it at once.
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A proxy may have answered and closed before it has read everything.
    let _ = stream.write_all(&[bytes, LAST].concat());
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    let stuck = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break false,
            Ok(some) => answer.extend_from_slice(&buffer[..some]),
            Err(error) => {
                break matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            }
        }
    };
    drop(stream);
    Ok(Seen { statuses: statuses(&answer), requests: upstream.take()?, stuck })
}

/// The statuses of all responses; no body of a proxy or of the upstream has a status line.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12));
    lines.filter_map(|status| status.parse().ok()).collect()
}

impl Seen {
    /// The requests of the case that the upstream got in full. It acts on no others, and when a proxy breaks off is a
    /// matter of timing.
    pub(super) fn complete(&self) -> impl Iterator<Item = &RawRequest> {
        self.requests.iter().filter(|request| !is_last(request) && !request.broken)
    }
}

fn is_last(request: &RawRequest) -> bool {
    request.line.starts_with("GET /last ") && request.body.is_empty()
}

/// A refused case is the status of its refusal, whether or not the connection goes on.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(status @ 400..), None) = (self.statuses.first(), self.complete().next()) {
            return write!(f, "{status}");
        }
        let statuses: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
        f.write_str(if statuses.is_empty() { "closed" } else { "" })?;
        f.write_str(&statuses.join(" "))?;
        for request in self.requests.iter().filter(|request| !request.broken) {
            f.write_str(" | ")?;
            if is_last(request) { f.write_str("last")? } else { show(request, f)? }
        }
        f.write_str(if self.stuck { " | stuck" } else { "" })
    }
}

/// Request line and host, the fields the proxy did not write, the body.
fn show(request: &RawRequest, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let line = request.line.trim_end_matches(" HTTP/1.1");
    let short: String = line.chars().take(60).collect();
    write!(f, "{} @{}", short.escape_debug(), request.values("host").join("+"))?;
    let mut fields: Vec<String> = request
        .fields
        .iter()
        .filter(|(name, value)| !OWN.contains(&name.as_str()) || is_foreign(name, value))
        .map(|(name, value)| format!(" {name}={}", value.chars().take(24).collect::<String>().escape_debug()))
        .collect();
    fields.sort();
    fields.truncate(6);
    f.write_str(&fields.concat())?;
    if !request.body.is_empty() {
        write!(
            f,
            " body={}",
            String::from_utf8_lossy(&request.body).chars().take(16).collect::<String>().escape_debug()
        )?;
    }
    Ok(())
}

/// Whether a field that proxies write has something of the client's.
fn is_foreign(name: &str, value: &str) -> bool {
    let usual = ["close", "keep-alive", ""];
    value.contains("192.0.2.66")
        || value.contains("evil") && name != "host"
        || name == "connection" && !usual.contains(&value.to_ascii_lowercase().as_str())
        || name == "transfer-encoding" && value != "chunked"
}
