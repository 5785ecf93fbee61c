//! Request bodies: whole, decompressed, and never larger than allowed.

use std::{io::Write as _, time::Duration};

use axum::{
    body::Body as Incoming,
    extract::{FromRequest, Request},
    http::{StatusCode, header::CONTENT_ENCODING},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::BodyExt as _;

use crate::error::ApiError;

/// Limit before authentication.
pub const SMALL: usize = 2 * 1024 * 1024;
/// Limit after authentication.
pub const LARGE: usize = 50 * 1024 * 1024;
/// How long a client may stay silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// The shortest header of gzip.
const GZIP_HEADER: usize = 10;
/// The words for a body above its limit.
pub const TOO_LARGE: &str = "http: request body too large";

/// The body of an authenticated request: at most [`LARGE`] bytes after decompression. Put it last in a handler: what
/// comes before it (who asks) is checked before anything is read.
#[derive(Debug, Clone)]
pub struct Body(pub Bytes);

/// The body of a request by anybody: at most [`SMALL`] bytes after decompression.
#[derive(Debug, Clone)]
pub struct SmallBody(pub Bytes);

/// Why a body cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyFailure {
    /// More bytes than allowed, counted after decompression.
    #[error("http: request body too large")]
    TooLarge,
    /// Said to be gzip, and is not.
    #[error("gzip: invalid header")]
    NotGzip,
    /// gzip that ends or breaks in the middle.
    #[error("unexpected EOF")]
    BrokenGzip,
    /// gzip and another coding together.
    #[error("content codings other than gzip are not understood")]
    Coding,
    /// The client went away.
    #[error("unexpected EOF")]
    Broken,
    /// The client fell silent.
    #[error("i/o timeout")]
    Silent,
}

impl BodyFailure {
    /// As the routes that read JSON answer it.
    pub fn into_error(self) -> ApiError {
        match self {
            Self::NotGzip => ApiError::empty(StatusCode::BAD_REQUEST),
            Self::Coding => ApiError::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::Silent => ApiError::message(StatusCode::REQUEST_TIMEOUT, self.to_string()),
            Self::TooLarge | Self::BrokenGzip | Self::Broken => ApiError::bad_request(self.to_string()),
        }
    }
}

impl IntoResponse for BodyFailure {
    fn into_response(self) -> Response {
        self.into_error().into_response()
    }
}

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, _: &S) -> Result<Self, BodyFailure> {
        read(request, LARGE).await.map(Self)
    }
}

impl<S: Sync> FromRequest<S> for SmallBody {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, _: &S) -> Result<Self, BodyFailure> {
        read(request, SMALL).await.map(Self)
    }
}

/// Reads the whole body, decompressed when the request says gzip, of at most `limit` bytes.
///
/// # Errors
///
/// See [`BodyFailure`].
pub async fn read(request: Request, limit: usize) -> Result<Bytes, BodyFailure> {
    let coding = match request.headers().get(CONTENT_ENCODING).map(|value| value.to_str()) {
        Some(Ok(value)) if value.trim() == "gzip" => Coding::Gzip,
        Some(Ok(value)) if value.contains("gzip") => return Err(BodyFailure::Coding),
        // Any other coding is not looked at: its bytes are no JSON, and are answered as such.
        _ => Coding::Plain,
    };
    collect(request.into_body(), coding, limit).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// Bytes as they come in, kept or decompressed, up to a limit.
struct Kept {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl std::io::Write for Kept {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + more.len() > self.limit {
            self.full = true;
            return Err(std::io::Error::other(TOO_LARGE));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn collect(mut body: Incoming, coding: Coding, limit: usize) -> Result<Bytes, BodyFailure> {
    let mut kept = Kept { bytes: Vec::new(), limit, full: false };
    let mut gzip = None;
    if coding == Coding::Gzip {
        gzip = Some(flate2::write::MultiGzDecoder::new(kept));
        kept = Kept { bytes: Vec::new(), limit: 0, full: false };
    }
    let mut got = 0;
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Err(_) => return Err(BodyFailure::Silent),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyFailure::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        match &mut gzip {
            None => kept.write_all(&data).map_err(|_| BodyFailure::TooLarge)?,
            Some(decoder) => {
                // A small piece of gzip can hold a thousand times its size: the limit is looked at while it unfolds.
                for piece in data.chunks(16 * 1024) {
                    decoder.write_all(piece).map_err(|_| gzip_failure(decoder, got))?;
                    got += piece.len();
                }
            }
        }
    }
    match gzip {
        None => Ok(kept.bytes.into()),
        Some(_) if got == 0 => Err(BodyFailure::NotGzip),
        Some(mut decoder) => {
            decoder.try_finish().map_err(|_| gzip_failure(&decoder, got))?;
            match decoder.finish() {
                Ok(kept) => Ok(kept.bytes.into()),
                Err(_) => Err(BodyFailure::BrokenGzip),
            }
        }
    }
}

/// Why it broke after so many bytes: fewer than a header has, or not even a header, was never gzip.
fn gzip_failure(decoder: &flate2::write::MultiGzDecoder<Kept>, got: usize) -> BodyFailure {
    if decoder.get_ref().full {
        BodyFailure::TooLarge
    } else if got >= GZIP_HEADER || !decoder.get_ref().bytes.is_empty() {
        BodyFailure::BrokenGzip
    } else {
        BodyFailure::NotGzip
    }
}
