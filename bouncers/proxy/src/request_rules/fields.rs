//! Reads the fields that frame and direct a request, in one pass.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Version, header};

use super::{Refusal, RequestLimits};
use crate::headers::names;

/// What the fields say.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a HeaderValue>,
    /// With a body, its length if that is declared.
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    /// `Connection: upgrade`.
    pub(super) connection_upgrade: bool,
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) several_upgrades: bool,
    pub(super) expect_continue: bool,
    pub(super) accepts_trailers: bool,
    pub(super) odd_names: usize,
    has_length: bool,
    connection_te: bool,
    te_trailers: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn read(parts: &'a Parts, limits: &RequestLimits) -> Result<Self, Refusal> {
        if parts.headers.len() > limits.fields {
            return Err(Refusal::TOO_MANY_FIELDS);
        }
        let mut fields = Self::default();
        let two = parts.version == Version::HTTP_2;
        for (name, value) in &parts.headers {
            // HTTP/1 parsing trims values. HTTP/2's does not, and an upstream may.
            if two && is_padded(value.as_bytes()) {
                return Err(Refusal::PADDED_VALUE);
            }
            if two && names::is_connection_field(name) {
                return Err(Refusal::CONNECTION_FIELD);
            }
            fields.field(name, value, parts.version, limits)?;
        }
        if fields.has_length && fields.chunked {
            return Err(Refusal::LENGTH_AND_ENCODING);
        }
        fields.accepts_trailers = two || (fields.te_trailers && fields.connection_te);
        Ok(fields)
    }

    fn field(
        &mut self,
        name: &HeaderName,
        value: &'a HeaderValue,
        version: Version,
        limits: &RequestLimits,
    ) -> Result<(), Refusal> {
        match *name {
            header::HOST => {
                if self.host.replace(value).is_some() {
                    return Err(Refusal::SEVERAL_HOSTS);
                }
            }
            header::CONTENT_LENGTH => {
                if std::mem::replace(&mut self.has_length, true) {
                    return Err(Refusal::SEVERAL_LENGTHS);
                }
                self.content_length = Some(parse_length(value.as_bytes()).ok_or(Refusal::INVALID_LENGTH)?);
            }
            header::TRANSFER_ENCODING => {
                if self.chunked || version != Version::HTTP_11 {
                    return Err(Refusal::INVALID_TRANSFER_ENCODING);
                }
                check_coding(value.as_bytes())?;
                self.chunked = true;
            }
            header::CONNECTION => self.connection(value.as_bytes(), limits)?,
            header::UPGRADE => self.several_upgrades |= self.upgrade.replace(value).is_some(),
            header::TE => {
                self.te_trailers |=
                    tokens(value.as_bytes()).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
            header::EXPECT => {
                // A second line would be forwarded or not, depending on which one is looked at.
                if self.expect_continue || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::EXPECTATION);
                }
                // HTTP/1.0 clients do not know interim responses (RFC 9110, 10.1.1).
                self.expect_continue = version != Version::HTTP_10;
            }
            _ => self.odd_names += usize::from(names::is_odd(name.as_str())),
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8], limits: &RequestLimits) -> Result<(), Refusal> {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"upgrade") {
                self.connection_upgrade = true;
            } else if token.eq_ignore_ascii_case(b"te") {
                self.connection_te = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
            } else if !token.iter().all(|byte| names::is_token_byte(*byte)) {
                return Err(Refusal::INVALID_CONNECTION);
            } else if names::is_protected(token)
                || token.eq_ignore_ascii_case(limits.address_header.as_str().as_bytes())
            {
                return Err(Refusal::PROTECTED_FIELD);
            }
        }
        Ok(())
    }
}

/// The elements of a list, empty ones left out.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Digits alone: a sign, spaces or a list are read differently by others.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn check_coding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    match tokens(value).filter(|token| token.eq_ignore_ascii_case(b"chunked")).count() {
        0 | 1 => Err(Refusal::TRANSFER_CODING),
        _ => Err(Refusal::INVALID_TRANSFER_ENCODING),
    }
}
