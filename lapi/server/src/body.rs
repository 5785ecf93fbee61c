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
/// How every gzip stream begins.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// How long a client may stay silent in the middle of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a whole body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(600);
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
    // Who sends a byte now and then is not silent, and still must come to an end.
    let whole = tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body(), coding, limit)).await;
    whole.unwrap_or(Err(BodyFailure::Silent))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// Bytes as they come in, kept or decompressed, up to a limit.
struct LimitedBuffer {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl std::io::Write for LimitedBuffer {
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
    let mut buffer = LimitedBuffer { bytes: Vec::new(), limit, full: false };
    let mut gzip = None;
    if coding == Coding::Gzip {
        gzip = Some(flate2::write::MultiGzDecoder::new(buffer));
        buffer = LimitedBuffer { bytes: Vec::new(), limit: 0, full: false };
    }
    let mut start = Vec::new();
    loop {
        let frame = match tokio::time::timeout(IDLE_TIMEOUT, body.frame()).await {
            Err(_) => return Err(BodyFailure::Silent),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyFailure::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        match &mut gzip {
            None => buffer.write_all(&data).map_err(|_| BodyFailure::TooLarge)?,
            Some(decoder) => {
                let missing = GZIP.len().saturating_sub(start.len());
                start.extend(data.iter().take(missing));
                if !GZIP.starts_with(&start) {
                    return Err(BodyFailure::NotGzip);
                }
                // A small piece of gzip can hold a thousand times its size: the limit is looked at while it unfolds.
                for piece in data.chunks(16 * 1024) {
                    decoder.write_all(piece).map_err(|_| gzip_failure(decoder))?;
                }
            }
        }
    }
    match gzip {
        None => Ok(buffer.bytes.into()),
        Some(_) if start.len() < GZIP.len() => Err(BodyFailure::NotGzip),
        Some(mut decoder) => {
            decoder.try_finish().map_err(|_| gzip_failure(&decoder))?;
            match decoder.finish() {
                Ok(buffer) => Ok(buffer.bytes.into()),
                Err(_) => Err(BodyFailure::BrokenGzip),
            }
        }
    }
}

fn gzip_failure(decoder: &flate2::write::MultiGzDecoder<LimitedBuffer>) -> BodyFailure {
    if decoder.get_ref().full { BodyFailure::TooLarge } else { BodyFailure::BrokenGzip }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn get(coding: &str, bytes: Vec<u8>, limit: usize) -> Result<usize, BodyFailure> {
        let mut request = Request::builder();
        if !coding.is_empty() {
            request = request.header(CONTENT_ENCODING, coding);
        }
        // In small pieces, as a network gives them.
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = Incoming::new(Pieces(pieces.into_iter()));
        read(request.body(body).unwrap(), limit).await.map(|bytes| bytes.len())
    }

    struct Pieces(std::vec::IntoIter<Result<Bytes, std::io::Error>>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
            std::task::Poll::Ready(self.0.next().map(|piece| piece.map(hyper::body::Frame::data)))
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn limits_count_what_is_inside() {
        let text = vec![b'x'; 100_000];
        let packed = gzip(&text);
        let mut broken = packed.clone();
        broken.truncate(packed.len() - 20);
        let mut twice = packed.clone();
        twice.extend_from_slice(&packed);
        for (coding, bytes, limit, expected) in [
            ("", text.clone(), 100_000, Ok(100_000)),
            ("", text.clone(), 99_999, Err(BodyFailure::TooLarge)),
            ("gzip", packed.clone(), 100_000, Ok(100_000)),
            ("gzip", packed.clone(), 99_999, Err(BodyFailure::TooLarge)),
            ("gzip", twice, 200_000, Ok(200_000)),
            ("gzip", broken, 100_000, Err(BodyFailure::BrokenGzip)),
            ("gzip", b"{\"a\":1}".to_vec(), 100_000, Err(BodyFailure::NotGzip)),
            ("gzip", Vec::new(), 100_000, Err(BodyFailure::NotGzip)),
            ("gzip, br", packed.clone(), 100_000, Err(BodyFailure::Coding)),
            ("br", b"raw".to_vec(), 100_000, Ok(3)),
            ("GZIP", packed.clone(), 100_000, Ok(packed.len())),
        ] {
            assert_eq!(get(coding, bytes, limit).await, expected, "{coding} {limit}");
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..200 {
            encoder.write_all(&zeros).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 300_000);
        assert_eq!(get("gzip", bomb, SMALL).await, Err(BodyFailure::TooLarge));
    }
}
