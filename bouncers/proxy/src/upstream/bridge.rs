//! Translates WebSocket handshakes between HTTP/1.1 upgrades and extended CONNECT (RFC 8441).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{HeaderMap, StatusCode};

/// Of RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(crate) fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// What a server answers to a key.
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    HeaderValue::from_str(&STANDARD.encode(context.finish())).ok()
}

/// Adds the key that HTTP/1.1 has and extended CONNECT has not.
pub(crate) fn add_key(headers: &mut HeaderMap) {
    let key: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
    if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(key)) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
}

/// The answer that proves that an upstream understood the handshake with these fields.
pub(crate) fn expected_accept(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(SEC_WEBSOCKET_KEY).and_then(accept)
}

/// Turns an upstream's 101 into the 200 that a client with extended CONNECT expects.
pub(crate) fn to_extended_connect(status: &mut StatusCode, headers: &mut HeaderMap) {
    *status = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT, CONTENT_LENGTH] {
        headers.remove(name);
    }
}

/// Turns an upstream's 200 into the 101 that a client with an upgrade expects.
pub(crate) fn to_upgrade(status: &mut StatusCode, headers: &mut HeaderMap, accept: Option<HeaderValue>) {
    *status = StatusCode::SWITCHING_PROTOCOLS;
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(accept) = accept {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455_is_answered() {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(expected_accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
