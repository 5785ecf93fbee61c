//! Writes what went wrong for the operator: one short line, escaped, without secrets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::secrets::Secrets;
use crate::config::HttpConfig;
use crate::sink::{Failure, FailureKind};

/// Longest text of a receiver that is shown, in characters.
const MAX_EXCERPT: usize = 200;
/// How much of a text is looked at for it, in bytes.
const MAX_SEARCHED: usize = 4096;

/// A failure before any byte of the message was sent.
pub(super) fn unsent(kind: FailureKind, reason: String) -> Failure {
    Failure { kind, perhaps_received: false, reason, retry_after: None }
}

/// A temporary failure.
pub(super) fn retry(perhaps_received: bool, reason: String) -> Failure {
    Failure { kind: FailureKind::Retry, perhaps_received, reason, retry_after: None }
}

/// A time limit as it is written in configurations.
pub(super) fn shown(limit: Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{}s", limit.as_secs())
    } else {
        format!("{}ms", limit.as_millis())
    }
}

/// Shows what a receiver sent. Receivers that are built for debugging send back what they got, so everything secret that
/// is sent is taken out.
pub(super) struct Excerpts {
    secrets: Secrets,
}

impl Excerpts {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let mut secrets = Secrets::default();
        let mut add = |text: &str| secrets.add(text);
        if let Some(bearer) = &config.auth.bearer {
            add(bearer.reveal());
        }
        if let Some((user, password)) = &config.auth.basic {
            add(password.reveal());
            add(&STANDARD.encode(format!("{user}:{}", password.reveal())));
        }
        for (_, value) in &config.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            add(&value);
            // `Splunk TOKEN`, `id=TOKEN; a=b`: the token may come back alone.
            value.split([' ', ';', '=', ',']).skip(1).for_each(&mut add);
        }
        add(config.url.path());
        for segment in config.url.path_segments().into_iter().flatten() {
            add(segment);
            add(&percent_decode_str(segment).decode_utf8_lossy());
        }
        if let Some(query) = config.url.query() {
            add(query);
            config.url.query_pairs().for_each(|(_, value)| add(&value));
        }
        Self { secrets }
    }

    /// The beginning of a text on one line, in quotes; `None` when there is nothing to show.
    pub(super) fn of(&self, text: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_SEARCHED)]);
        // A character that was cut would hide that a secret was.
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        // Before white space is made one: a secret may have some.
        let text = self.redacted(text).split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then(|| format!("\"{}\"", escaped(&text, MAX_EXCERPT)))
    }

    /// A text without secrets, also where they are encoded.
    pub(super) fn redacted(&self, text: &str) -> String {
        self.secrets.redacted(text)
    }
}

/// At most so many characters on one line, without double quotes.
pub(super) fn escaped(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max) + 8);
    for (position, c) in text.chars().enumerate() {
        match c {
            _ if position == max => {
                shown.push('…');
                break;
            }
            '"' => shown.push('\''),
            ' '..='~' => shown.push(c),
            c if c.is_alphanumeric() => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}
