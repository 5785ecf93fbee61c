//! The few HTTP requests the harness itself makes; HTTP/1.0, so that no answer comes in chunks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::outcome::{Doing, Outcome};

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Makes one request on a connection of its own.
pub(crate) fn request(
    to: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Outcome<Answer> {
    let mut stream =
        TcpStream::connect_timeout(&to, Duration::from_secs(5)).doing(format_args!("{line} at {to}"))?;
    // Long enough for a server that inserts tens of thousands of decisions before it answers.
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut head = format!("{line} HTTP/1.0\r\nHost: {to}\r\nUser-Agent: palisade-e2e/v0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.unwrap_or_default())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).doing(format_args!("reading the answer to {line}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").doing(format_args!("{line}: no HTTP answer"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer { status: status.doing(format_args!("{line}: no status in {head:?}"))?, body: body.to_owned() })
}
