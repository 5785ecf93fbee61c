//! Determines where the body of a response ends (RFC 9112, section 6.3), strictly.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::upstream::error::BadAnswer;

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

/// The framing of a response, and whether its connection may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponseFraming {
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
}

/// Determines the framing, and removes from `headers` what contradicts it: the message is framed anew for the client.
pub(crate) fn of_response(
    status: StatusCode,
    http10: bool,
    to_head: bool,
    headers: &mut HeaderMap,
) -> Result<ResponseFraming, BadAnswer> {
    let mut keep_alive = keeps_alive(http10, headers);
    let chunked = take_chunked(http10, headers)?;
    let length = take_length(headers)?;
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        headers.remove(CONTENT_LENGTH);
        return Ok(ResponseFraming { framing: Framing::Empty, keep_alive: keep_alive && !chunked });
    }
    if to_head || status == StatusCode::NOT_MODIFIED {
        // Content-Length stays: it describes what a GET would have received.
        return Ok(ResponseFraming { framing: Framing::Empty, keep_alive });
    }
    let framing = match (chunked, length) {
        (true, Some(_)) => {
            // Another reader may take the length: nothing on this connection is believed after this response.
            headers.remove(CONTENT_LENGTH);
            keep_alive = false;
            Framing::Chunked
        }
        (true, None) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => {
            keep_alive = false;
            Framing::UntilClose
        }
    };
    Ok(ResponseFraming { framing, keep_alive })
}

fn keeps_alive(http10: bool, headers: &HeaderMap) -> bool {
    let mut keep_alive = !http10;
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep_alive
}

fn take_chunked(http10: bool, headers: &mut HeaderMap) -> Result<bool, BadAnswer> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(false) };
    if http10 || values.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(BadAnswer::TransferEncoding);
    }
    headers.remove(TRANSFER_ENCODING);
    Ok(true)
}

fn take_length(headers: &mut HeaderMap) -> Result<Option<u64>, BadAnswer> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let length = parse_length(first).ok_or(BadAnswer::ContentLength)?;
    let mut repeated = false;
    for value in values {
        if parse_length(value) != Some(length) {
            return Err(BadAnswer::ContentLength);
        }
        repeated = true;
    }
    if repeated {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// Digits only: `+1`, `1, 1` and an empty value are read differently by different programs.
fn parse_length(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn framing(
        status: u16,
        http10: bool,
        to_head: bool,
        fields: &[(&'static str, &'static str)],
    ) -> (Result<ResponseFraming, BadAnswer>, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        (of_response(status, http10, to_head, &mut headers), headers)
    }

    fn ok(framing: Framing, keep_alive: bool) -> Result<ResponseFraming, BadAnswer> {
        Ok(ResponseFraming { framing, keep_alive })
    }

    #[test]
    fn a_body_ends_where_rfc_9112_says() {
        use Framing::{Chunked, Empty, Length, UntilClose};
        const TE: &str = "transfer-encoding";
        const CL: &str = "content-length";
        let bad_length = Err(BadAnswer::ContentLength);
        let bad_encoding = Err(BadAnswer::TransferEncoding);
        for (status, http10, fields, expected) in [
            (200, false, &[(CL, "5")][..], ok(Length(5), true)),
            (200, false, &[(CL, "0")], ok(Empty, true)),
            (200, false, &[(TE, "Chunked")], ok(Chunked, true)),
            (200, false, &[], ok(UntilClose, false)),
            (200, false, &[(CL, "5"), (TE, "chunked")], ok(Chunked, false)),
            (200, false, &[(CL, "5"), (CL, "5")], ok(Length(5), true)),
            (200, false, &[(CL, "5"), (CL, "6")], bad_length),
            (200, false, &[(CL, "5, 5")], bad_length),
            (200, false, &[(CL, "+5")], bad_length),
            (200, false, &[(CL, "")], bad_length),
            (200, false, &[(CL, "99999999999999999999")], bad_length),
            (200, false, &[(TE, "gzip")], bad_encoding),
            (200, false, &[(TE, "gzip, chunked")], bad_encoding),
            (200, false, &[(TE, "chunked"), (TE, "chunked")], bad_encoding),
            (200, true, &[(TE, "chunked")], bad_encoding),
            (200, true, &[(CL, "5")], ok(Length(5), false)),
            (200, true, &[(CL, "5"), ("connection", "keep-alive")], ok(Length(5), true)),
            (200, false, &[(CL, "5"), ("connection", "x, Close")], ok(Length(5), false)),
            (204, false, &[(CL, "5")], ok(Empty, true)),
            (204, false, &[(TE, "chunked")], ok(Empty, false)),
            (304, false, &[(CL, "5")], ok(Empty, true)),
        ] {
            assert_eq!(framing(status, http10, false, fields).0, expected, "{status} {http10} {fields:?}");
        }
        assert_eq!(framing(200, false, true, &[(CL, "5")]).0, ok(Empty, true));
    }

    #[test]
    fn contradictory_framing_fields_are_not_relayed() {
        let (_, headers) =
            framing(200, false, false, &[("content-length", "5"), ("transfer-encoding", "chunked")]);
        assert!(headers.is_empty());
        let (_, headers) = framing(200, false, false, &[("content-length", "5"), ("content-length", "5")]);
        assert_eq!(headers.get_all(CONTENT_LENGTH).iter().count(), 1);
        let (_, headers) = framing(204, false, false, &[("content-length", "5")]);
        assert!(headers.is_empty());
        let (_, headers) = framing(200, false, true, &[("content-length", "5")]);
        assert_eq!(headers[CONTENT_LENGTH], "5");
    }
}
