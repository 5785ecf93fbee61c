//! An upstream that records what it receives, byte for byte, and answers each request it reads.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::wait::eventually;
use crate::world::World;

/// A request as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// Method, target and version.
    pub line: String,
    /// Names in lower case, values as received, in order.
    pub fields: Vec<(String, String)>,
    /// Without the framing of chunks.
    pub body: Vec<u8>,
    /// The connection ended within the request, or the rest of it is malformed.
    pub broken: bool,
}

impl RawRequest {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

#[derive(Default)]
struct Record {
    requests: Vec<RawRequest>,
    /// Connections within a request.
    unfinished: usize,
}

/// A recording HTTP/1.1 server. It reads strictly, by the letter of RFC 9112, so it shows requests where a strict
/// upstream would see them. It ends with the program.
pub struct RawUpstream {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl World {
    /// Starts a recording upstream on a loopback port of `host`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn raw_upstream(&self, host: &Host) -> Outcome<RawUpstream> {
        let listener =
            host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).doing("binding the upstream")?;
        let address = listener.local_addr()?;
        let record: Arc<Mutex<Record>> = Arc::default();
        let kept = Arc::clone(&record);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(RawUpstream { address, record })
    }
}

impl RawUpstream {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it received since the last call, once no request is under way.
    ///
    /// # Errors
    /// When a request does not end.
    pub fn take(&self) -> Outcome<Vec<RawRequest>> {
        let mut taken = Vec::new();
        eventually("requests at the upstream end", || {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            if record.unfinished == 0 {
                taken = std::mem::take(&mut record.requests);
            }
            record.unfinished == 0
        })?;
        Ok(taken)
    }
}

fn serve(mut stream: TcpStream, record: &Mutex<Record>) {
    // Longer than any pause of a story; threads of broken connections end then.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(600)));
    let lock = || record.lock().unwrap_or_else(PoisonError::into_inner);
    let mut unread = Vec::new();
    loop {
        let mut within = false;
        let read = read_request(&mut stream, &mut unread, || {
            within = true;
            lock().unfinished += 1;
        });
        let Some(request) = read else { return };
        let (broken, head) = (request.broken, request.line.starts_with("HEAD "));
        {
            let mut record = lock();
            record.requests.push(request);
            record.unfinished -= usize::from(within);
        }
        let body = if head { "" } else { "ok" };
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{body}");
        if broken || stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads one request; `begun` is called with its first byte. `None` when the connection ends before.
fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>, begun: impl FnOnce()) -> Option<RawRequest> {
    if unread.is_empty() && !more(stream, unread) {
        return None;
    }
    begun();
    let mut broken = false;
    let end = loop {
        if let Some(at) = find(unread, b"\r\n\r\n") {
            break at + 4;
        }
        if !more(stream, unread) {
            broken = true;
            break unread.len();
        }
    };
    let head: Vec<u8> = unread.drain(..end).collect();
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default().to_owned();
    let fields: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        .collect();
    let mut request = RawRequest { line, fields, body: Vec::new(), broken };
    if !broken {
        request.broken = read_body(stream, unread, &mut request).is_none();
    }
    Some(request)
}

fn read_body(stream: &mut TcpStream, unread: &mut Vec<u8>, request: &mut RawRequest) -> Option<()> {
    if !request.values("transfer-encoding").is_empty() {
        loop {
            let line = take_line(stream, unread)?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                // Trailers end with an empty line.
                while !take_line(stream, unread)?.is_empty() {}
                return Some(());
            }
            request.body.extend(take_bytes(stream, unread, size)?);
            take_line(stream, unread)?.is_empty().then_some(())?;
        }
    }
    if let Some(length) = request.values("content-length").first() {
        let length = length.parse().ok()?;
        request.body = take_bytes(stream, unread, length)?;
    }
    Some(())
}

fn take_line(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    let at = loop {
        match find(unread, b"\r\n") {
            Some(at) => break at,
            None => more(stream, unread).then_some(())?,
        }
    };
    let line: Vec<u8> = unread.drain(..at + 2).take(at).collect();
    Some(String::from_utf8_lossy(&line).into_owned())
}

fn take_bytes(stream: &mut TcpStream, unread: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while unread.len() < count {
        more(stream, unread).then_some(())?;
    }
    Some(unread.drain(..count).collect())
}

fn more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(some) => {
            unread.extend_from_slice(&buffer[..some]);
            true
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
