//! Responses in the stock server's forms.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use palisade_model::json_text::push_text;
use palisade_wire::EndedDecision;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// The media type of JSON responses.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// A longer body is sent in chunks, as Go sends one that outgrows its buffer.
pub(crate) const LONGEST_WHOLE: usize = 2048;

/// A JSON body with the media type the stock server sends.
pub(crate) fn json(value: &impl Serialize) -> Response {
    let mut bytes = Vec::new();
    match value.serialize(&mut Serializer::with_formatter(&mut bytes, GoFormatter)) {
        Ok(()) if bytes.len() > LONGEST_WHOLE => {
            ([(header::CONTENT_TYPE, JSON)], without_length(bytes.into())).into_response()
        }
        Ok(()) => ([(header::CONTENT_TYPE, JSON)], bytes).into_response(),
        Err(cause) => {
            tracing::error!(error = &cause as &dyn std::error::Error, "cannot serialise the response");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// 200 with an empty body, as the stock server answers HEAD where GET has JSON.
pub(crate) fn empty_ok() -> Response {
    String::new().into_response()
}

/// Makes a response to HEAD what Go makes of it: without `Content-Length` when there is no body to announce.
pub(crate) fn without_empty_length(response: Response) -> Response {
    match response.body().size_hint().exact() {
        Some(0) => response.map(|_| without_length(Bytes::new())),
        _ => response,
    }
}

/// A body whose length is not announced.
fn without_length(bytes: Bytes) -> Body {
    struct Unannounced(Option<Bytes>);

    impl hyper::body::Body for Unannounced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    Body::new(Unannounced((!bytes.is_empty()).then_some(bytes)))
}

/// Writes texts and numbers as Go's encoder does.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        if !fragment.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            return to.write_all(fragment.as_bytes());
        }
        let mut quoted = Vec::new();
        push_text(&mut quoted, fragment);
        to.write_all(&quoted[1..quoted.len() - 1])
    }

    fn write_f32<W: Write + ?Sized>(&mut self, to: &mut W, value: f32) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            let text = format!("{value:e}");
            return to.write_all(if size < 1.0 { text } else { text.replace('e', "e+") }.as_bytes());
        }
        // Without `.0` for whole numbers.
        write!(to, "{value}")
    }
}

/// How many rows were deleted: a number in a string, as stock clients expect it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Deleted {
    #[serde(rename = "nbDeleted")]
    pub(crate) nb_deleted: String,
    /// With `Prefer: return=representation`: the first 100 decisions that were ended
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) decisions: Vec<EndedDecision>,
}

impl Deleted {
    pub(crate) fn answer(count: u64) -> Response {
        Self::with(count, Vec::new())
    }

    pub(crate) fn with(count: u64, decisions: Vec<EndedDecision>) -> Response {
        json(&Self { nb_deleted: count.to_string(), decisions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &impl Serialize) -> String {
        let mut bytes = Vec::new();
        value.serialize(&mut Serializer::with_formatter(&mut bytes, GoFormatter)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn texts_and_numbers_are_written_as_go_writes_them() {
        assert_eq!(
            written(&"<a href=\"x\">&\u{2028}\u{8}\u{1}é"),
            r#""\u003ca href=\"x\"\u003e\u0026\u2028\b\u0001é""#
        );
        for (number, text) in [
            (0.0_f32, "0"),
            (-1.0, "-1"),
            (48.8566, "48.8566"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (2.5e-7, "2.5e-7"),
        ] {
            assert_eq!(written(&number), text, "{number}");
        }
    }
}
