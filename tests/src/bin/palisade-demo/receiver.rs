//! The receiver of webhooks: verifies each message's signature and keeps what it received.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_e2e::{Doing as _, Host, Outcome};
use serde_json::Value;

use crate::http::{self, Request, Response};

/// The port of the receiver, on the loopback of its host.
pub(crate) const PORT: u16 = 5000;
/// The secret that the messages are signed with; of the demonstration alone.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Its log, in its host's folder.
pub(crate) const LOG: &str = "received.log";
/// Messages that are kept for the steps of the demonstration; the log has all.
const MOST_KEPT: usize = 1000;

/// A message whose signature is right.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) at: Instant,
    /// `decision.added`, `decision.lifted`, …
    kind: String,
    value: String,
}

/// A running receiver.
pub(crate) struct Receiver {
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    /// Listens on the loopback of `host`; appends each message to a log in `folder`.
    pub(crate) fn start(host: &Host, folder: &Path) -> Outcome<Self> {
        let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).doing("the secret is base64")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let path = folder.join(LOG);
        let log = File::create(&path).doing(format_args!("creating {}", path.display()))?;
        let messages = Arc::<Mutex<Vec<Message>>>::default();
        let kept = Arc::clone(&messages);
        http::serve(host, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), move |request| {
            let at = Instant::now();
            let verified = is_signed(&key, request);
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let note = if verified { "signature verified" } else { "signature WRONG" };
            // A full disk shows elsewhere.
            let _ = writeln!(&log, "{note}: {}", request.body);
            let message = message(at, &request.body).filter(|_| verified);
            let status = if message.is_some() { "204 No Content" } else { "400 Bad Request" };
            kept.extend(message);
            let surplus = kept.len().saturating_sub(MOST_KEPT);
            kept.drain(..surplus);
            Response { status, content_type: "text/plain", body: String::new() }
        })?;
        Ok(Self { messages })
    }

    /// The first message of this kind about this value that arrived after `since`.
    pub(crate) fn received(&self, kind: &str, value: &str, since: Instant) -> Option<Message> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.iter().find(|one| one.kind == kind && one.value == value && one.at >= since).cloned()
    }

    /// Whether anything has arrived yet.
    pub(crate) fn has_received(&self, kind: &str) -> bool {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|one| one.kind == kind)
    }
}

/// Standard Webhooks: an HMAC of id, time and body.
fn is_signed(key: &hmac::Key, request: &Request) -> bool {
    let header = |name| request.header(name).unwrap_or_default();
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.body);
    header("webhook-signature").split(' ').any(|signature| {
        let signature = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        signature.is_some_and(|tag| hmac::verify(key, signed.as_bytes(), &tag).is_ok())
    })
}

fn message(at: Instant, body: &str) -> Option<Message> {
    let body: Value = serde_json::from_str(body).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Message { at, kind: text(&body["type"]), value: text(&body["data"]["value"]) })
}
