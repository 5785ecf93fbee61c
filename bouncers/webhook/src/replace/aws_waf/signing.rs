//! Signs requests with AWS Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};

use crate::config::AwsWafConfig;
use crate::replace::exchange::Call;

/// The service's name in signatures.
const SERVICE: &str = "wafv2";

/// Why a request could not be signed. Without any value of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot sign the request: check region, access_key_id and session_token for characters that no header may have"
)]
pub struct SigningError;

/// Adds the headers of a signature over method, URL, body and the headers so far.
///
/// # Errors
/// When a credential cannot be part of a header.
pub fn sign(call: &mut Call, config: &AwsWafConfig, now: SystemTime) -> Result<(), SigningError> {
    let token = config.session_token.as_ref().map(|token| token.reveal().to_owned());
    let secret = config.secret_access_key.reveal();
    let credentials = Credentials::new(&config.access_key_id, secret, token, None, "palisade");
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&config.region)
        .name(SERVICE)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| SigningError)?
        .into();
    let headers = call.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(&call.body);
    let request = SignableRequest::new(call.method.as_str(), call.url.as_str(), headers, body);
    let signed = aws_sigv4::http_request::sign(request.map_err(|_| SigningError)?, &parameters);
    let (instructions, _) = signed.map_err(|_| SigningError)?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::try_from(name).map_err(|_| SigningError)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| SigningError)?;
        value.set_sensitive(true);
        call.headers.insert(name, value);
    }
    Ok(())
}
