//! Finds the protocol that a request switches to.

use http::Version;
use hyper::ext::Protocol;

use super::Refusal;
use super::fields::Fields;
use crate::headers::names;

/// The protocol a request switches to when the upstream agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade<'a> {
    /// `Upgrade` with HTTP/1.1.
    Http1(&'a str),
    /// `:protocol` with HTTP/2 (RFC 8441).
    ExtendedConnect(&'a str),
}

impl<'a> Upgrade<'a> {
    /// The name, such as `websocket`.
    pub fn protocol(self) -> &'a str {
        match self {
            Self::Http1(protocol) | Self::ExtendedConnect(protocol) => protocol,
        }
    }
}

/// Protocols of HTTP itself: a switch to one of them would take the requests that follow past all rules.
const HTTP_ITSELF: &[&str] = &["h2c", "h2", "h3", "http", "tls"];

pub(super) fn find<'a>(
    fields: &Fields<'a>,
    version: Version,
    protocol: Option<&'a Protocol>,
) -> Result<Option<Upgrade<'a>>, Refusal> {
    if let Some(protocol) = protocol {
        let protocol = protocol.as_str();
        return match protocol.eq_ignore_ascii_case("websocket") {
            true => Ok(Some(Upgrade::ExtendedConnect(protocol))),
            false => Err(Refusal::CONNECT_PROTOCOL),
        };
    }
    // What follows a body's head is not clear when both are declared: the rest of the body, or the new protocol.
    let has_body = fields.chunked || fields.content_length.is_some_and(|length| length > 0);
    if version != Version::HTTP_11 || !fields.connection_upgrade || fields.several_upgrades || has_body {
        return Ok(None);
    }
    Ok(fields
        .upgrade
        .and_then(|value| value.to_str().ok())
        .filter(|name| is_forwarded(name))
        .map(Upgrade::Http1))
}

/// Whether the value is one protocol, and none of HTTP itself.
fn is_forwarded(value: &str) -> bool {
    let name = value.split('/').next().unwrap_or_default();
    !name.is_empty()
        && value.bytes().all(|byte| names::is_token_byte(byte) || byte == b'/')
        && !HTTP_ITSELF.iter().any(|own| name.eq_ignore_ascii_case(own))
}
