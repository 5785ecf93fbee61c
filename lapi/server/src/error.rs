//! Error responses in the stock server's formats.

use std::fmt;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use palisade_service::ingest::IngestError;
use palisade_store::StoreError;
use palisade_wire::BodyError;
use serde::Serialize;

use crate::{log_limits::STORE, response::json};

/// `Retry-After` while the database is unavailable, in seconds.
const STORE_RETRY: u64 = 2;

/// The body of an error response.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what is written by `ApiError`")]
pub(crate) struct ErrorBody {
    /// The status, where a machine's credentials are concerned.
    #[schema(nullable = false)]
    code: Option<u16>,
    /// The reason.
    message: String,
}

/// An error response in the exact format of the stock server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Body,
    retry_after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Empty,
    /// `{"message":…}`
    Message(String),
    /// `{"code":…,"message":…}` and a `WWW-Authenticate` header.
    Coded(String),
}

impl ApiError {
    /// A status with an empty body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, body: Body::Empty, retry_after: None }
    }

    /// A status with `{"message":"text"}`, the format of handlers and of key authentication.
    pub(crate) fn message(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, body: Body::Message(text.into()), retry_after: None }
    }

    /// 401 with `{"code":401,"message":"text"}`, the format of token authentication, login and refresh.
    pub(crate) fn unauthorized(text: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, body: Body::Coded(text.into()), retry_after: None }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::message(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn forbidden() -> Self {
        Self::message(StatusCode::FORBIDDEN, "access forbidden")
    }

    /// 500 with a message; the stock server also answers bad filters and invalid alerts with it.
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// The store failed. The cause is logged; the client gets `text` (`unable to query` and the like) with 500, or with
    /// 503 and `Retry-After` when the database is unavailable or out of space.
    pub(crate) fn store(cause: &StoreError, text: impl Into<String>) -> Self {
        let text = text.into();
        if cause.is_temporary() {
            if STORE.allows() {
                tracing::warn!(error = cause as &dyn std::error::Error, answer = %text, "the store is not available");
            }
            let body = Body::Message(text);
            return Self { status: StatusCode::SERVICE_UNAVAILABLE, body, retry_after: Some(STORE_RETRY) };
        }
        if STORE.allows() {
            tracing::error!(error = cause as &dyn std::error::Error, answer = %text, "the store failed");
        }
        Self::internal(text)
    }

    /// 503 with `Retry-After`: another time may be better.
    pub(crate) fn busy(text: impl Into<String>) -> Self {
        let body = Body::Message(text.into());
        Self { status: StatusCode::SERVICE_UNAVAILABLE, body, retry_after: Some(STORE_RETRY) }
    }

    /// 429 with `Retry-After`.
    pub(crate) fn slow_down(seconds: u64, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            body: Body::Message(text.into()),
            retry_after: Some(seconds.max(1)),
        }
    }

    /// Whether this is 429.
    pub(crate) fn is_throttled(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The message, empty when there is none.
    pub(crate) fn text(&self) -> &str {
        match &self.body {
            Body::Empty => "",
            Body::Message(text) | Body::Coded(text) => text,
        }
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Body(error) => error.into(),
            IngestError::Refused(reason) => Self::internal(reason),
            IngestError::TooLong(reason) => Self::message(StatusCode::UNPROCESSABLE_ENTITY, reason),
            IngestError::Store(error) => {
                Self::store(&error, "unable to create alerts: unable to insert bulk")
            }
            IngestError::Broken => Self::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::Malformed(_) => StatusCode::BAD_REQUEST,
            BodyError::Invalid(_) | BodyError::TooLong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::message(status, error.to_string())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.text())
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Shape<'t> {
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<u16>,
            message: &'t str,
        }
        let mut response = match &self.body {
            Body::Empty => self.status.into_response(),
            Body::Message(message) => (self.status, json(&Shape { code: None, message })).into_response(),
            Body::Coded(message) => {
                let shape = Shape { code: Some(self.status.as_u16()), message };
                let realm = HeaderValue::from_static("JWT realm=Crowdsec API local");
                (self.status, [(header::WWW_AUTHENTICATE, realm)], json(&shape)).into_response()
            }
        };
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
