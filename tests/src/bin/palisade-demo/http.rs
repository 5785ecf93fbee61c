//! A small HTTP/1.1 server: the services behind the doors, and the receiver of webhooks.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use palisade_e2e::{Doing as _, Host, Outcome};

/// More than any head or body of the demonstration has.
const MOST: u64 = 1 << 20;
/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_secs(120);

pub(crate) struct Request {
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// The first header of this (lower-case) name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Response {
    /// Code and phrase.
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// Serves on a host until the program ends.
pub(crate) fn serve(
    host: &Host,
    address: SocketAddr,
    respond: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> Outcome {
    let listener = host
        .run(|| TcpListener::bind(address))
        .doing(format_args!("listening at {address} on {}", host.name()))?;
    let respond = Arc::new(respond);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let respond = Arc::clone(&respond);
            std::thread::spawn(move || connection(&stream, &*respond));
        }
    });
    Ok(())
}

/// Answers the requests of one connection; `None` at its end, and when it breaks.
fn connection(stream: &TcpStream, respond: &dyn Fn(&Request) -> Response) -> Option<()> {
    stream.set_read_timeout(Some(IDLE)).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let response = respond(&read_request(&mut reader)?);
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            response.status,
            response.content_type,
            response.body.len()
        );
        let mut writer = stream;
        writer.write_all((head + &response.body).as_bytes()).ok()?;
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut bounded = reader.take(MOST);
    let mut line = String::new();
    bounded.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        bounded.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { headers, body: String::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    bounded.take(length).read_to_end(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}
