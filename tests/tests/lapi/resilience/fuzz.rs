//! Invented and corrupted requests on every route: each gets a response, and every error has a message.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use fastrand::Rng;
use palisade_e2e::{Doing as _, Failure, HttpClient, LapiProcess, Outcome, Setup, story_within};
use serde_json::json;

use super::bystander::Bystander;
use super::{KEY, bans, start};

const REQUESTS: usize = 6_000;
const SEED: u64 = 0xf022;

const METHODS: &[&str] = &["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"];
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/health"),
    ("POST", "/v1/watchers"),
    ("POST", "/v1/watchers/login"),
    ("GET", "/v1/refresh_token"),
    ("GET", "/v1/heartbeat"),
    ("POST", "/v1/alerts"),
    ("GET", "/v1/alerts"),
    ("DELETE", "/v1/alerts"),
    ("GET", "/v1/alerts/1"),
    ("DELETE", "/v1/alerts/7"),
    ("DELETE", "/v1/decisions"),
    ("DELETE", "/v1/decisions/1"),
    ("GET", "/v1/decisions"),
    ("GET", "/v1/decisions/stream"),
    ("POST", "/v1/usage-metrics"),
    ("GET", "/v1/allowlists"),
    ("GET", "/v1/allowlists/mine"),
    ("GET", "/v1/allowlists/check/192.0.2.1"),
    ("POST", "/v1/allowlists/check"),
];
const PARAMETERS: &[&str] = &[
    "startup",
    "scopes",
    "scope",
    "origins",
    "origin",
    "scenarios_containing",
    "scenarios_not_containing",
    "value",
    "type",
    "ip",
    "range",
    "contains",
    "simulated",
    "dedup",
    "offset",
    "limit",
    "id_gt",
    "since",
    "until",
    "created_before",
    "decision_type",
    "include_capi",
    "has_active_decision",
    "kind",
    "sort",
    "with_decisions",
    "uuid",
    "with_content",
    "scenario",
    "colour",
];
const VALUES: &[&str] = &[
    "true",
    "false",
    "True",
    "",
    "0",
    "1",
    "-1",
    "9223372036854775808",
    "99999999999999999999",
    "1h",
    "-1h",
    "1d",
    "1e9h",
    "9999999999999h",
    "192.0.2.1",
    "192.0.2.0/24",
    "192.0.2.0/33",
    "::",
    "::ffff:192.0.2.1/120",
    "2001:db8::/129",
    "Ip",
    "ip,range,,",
    "%00",
    "%ff%fe",
    "%",
    "%zz",
    "+",
    "%2F..%2F",
    "a,b,c",
    "ASC",
    "%F0%9F%92%A9",
    "00000000-0000-4000-8000-000000000000",
    "*",
    "'; DROP TABLE alerts; --",
    "%27%20OR%201=1",
];
/// Pieces that go into bodies.
const PIECES: &[&str] = &[
    "null",
    "[]",
    "{}",
    "[[[[[[[[",
    "{\"a\":",
    "1e999",
    "-0",
    "1.5",
    "9223372036854775808",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"4h\"",
    "\"-1d\"",
    "\"192.0.2.0/24\"",
    "true",
    "\"\"",
    ",",
    ":",
    "\"",
    "\\",
    "\u{feff}",
    "//",
    "\n",
];

#[test]
fn made_up_requests_get_clear_answers() -> Outcome {
    story_within(Duration::from_secs(300), |world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let bystander = Bystander::start(&lapi)?;
        let mut random = Rng::with_seed(SEED);
        let mut caller = lapi.http_client().with_timeout(Duration::from_secs(20));
        for n in 0..REQUESTS {
            let made = Made::up(&mut random, &token);
            let result = send(&mut caller, &made);
            result.doing(format_args!("request {n} of seed {SEED:#x}: {made:?}"))?;
            if lapi.process()?.exited().is_some() {
                return Err(Failure::new(format!(
                    "request {n} of seed {SEED:#x} ended the server: {made:?}"
                )));
            }
        }
        bystander.unharmed()?;
        assert!(!lapi.process()?.log().contains("panicked"), "a handler panicked");
        Ok(())
    })
}

#[test]
fn bytes_that_are_no_request_are_refused() -> Outcome {
    story_within(Duration::from_secs(180), |world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let bystander = Bystander::start(&lapi)?;
        let mut random = Rng::with_seed(SEED);
        for _ in 0..300 {
            noise(&lapi, &mut random, &token)?;
        }
        let long = format!(
            "GET /v1/decisions?value={} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\n\r\n",
            "a".repeat(1 << 20)
        );
        let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-More: much\r\n".repeat(100_000));
        for text in [long, many] {
            let mut stream = lapi.http_client().with_timeout(Duration::from_secs(20)).connect()?;
            let _ = stream.write_all(text.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
        bystander.unharmed()?;
        assert!(!lapi.process()?.log().contains("panicked"), "a handler panicked");
        Ok(())
    })
}

/// A request that was thrown up or spoilt.
struct Made {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let shown: String = body.chars().take(600).collect();
        write!(f, "{} {} {:?} {shown:?} ({} bytes)", self.method, self.path, self.headers, body.len())
    }
}

