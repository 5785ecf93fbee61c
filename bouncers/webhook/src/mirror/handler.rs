//! Answers requests for lists.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERER, RETRY_AFTER, USER_AGENT, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use palisade_daemon::listen::{HttpService, Peer, ReceivedBody};
use palisade_daemon::metrics::Metrics;
use palisade_stream::CacheHandle;

use super::access::{Access, access};
use super::access_log::{AccessEntry, AccessLog};
use super::query::{QueryError, Variant};
use super::renderings::Renderings;
use super::site::{List, Site};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"crowdsec-blocklist-mirror\"");
const NO_SNIFFING: (HeaderName, HeaderValue) =
    (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
/// When a client should ask again that was answered with 503.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("10");

type Answer = Response<Full<Bytes>>;

/// Answers requests; clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Handler(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) site: ArcSwap<Site>,
    pub(super) cache: CacheHandle,
    pub(super) metrics: Metrics,
    pub(super) access_log: AccessLog,
}

impl HttpService for Handler {
    type Body = Full<Bytes>;

    async fn respond(self, request: Request<ReceivedBody>) -> Answer {
        let at = SystemTime::now();
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.address).map(|peer| peer.ip());
        let response = self.0.answer(&request, peer).await;
        if self.0.access_log.is_on() {
            self.0.access_log.write(entry(&request, &response, peer, at));
        }
        response
    }
}

impl Shared {
    async fn answer<B>(&self, request: &Request<B>, peer: Option<IpAddr>) -> Answer {
        let site = self.site.load_full();
        let path = request.uri().path();
        if site.config.metrics_path.as_deref() == Some(path) {
            self.metrics.refresh().await;
            return with_body(StatusCode::OK, METRICS_TEXT, self.metrics.text().into());
        }
        let Some(list) = site.list(path) else { return text(StatusCode::NOT_FOUND, "404 page not found\n") };
        match access(&list.config.access, peer, request.headers()) {
            Access::Granted => {}
            Access::Denied => return text(StatusCode::FORBIDDEN, "access denied\n"),
            Access::CredentialsNeeded => {
                let mut response = text(StatusCode::UNAUTHORIZED, "access denied\n");
                response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
                return response;
            }
        }
        list.requests.inc();
        if !self.knows_decisions() {
            return unavailable("decisions are not known yet\n");
        }
        match Variant::parse(request.uri().query()) {
            Ok(variant) => self.list(list, variant, request, site.config.empty_is_not_found).await,
            Err(QueryError::TooLong) => text(StatusCode::URI_TOO_LONG, "the query is too long\n"),
            Err(QueryError::Value) => text(StatusCode::BAD_REQUEST, "a parameter is too long\n"),
        }
    }

    /// Whether decisions of the LAPI or persisted ones are known. If not, an empty list would be no answer but a mistake.
    fn knows_decisions(&self) -> bool {
        let published = self.cache.read();
        !published.is_empty() || published.freshness().is_complete()
    }

    async fn list<B>(
        &self,
        list: &Arc<List>,
        variant: Variant,
        request: &Request<B>,
        empty_is_not_found: bool,
    ) -> Answer {
        let Some(rendered) = Renderings::get(list, variant, &self.cache).await else {
            return unavailable("too many variants of the list are being made\n");
        };
        if rendered.body.is_empty() && empty_is_not_found {
            return text(StatusCode::NOT_FOUND, "no decisions available\n");
        }
        let headers = request.headers();
        let wants_gzip = !rendered.body.is_empty() && accepts_gzip(headers);
        let mut etag = if wants_gzip { &rendered.gzip_etag } else { &rendered.etag };
        let mut response = if is_known(headers, &[&rendered.etag, &rendered.gzip_etag]) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let gzip = if wants_gzip { rendered.gzip().await } else { None };
            let is_gzip = gzip.is_some();
            let body = gzip.unwrap_or_else(|| rendered.body.clone());
            let length = body.len();
            let mut response = with_body(StatusCode::OK, TEXT, body);
            if is_gzip {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            } else {
                etag = &rendered.etag;
            }
            if request.method() == Method::HEAD {
                response.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            response
        };
        response.headers_mut().insert(ETAG, etag.clone());
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
        // Caches on the way ask each time, as the list may have changed.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// Whether the client has one of these versions. Weak comparison, as for every `GET`.
fn is_known(headers: &HeaderMap, tags: &[&HeaderValue]) -> bool {
    let sent = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',')).map(str::trim).any(|sent| {
        let sent = sent.strip_prefix("W/").unwrap_or(sent);
        sent == "*" || tags.iter().any(|tag| tag.as_bytes() == sent.as_bytes())
    })
}

/// Whether `gzip` or everything is accepted, and not with a weight of zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight = |name: &str| {
        let sent = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings = sent.flat_map(|value| value.split(','));
        codings.find_map(|coding| {
            let (coding, parameter) = coding.split_once(';').unwrap_or((coding, "q=1"));
            let weight = parameter.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            coding.trim().eq_ignore_ascii_case(name).then_some(weight.unwrap_or(1.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

fn with_body(status: StatusCode, kind: HeaderValue, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn unavailable(why: &'static str) -> Answer {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    response
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut response = with_body(status, TEXT, Bytes::from_static(body.as_bytes()));
    let (name, value) = NO_SNIFFING;
    response.headers_mut().insert(name, value);
    response
}

fn entry<B>(request: &Request<B>, response: &Answer, peer: Option<IpAddr>, at: SystemTime) -> AccessEntry {
    use http_body::Body as _;
    let is_head = request.method() == Method::HEAD;
    AccessEntry {
        peer,
        at,
        method: request.method().clone(),
        target: request.uri().clone(),
        version: request.version(),
        status: response.status().as_u16(),
        bytes: if is_head { 0 } else { response.body().size_hint().exact().unwrap_or(0) },
        referer: request.headers().get(REFERER).cloned(),
        user_agent: request.headers().get(USER_AGENT).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        std::iter::once((name, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn encodings_are_negotiated() {
        for (value, accepted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&headers(ACCEPT_ENCODING, value)), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_version_is_recognised_in_every_form() {
        let tags = [&HeaderValue::from_static("\"a\""), &HeaderValue::from_static("\"a-gzip\"")];
        for (value, known) in [
            ("\"a\"", true),
            ("W/\"a-gzip\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("a", false),
            ("\"b\"", false),
        ] {
            assert_eq!(is_known(&headers(IF_NONE_MATCH, value), &tags), known, "{value}");
        }
    }
}
