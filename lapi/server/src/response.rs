//! Responses in the stock server's forms.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

/// The media type of JSON responses.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A JSON body with the media type the stock server sends.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => ([(header::CONTENT_TYPE, JSON)], bytes).into_response(),
        Err(cause) => {
            tracing::error!(error = &cause as &dyn std::error::Error, "cannot serialise the response");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 with an empty body, as the stock server answers HEAD.
pub(crate) fn empty_ok() -> Response {
    String::new().into_response()
}

/// How many rows were deleted: a number in a string, as stock clients expect it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Deleted {
    #[serde(rename = "nbDeleted")]
    pub(crate) nb_deleted: String,
}

impl Deleted {
    pub(crate) fn answer(count: u64) -> Response {
        json(&Self { nb_deleted: count.to_string() })
    }
}
