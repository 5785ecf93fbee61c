//! A local stand-in for a service of lists, and a plain sender of requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use palisade_cache::{Batch, Decision, Ledger, Mode, Policy, Reason, Snapshot, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use super::exchange::{Answer, Call, Exchange, failed};
use crate::config::{BodyConfig, HttpConfig, TemplateSource};
use crate::filter::Takes;
use crate::sink::{Failure, FailureKind};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(known, _)| known == name);
        let found = named.next().map(|(_, value)| value.as_str());
        assert!(named.next().is_none(), "{name} comes twice");
        found
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// What the stand-in does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The head and half of the body.
    Half(String),
    /// Nothing, until the client gives up.
    Hang,
    Close,
}

pub(crate) fn json(status: u16, body: &serde_json::Value) -> Act {
    Act::Answer(status, Vec::new(), body.to_string())
}

pub(crate) struct StandIn {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    _server: JoinSet<()>,
}

impl StandIn {
    pub(crate) async fn start(mut act: impl FnMut(&Seen) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(request) = read_request(&mut stream).await else { continue };
                noted.lock().unwrap().push(request.clone());
                let (head, body) = match act(&request) {
                    Act::Answer(status, headers, body) => {
                        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                        for (name, value) in headers {
                            head += &format!("{name}: {value}\r\n");
                        }
                        (head, body)
                    }
                    Act::Half(body) => {
                        let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n", body.len());
                        (head, body[..body.len() / 2].to_owned())
                    }
                    Act::Hang => {
                        open.push(stream);
                        continue;
                    }
                    Act::Close => continue,
                };
                let text = format!("{head}Connection: close\r\n\r\n{body}");
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, seen, _server: server }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let mut words = lines.next()?.split(' ').map(str::to_owned);
            let (method, path) = (words.next()?, words.next()?);
            let headers: Vec<_> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(Seen { method, path, headers, body: bytes[end + 4..][..length].to_vec() });
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend(&piece[..read]),
        }
    }
}

/// Sends a request over a connection of its own.
#[derive(Debug, Default)]
pub(crate) struct PlainExchange {
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Exchange for PlainExchange {
    async fn call(&mut self, call: Call) -> Result<Answer, Failure> {
        let unknown = |reason: String| failed(FailureKind::Retry, reason, None);
        let exchange = tokio::time::timeout(Duration::from_secs(2), self.exchange(call)).await;
        exchange.map_err(|_| unknown("timeout".to_owned()))?.map_err(|error| unknown(error.to_string()))
    }
}

impl PlainExchange {
    async fn exchange(&self, call: Call) -> std::io::Result<Answer> {
        let authority = format!("{}:{}", call.url.host_str().unwrap(), call.url.port().unwrap());
        let mut stream = TcpStream::connect(&authority).await?;
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {authority}\r\n", call.method, call.url.path());
        for (name, value) in &call.headers {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", call.body.len());
        stream.write_all(&[head.as_bytes(), &call.body].concat()).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        parse_response(&response).ok_or_else(|| std::io::Error::other("half a response"))
    }
}

fn parse_response(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse::<u16>().ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    let body = Bytes::copy_from_slice(&bytes[end + 4..]);
    let length: usize = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    (body.len() == length).then_some(Answer { status: StatusCode::from_u16(status).ok()?, headers, body })
}

/// A snapshot with a decision on each value: prefix or `Scope:value`, and the second it ends.
pub(crate) fn snapshot(decisions: &[(&str, i64)]) -> Snapshot {
    let reasoned: Vec<_> = decisions.iter().map(|&(value, until)| (value, "ban", until)).collect();
    snapshot_of(&reasoned)
}

/// The same with remediations.
pub(crate) fn snapshot_of(decisions: &[(&str, &str, i64)]) -> Snapshot {
    let mut ledger = Ledger::new(Policy::default(), 0);
    let mut batch = Batch::new();
    for (id, &(value, remediation, until)) in decisions.iter().enumerate() {
        let reason = Reason { remediation, origin: "cscli", scenario: "manual" };
        let until = Timestamp::from_millis(until * 1000);
        match value.parse() {
            Ok(net) => batch.announce_net(net, reason, until, id as i64),
            Err(_) => {
                let (scope, value) = value.split_once(':').unwrap();
                batch.announce_name(scope, value, reason, until, id as i64);
            }
        }
    }
    ledger.apply(Mode::Everything, batch);
    ledger.snapshot()
}

pub(crate) fn all() -> Takes {
    Arc::new(|_: &Decision<'_>| true)
}

pub(crate) fn http_config(url: Url) -> Arc<HttpConfig> {
    Arc::new(HttpConfig {
        url,
        method: Method::POST,
        headers: Vec::new(),
        body: BodyConfig {
            template: TemplateSource::Ready("json".to_owned()),
            content_type: None,
            options: Default::default(),
        },
        auth: Default::default(),
        tls: Default::default(),
        allowed_addresses: Default::default(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
    })
}
