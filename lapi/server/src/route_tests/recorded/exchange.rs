//! Reads a recording: one exchange per line.

use std::net::IpAddr;

use palisade_wire::UnixMillis;
use serde::Deserialize;

/// A request and the recorded response.
#[derive(Debug, Deserialize)]
pub(super) struct Exchange {
    pub(super) n: usize,
    /// When it was requested.
    #[serde(deserialize_with = "time")]
    pub(super) at: UnixMillis,
    /// The client's address, unless it is 127.0.0.1.
    #[serde(default)]
    pub(super) from: Option<IpAddr>,
    /// Its bytes, as Latin-1.
    request: String,
    /// The rest of a long request: texts, and how often each is repeated.
    #[serde(default)]
    continued: Vec<(String, usize)>,
    pub(super) answer: Answer,
}

/// A response.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Without `Date`.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// Whether the server ended the connection.
    pub(super) closed: bool,
}

impl Exchange {
    /// The bytes of the request.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let byte = |c| u8::try_from(u32::from(c)).expect("requests are recorded as Latin-1");
        let rest = self.continued.iter().map(|(text, times)| text.repeat(*times));
        let whole: String = std::iter::once(self.request.clone()).chain(rest).collect();
        whole.chars().map(byte).collect()
    }

    /// Its method and path with the query.
    pub(super) fn line(&self) -> &str {
        let line = self.request.lines().next().unwrap_or_default();
        line.strip_suffix(" HTTP/1.1").unwrap_or(line)
    }

    /// The path without the query.
    pub(super) fn path(&self) -> Option<&str> {
        self.line().split(' ').nth(1)
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.starts_with("HEAD ")
    }

    pub(super) fn body(&self) -> &str {
        self.request.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<UnixMillis, D::Error> {
    let text = String::deserialize(from)?;
    UnixMillis::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom(text))
}

/// The exchanges of a group, in order.
pub(super) fn read(group: &str) -> Vec<Exchange> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lapi-1.7.8");
    let text = std::fs::read_to_string(format!("{folder}/{group}.jsonl")).unwrap();
    let exchanges: Vec<Exchange> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(exchanges.iter().enumerate().all(|(n, exchange)| exchange.n == n), "{group} has gaps");
    exchanges
}
