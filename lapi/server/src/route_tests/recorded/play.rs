//! Sends recorded requests over a connection and reads the responses.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::exchange::{Answer, Exchange};
use super::ids::Ids;
use super::world::Listening;

/// A connection, and what stands for recorded tokens and ids.
pub(super) struct Player<'a> {
    server: &'a Listening,
    connection: TcpStream,
    /// Its address, unless it is 127.0.0.1.
    from: Option<IpAddr>,
    /// Recorded tokens and ours.
    tokens: Vec<(String, String)>,
    pub(super) ids: Ids,
}

impl<'a> Player<'a> {
    pub(super) async fn new(server: &'a Listening) -> Self {
        let connection = server.connect(None).await;
        Self { server, connection, from: None, tokens: Vec::new(), ids: Ids::default() }
    }

    /// Sends the request at its time and returns the response.
    pub(super) async fn play(&mut self, exchange: &Exchange) -> Answer {
        self.server.set(exchange.at);
        if exchange.from != self.from {
            self.from = exchange.from;
            self.connection = self.server.connect(self.from).await;
        }
        let mut request = exchange.bytes();
        for (recorded, ours) in &self.tokens {
            request = replaced(&request, recorded.as_bytes(), ours.as_bytes());
        }
        if let Some((path, ours)) = exchange.path().and_then(|path| Some((path, self.ids.path(path)?))) {
            request = replaced(&request, format!(" {path} ").as_bytes(), format!(" {ours} ").as_bytes());
        }
        let answer = loop {
            // A body that is too long is refused before all of it is sent.
            let _ = self.connection.write_all(&request).await;
            match read_answer(&mut self.connection, exchange).await {
                Some(answer) => break answer,
                // The server closed the connection after it had refused the last body.
                None => self.connection = self.server.connect(self.from).await,
            }
        };
        if let (Some(recorded), Some(ours)) = (token(&exchange.answer.body), token(&answer.body)) {
            self.tokens.push((recorded, ours));
        }
        if exchange.line() == "POST /v1/alerts" {
            self.ids.posted(&exchange.answer, &answer);
        }
        if answer.closed {
            self.connection = self.server.connect(self.from).await;
        }
        answer
    }
}

/// The token of a login's response.
fn token(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body.get("token")?.as_str()?.to_owned())
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|part| part == old) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    result.extend_from_slice(rest);
    result
}

/// `None` when the connection has ended before the response.
async fn read_answer(connection: &mut TcpStream, exchange: &Exchange) -> Option<Answer> {
    let mut input = Input { connection, bytes: Vec::new(), exchange };
    if input.connection.read_buf(&mut input.bytes).await.unwrap_or_default() == 0 {
        return None;
    }
    let head = String::from_utf8(input.until(b"\r\n\r\n").await).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_owned(), value.to_owned())
    };
    let mut headers: Vec<(String, String)> = lines.map(header).collect();
    headers.retain(|(name, _)| name != "date");
    let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
    let body = if exchange.is_head() || status == 204 {
        Vec::new()
    } else if value("transfer-encoding") == Some("chunked") {
        input.chunks().await
    } else {
        let length = value("content-length").expect("a length").parse().unwrap();
        input.take(length).await
    };
    let closed = value("connection") == Some("close");
    Some(Answer { status, headers, body: String::from_utf8(body).unwrap(), closed })
}

struct Input<'a> {
    connection: &'a mut TcpStream,
    bytes: Vec<u8>,
    exchange: &'a Exchange,
}

impl Input<'_> {
    async fn more(&mut self) {
        let read = self.connection.read_buf(&mut self.bytes).await.unwrap();
        let exchange = self.exchange;
        assert!(read > 0, "the connection ended within the response to #{} {}", exchange.n, exchange.line());
    }

    /// Everything up to and including these bytes.
    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|part| part == end) {
                return self.bytes.drain(..at + end.len()).collect();
            }
            self.more().await;
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.bytes.len() < length {
            self.more().await;
        }
        self.bytes.drain(..length).collect()
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await).unwrap();
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let chunk = self.take(length + 2).await;
            if length == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }
}
