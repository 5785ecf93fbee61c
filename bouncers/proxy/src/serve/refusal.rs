//! Responses of the proxy itself: pages, redirects, challenges.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;

use super::body::{BodyTooLarge, Content};
use super::site::Site;
use crate::headers::BadUpstreamResponse;
use crate::pages::{PageContext, PageKind};
use crate::remediation::{DecisionInfo, Remediation, Unavailable};
use crate::request_rules::Refusal;
use crate::routing::NoRoute;
use crate::upstream::{ErrorKind, ForwardError};

/// Why a request is not forwarded, or has no response of an upstream.
pub(crate) enum Refused {
    /// Its form.
    Rule(Refusal),
    /// No route.
    Route(NoRoute),
    /// Its body.
    BodyTooLarge,
    /// Decisions are not available.
    Unavailable(Unavailable),
    /// A ban.
    Banned {
        /// As the route says.
        status: StatusCode,
        remediation: Remediation,
    },
    /// A throttle.
    Throttled {
        /// Seconds.
        retry_after: u64,
        remediation: Remediation,
    },
    /// The upstream gave no response.
    Upstream(ForwardError),
    /// The upstream's response cannot be passed on.
    BadResponse(BadUpstreamResponse),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Rule(refusal) => refusal.status,
            Self::Route(no_route) => no_route.refusal().status,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Banned { status, .. } => *status,
            Self::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Upstream(error) if is_too_large(error) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upstream(error) => error.status(),
            Self::BadResponse(_) => StatusCode::BAD_GATEWAY,
        }
    }

    fn page(&self) -> PageKind {
        match self {
            Self::Route(NoRoute::UnknownHost | NoRoute::UnknownPath) => PageKind::NotFound,
            Self::Rule(_) | Self::Route(_) | Self::BodyTooLarge => PageKind::Refused,
            Self::Unavailable(_) => PageKind::Unavailable,
            Self::Banned { .. } => PageKind::Ban,
            Self::Throttled { .. } => PageKind::Throttle,
            Self::Upstream(error) => match error.kind {
                ErrorKind::NoneUp => PageKind::Maintenance,
                ErrorKind::ClientBody | ErrorKind::ClientHost => PageKind::Refused,
                _ if error.status() == StatusCode::GATEWAY_TIMEOUT => PageKind::GatewayTimeout,
                _ => PageKind::BadGateway,
            },
            Self::BadResponse(_) => PageKind::BadGateway,
        }
    }

    /// The decision that is the reason.
    pub(crate) fn remediation(&self) -> Option<&Remediation> {
        match self {
            Self::Banned { remediation, .. } | Self::Throttled { remediation, .. } => Some(remediation),
            _ => None,
        }
    }

    /// The word in logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Rule(refusal) => refusal.reason,
            Self::Route(no_route) => no_route.refusal().reason,
            Self::BodyTooLarge => "body_too_large",
            Self::Unavailable(reason) => reason.as_str(),
            Self::Banned { .. } => "ban",
            Self::Throttled { .. } => "throttle",
            Self::Upstream(error) if is_too_large(error) => "body_too_large",
            Self::Upstream(error) => error.kind.as_str(),
            Self::BadResponse(bad) => bad.label(),
        }
    }
}

fn is_too_large(error: &ForwardError) -> bool {
    error.cause().is_some_and(|cause| cause.is::<BodyTooLarge>())
}

/// What a page shows of a request.
pub(crate) fn page_context<'a>(
    parts: &'a Parts,
    client: Option<IpAddr>,
    request_id: &'a str,
    decision: Option<&'a DecisionInfo>,
) -> PageContext<'a> {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    PageContext {
        status: StatusCode::FORBIDDEN,
        // The peer of a unix socket has none.
        client: client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        request_id,
        time: Timestamp::now(),
        scenario: decision.map(|decision| &*decision.scenario),
        origin: decision.map(|decision| &*decision.origin),
        until: decision.and_then(|decision| Timestamp::from_millisecond(decision.until.as_millis()).ok()),
        host: parts.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default(),
        path: parts.uri.path(),
        retry_after: None,
    }
}

/// The response to a refused request.
pub(crate) fn respond(
    site: &Site,
    parts: &Parts,
    client: Option<IpAddr>,
    request_id: &str,
    refused: &Refused,
) -> Response<Content> {
    let context = PageContext {
        status: refused.status(),
        retry_after: match refused {
            Refused::Throttled { retry_after, .. } => Some(*retry_after),
            _ => None,
        },
        ..page_context(
            parts,
            client,
            request_id,
            refused.remediation().map(|remediation| &*remediation.decision),
        )
    };
    let mut response = site.pages.render(refused.page(), &context, &parts.headers, &parts.method);
    if let Refused::Route(NoRoute::MethodNotAllowed(methods)) = refused {
        response.headers_mut().insert(header::ALLOW, methods.clone());
    }
    response.map(Content::Page)
}

/// A redirect to the same target over TLS. The method and the body stay (308).
pub(crate) fn redirect_to_https(host: &str, target: &PathAndQuery) -> Response<Content> {
    let mut response = Response::new(Content::Page(Full::default()));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(format!("https://{host}{target}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A short text for a program.
pub(crate) fn plain(text: &str) -> Response<Content> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let mut response = Response::new(Content::Page(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}
