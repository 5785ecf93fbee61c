//! Makes the headers that all requests of an endpoint have: the fixed ones and credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Position;

use super::HttpError;
use crate::config::HttpConfig;

/// Headers that belong to the connection and to the framing of messages.
pub(super) const RESERVED: [HeaderName; 7] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

pub(crate) fn fixed_headers(config: &HttpConfig, user_agent: &str) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    let host = &config.url[Position::BeforeHost..Position::AfterPort];
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| HttpError::Url("its host is not valid"))?);
    let user_agent = HeaderValue::from_str(user_agent);
    headers.insert(USER_AGENT, user_agent.map_err(|_| refused(&USER_AGENT, "it has invalid characters"))?);
    let mut configured = HeaderMap::new();
    for (name, value) in &config.headers {
        if RESERVED.contains(name) {
            return Err(refused(name, "it belongs to the connection and cannot be set"));
        }
        let mut value = value.clone();
        value.set_sensitive(true);
        configured.append(name, value);
    }
    // What is configured replaces the defaults.
    headers.extend(configured);
    if let Some(credentials) = authorization(config)? {
        if headers.contains_key(AUTHORIZATION) {
            return Err(refused(&AUTHORIZATION, "it is set twice: remove it, or the credentials"));
        }
        headers.insert(AUTHORIZATION, credentials);
    }
    Ok(headers)
}

fn authorization(config: &HttpConfig) -> Result<Option<HeaderValue>, HttpError> {
    let text = match (&config.auth.bearer, &config.auth.basic) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(refused(&AUTHORIZATION, "there is both a bearer token and a password"));
        }
        (Some(token), None) => format!("Bearer {}", token.reveal()),
        (None, Some((user, _))) if user.contains(':') => {
            return Err(refused(&AUTHORIZATION, "the name of basic authentication has a colon"));
        }
        (None, Some((user, password))) => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
        }
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| refused(&AUTHORIZATION, "the token has characters that no header can have"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn refused(name: &HeaderName, reason: &'static str) -> HttpError {
    HttpError::Header { name: name.clone(), reason }
}
