//! HTTP to the directory, with a bound on time and on the size of responses.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use super::super::error::TlsError;
use super::super::pem_file;
use crate::config::AcmeConfig;

/// The largest response: a chain of certificates has some kilobytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;
/// For one request, with its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("palisade-proxy/", env!("CARGO_PKG_VERSION"), " instant-acme"));

/// Sends the requests of [`instant_acme`]. Clones share connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    /// `Retry-After` of the last response with an error, in seconds; 0 for none. The library does not report it.
    retry_after: Arc<AtomicU64>,
}

impl Http {
    pub(super) fn new(config: &AcmeConfig) -> Result<Self, TlsError> {
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        if let Some(path) = &config.ca {
            let what = "file of authorities of the ACME directory";
            let refused = |cause: reqwest::Error| pem_file::unusable(what, path, cause.to_string());
            let authorities = pem_file::certificates(what, path, &pem_file::read(what, path)?)?;
            let authorities: Result<Vec<_>, _> =
                authorities.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
            builder = builder.tls_certs_merge(authorities.map_err(refused)?);
        }
        let client = builder.build().map_err(|cause| TlsError::AcmeClient { cause })?;
        Ok(Self { client, retry_after: Arc::default() })
    }

    /// The delay that the last response with an error asked for.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self.retry_after.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(seconds),
        }
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (mut parts, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        parts.headers.insert(USER_AGENT, AGENT);
        let sent = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        let mut response = sent.send().await.map_err(other)?;
        let retry_after = match response.status().is_client_error() || response.status().is_server_error() {
            true => response.headers().get(RETRY_AFTER).and_then(seconds),
            false => None,
        };
        self.retry_after.store(retry_after.unwrap_or(0), Ordering::Relaxed);
        let mut received = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(other)? {
            if received.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(Error::Str("a response that is not too large"));
            }
            received.extend_from_slice(&chunk);
        }
        let mut converted = Response::new(());
        *converted.status_mut() = response.status();
        *converted.headers_mut() = std::mem::take(response.headers_mut());
        let (parts, ()) = converted.into_parts();
        Ok(BytesResponse { parts, body: Box::new(received.freeze()) })
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn other(cause: reqwest::Error) -> Error {
    Error::Other(Box::new(cause))
}

/// Delay-seconds or a date.
fn seconds(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    text.parse().ok().or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).ok()?.as_secs())
    })
}