impl Made {
    fn up(random: &mut Rng, token: &str) -> Self {
        let (mut method, path) = ROUTES[random.usize(..ROUTES.len())];
        if random.u8(..20) == 0 {
            method = METHODS[random.usize(..METHODS.len())];
        }
        let mut path = path.to_owned();
        if random.u8(..10) == 0 {
            path.push_str(
                ["/", "/1", "/first", "/-1", "/9999999999999999999", "/%2e%2e", "//", "/%ff"]
                    [random.usize(..8)],
            );
        }
        for at in 0..random.usize(..4) {
            path.push(if at == 0 { '?' } else { '&' });
            path.push_str(PARAMETERS[random.usize(..PARAMETERS.len())]);
            if random.u8(..8) != 0 {
                path.push('=');
                path.push_str(&VALUES[random.usize(..VALUES.len())].replace(' ', "%20"));
            }
        }
        let mut headers = vec![("User-Agent", "crowdsec/v1.4.6".to_owned())];
        match random.u8(..12) {
            0 => {}
            1 => headers.push((
                "Authorization",
                spoilt(random, token.as_bytes())
                    .iter()
                    .map(|byte| char::from(byte & 0x7f))
                    .filter(|c| !c.is_control())
                    .collect(),
            )),
            2 => headers.push(("X-Api-Key", "x".repeat(random.usize(..300)))),
            _ => headers.extend([("Authorization", token.to_owned()), ("X-Api-Key", KEY.to_owned())]),
        }
        if random.u8(..20) == 0 {
            headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        if random.u8(..30) == 0 {
            headers.push(("X-Forwarded-For", "zz, 192.0.2.1".to_owned()));
        }
        let body = (method == "POST" || random.u8(..10) == 0).then(|| body(random, &path));
        Self { method, path, headers, body }
    }
}

/// Something like what the route takes, mostly spoilt.
fn body(random: &mut Rng, path: &str) -> Vec<u8> {
    let good = if path.contains("alerts") {
        bans(&[format!("10.0.{}.{}", random.u8(..), random.u8(..))], "made up").to_string()
    } else if path.contains("watchers") {
        json!({ "machine_id": format!("m{}", random.u16(..)), "password": "p", "scenarios": ["a"] })
            .to_string()
    } else if path.contains("usage") {
        json!({ "remediation_components": [{
            "version": "v1", "utc_startup_timestamp": 1, "type": "t", "feature_flags": [],
            "os": { "name": "debian", "version": "12" },
            "metrics": [{ "meta": { "window_size_seconds": 1, "utc_now_timestamp": 2 },
                "items": [{ "name": "dropped", "value": 1.5, "unit": "packet", "labels": { "origin": "CAPI" } }] }],
        }] })
        .to_string()
    } else {
        json!({ "targets": ["192.0.2.1", "10.0.0.0/8"] }).to_string()
    };
    match random.u8(..10) {
        0 => good.into_bytes(),
        1 => (0..random.usize(..200)).map(|_| random.u8(..)).collect(),
        2 => vec![b'['; random.usize(..100_000)],
        _ => spoilt(random, good.as_bytes()),
    }
}

/// The same with a few changes: bytes flipped, deleted, inserted, repeated.
fn spoilt(random: &mut Rng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..random.usize(1..4) {
        if bytes.is_empty() {
            break;
        }
        let (a, b) = (random.usize(..bytes.len()), random.usize(..bytes.len()));
        let (from, to) = (a.min(b), a.max(b));
        match random.u8(..6) {
            0 => bytes[from] ^= 1 << random.u8(..8),
            1 => drop(bytes.drain(from..to.min(from + 20))),
            2 => bytes.truncate(to),
            3 => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(from..from, piece.bytes());
            }
            4 => {
                // A value by another of the wrong kind.
                if let Some(colon) =
                    bytes[from..].iter().position(|byte| *byte == b':').map(|at| from + at + 1)
                {
                    let end = bytes[colon..]
                        .iter()
                        .position(|byte| b",}]".contains(byte))
                        .map_or(bytes.len(), |at| colon + at);
                    let piece = PIECES[random.usize(..PIECES.len())];
                    bytes.splice(colon..end, piece.bytes());
                }
            }
            _ => {
                let twice = bytes[from..to.min(from + 200)].to_vec();
                bytes.splice(to..to, twice);
            }
        }
    }
    bytes
}

fn send(caller: &mut HttpClient, made: &Made) -> Outcome {
    let headers: Vec<(&str, &str)> =
        made.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut ask = || caller.ask(made.method, &made.path, &headers, made.body.as_deref());
    // A kept connection may have been closed behind a refused body; a new one must do.
    let reply = ask().or_else(|_| ask())?;
    // The protocol has an empty 500 for null in a list.
    let excused = made.body.as_ref().is_some_and(|body| body.windows(4).any(|four| four == b"null"));
    if reply.status >= 500 && reply.body.is_empty() && made.method != "HEAD" && !excused {
        return Err(Failure::new(format!("status {} and not a word", reply.status)));
    }
    if !(200..600).contains(&reply.status) {
        return Err(Failure::new(format!("status {}", reply.status)));
    }
    Ok(())
}

/// Noise on a connection of its own; what matters is that the server is there afterwards.
fn noise(lapi: &LapiProcess, random: &mut Rng, token: &str) -> Outcome {
    let good = palisade_e2e::request(
        lapi.address(),
        "POST",
        "/v1/alerts",
        &[("Authorization", token)],
        Some(bans(&["192.0.2.1".to_owned()], "noise").to_string().as_bytes()),
    );
    let bytes = if random.bool() { spoilt(random, &good) } else { (0..500).map(|_| random.u8(..)).collect() };
    let mut stream = lapi.http_client().with_timeout(Duration::from_millis(200)).connect()?;
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(())
}
