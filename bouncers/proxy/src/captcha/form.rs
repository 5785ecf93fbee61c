//! Reads the posted solution: a small URL-encoded form.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body::Body;
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;

/// The largest form, in bytes.
pub const MAX_FORM: usize = 16 * 1024;
/// Fields of a form that are looked at; the widgets add two or three of their own.
const MAX_FIELDS: usize = 32;
/// For the whole form.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read of a body that is not wanted, so that the client gets to read the response.
const MAX_DRAINED: usize = 256 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A posted form.
pub(super) struct Form(String);

/// Why a form is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormError {
    TooLarge,
    Incomplete,
    WrongType,
}

impl Form {
    /// Reads a form within the bounds.
    pub(super) async fn read<B: Body>(headers: &HeaderMap, body: B) -> Result<Self, FormError> {
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if !media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            return Err(FormError::WrongType);
        }
        let announced =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_FORM as u64) {
            return Err(FormError::TooLarge);
        }
        let bytes =
            tokio::time::timeout(FORM_TIMEOUT, read(body)).await.map_err(|_| FormError::Incomplete)??;
        Self::parse(bytes)
    }

    /// A form from its bytes.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, FormError> {
        if bytes.len() > MAX_FORM {
            return Err(FormError::TooLarge);
        }
        String::from_utf8(bytes).map(Self).map_err(|_| FormError::WrongType)
    }

    /// The value of a field; `None` when it is missing, not UTF-8, or there twice with different values.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let mut found: Option<Cow<'_, str>> = None;
        for pair in self.0.split('&').take(MAX_FIELDS) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decode(key)? == name {
                let value = decode(value)?;
                if found.as_ref().is_some_and(|found| *found != value) {
                    return None;
                }
                found = Some(value);
            }
        }
        found.map(Cow::into_owned)
    }
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?.into_owned();
    Some(Cow::Owned(decoded))
}

async fn read<B: Body>(body: B) -> Result<Vec<u8>, FormError> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(|_| FormError::Incomplete)?.into_data() else { continue };
        if bytes.len() + data.remaining() > MAX_FORM {
            return Err(FormError::TooLarge);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    Ok(bytes)
}

/// Reads and forgets a body, up to a limit. A server that closes while a client still sends may reset the connection
/// before the response is read.
pub(super) async fn drain<B: Body>(headers: &HeaderMap, body: B) {
    // Such a client waits for permission, and sends nothing after a refusal.
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let mut body = pin!(body);
    let drained = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Buf::remaining);
            if length > MAX_DRAINED {
                break;
            }
        }
    };
    // Late is as good as complete: the response follows in any case.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn fields_are_decoded_and_ambiguous_ones_are_none() {
        let form = form("a=1&b=x%2By+z&c&a=1&d=1&d=2&e=%ff");
        assert_eq!(form.field("a").as_deref(), Some("1"));
        assert_eq!(form.field("b").as_deref(), Some("x+y z"));
        assert_eq!(form.field("c").as_deref(), Some(""));
        assert_eq!(form.field("d"), None);
        assert_eq!(form.field("e"), None);
        assert_eq!(form.field("f"), None);
    }

    #[test]
    fn fields_beyond_the_limit_are_ignored() {
        assert_eq!(form(&format!("{}token=x", "a=1&".repeat(MAX_FIELDS))).field("token"), None);
    }

    #[tokio::test]
    async fn only_small_forms_are_read() {
        let mut headers = HeaderMap::new();
        let body = |length: usize| Full::new(Bytes::from("a".repeat(length)));
        assert!(matches!(Form::read(&headers, body(1)).await, Err(FormError::WrongType)));
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8".parse().unwrap());
        assert!(Form::read(&headers, body(MAX_FORM)).await.is_ok());
        assert!(matches!(Form::read(&headers, body(MAX_FORM + 1)).await, Err(FormError::TooLarge)));
        headers.insert(CONTENT_LENGTH, "99999999".parse().unwrap());
        assert!(matches!(Form::read(&headers, body(1)).await, Err(FormError::TooLarge)));
    }
}
