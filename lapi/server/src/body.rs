//! Reads request bodies: whole, decompressed, and bounded in size and time.

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
use crate::limits::{BodyLimit, BodyPlace, BodyPlaces, UNAUTHENTICATED_BODY_TIMEOUT};
use crate::state::Lapi;

/// The first bytes of every gzip stream.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// The longest pause between two chunks of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time the body of an authenticated client may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(600);
/// The text sent for a body above its limit.
pub(crate) const TOO_LARGE: &str = "http: request body too large";

/// The body of an authenticated request. Place it last among a handler's arguments: extractors before it, such as
/// authentication, then run before the body is read. Keep the place until the body has been processed.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Bytes, pub(crate) BodyPlace);

/// The same for a usage report.
#[derive(Debug)]
pub(crate) struct UsageBody(pub(crate) Bytes, pub(crate) BodyPlace);

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BodyFailure {
    /// More bytes than allowed, counted after decompression.
    #[error("http: request body too large")]
    TooLarge,
    /// Declared as gzip, but has no gzip header.
    #[error("gzip: invalid header")]
    NotGzip,
    /// The gzip stream is truncated or corrupt.
    #[error("unexpected EOF")]
    BrokenGzip,
    /// gzip combined with another content coding.
    #[error("content codings other than gzip are not understood")]
    Coding,
    /// The connection broke.
    #[error("unexpected EOF")]
    Broken,
    /// The client sent nothing for too long, or took too long altogether.
    #[error("i/o timeout")]
    Silent,
}

impl BodyFailure {
    /// The response of routes that read JSON.
    pub(crate) fn into_error(self) -> ApiError {
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

impl FromRequest<Lapi> for Body {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, lapi: &Lapi) -> Result<Self, BodyFailure> {
        let (bytes, place) = read(request, BodyLimit::AUTHENTICATED, &lapi.body_places).await?;
        Ok(Self(bytes, place))
    }
}

impl FromRequest<Lapi> for UsageBody {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, lapi: &Lapi) -> Result<Self, BodyFailure> {
        let (bytes, place) = read(request, BodyLimit::USAGE, &lapi.body_places).await?;
        Ok(Self(bytes, place))
    }
}

/// Reads the whole body within its limit.
///
/// # Errors
///
/// See [`BodyFailure`].
pub(crate) async fn read(
    request: Request,
    limit: BodyLimit,
    places: &BodyPlaces,
) -> Result<(Bytes, BodyPlace), BodyFailure> {
    let coding = match request.headers().get(CONTENT_ENCODING).map(|value| value.to_str()) {
        Some(Ok(value)) if value.trim() == "gzip" => Coding::Gzip,
        Some(Ok(value)) if value.contains("gzip") => return Err(BodyFailure::Coding),
        // Other codings are passed through undecoded: their bytes are not JSON, and are refused as such.
        _ => Coding::Plain,
    };
    // A client that sends a byte now and then never hits the idle timeout, so the whole body has a deadline too.
    let timeout = if limit.authenticated { BODY_TIMEOUT } else { UNAUTHENTICATED_BODY_TIMEOUT };
    let whole = tokio::time::timeout(timeout, collect(request.into_body(), coding, limit, places)).await;
    whole.unwrap_or(Err(BodyFailure::Silent))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// Collects bytes up to a limit, either directly or as the output of the decompressor.
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

async fn collect(
    mut body: Incoming,
    coding: Coding,
    limit: BodyLimit,
    places: &BodyPlaces,
) -> Result<(Bytes, BodyPlace), BodyFailure> {
    let mut buffer = LimitedBuffer { bytes: Vec::new(), limit: limit.bytes, full: false };
    let mut place = BodyPlace::default();
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
                // gzip expands up to a thousandfold, so these many bytes become 16 KiB at most.
                for piece in data.chunks(16) {
                    decoder.write_all(piece).map_err(|_| gzip_failure(decoder))?;
                    let length = decoder.get_ref().bytes.len();
                    if place.is_too_small(length) {
                        places.grow(&mut place, length, limit.authenticated).await;
                    }
                }
            }
        }
        if place.is_too_small(buffer.bytes.len()) {
            places.grow(&mut place, buffer.bytes.len(), limit.authenticated).await;
        }
    }
    match gzip {
        None => Ok((buffer.bytes.into(), place)),
        Some(_) if start.len() < GZIP.len() => Err(BodyFailure::NotGzip),
        Some(mut decoder) => {
            decoder.try_finish().map_err(|_| gzip_failure(&decoder))?;
            match decoder.finish() {
                Ok(buffer) => Ok((buffer.bytes.into(), place)),
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
    use crate::limits::{FREE_BODY, UNAUTHENTICATED_BODY};

    async fn get(coding: &str, bytes: Vec<u8>, limit: usize) -> Result<usize, BodyFailure> {
        let places = BodyPlaces::default();
        get_with(coding, bytes, BodyLimit { bytes: limit, authenticated: true }, &places).await
    }

    async fn get_with(
        coding: &str,
        bytes: Vec<u8>,
        limit: BodyLimit,
        places: &BodyPlaces,
    ) -> Result<usize, BodyFailure> {
        let mut request = Request::builder();
        if !coding.is_empty() {
            request = request.header(CONTENT_ENCODING, coding);
        }
        // In small pieces, as a network delivers them.
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = Incoming::new(Pieces(pieces.into_iter()));
        read(request.body(body).unwrap(), limit, places).await.map(|(bytes, _)| bytes.len())
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
        assert_eq!(get("gzip", bomb, UNAUTHENTICATED_BODY).await, Err(BodyFailure::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_a_place_and_small_ones_do_not() {
        let places = BodyPlaces::default();
        let mut held = Vec::new();
        for _ in 0..32 {
            let mut place = BodyPlace::default();
            places.grow(&mut place, FREE_BODY + 1, false).await;
            held.push(place);
        }
        let limit = BodyLimit::UNAUTHENTICATED;
        let large = vec![b'x'; FREE_BODY * 2];
        assert_eq!(get_with("", large.clone(), limit, &places).await, Err(BodyFailure::Silent));
        assert_eq!(get_with("", vec![b'x'; FREE_BODY], limit, &places).await, Ok(FREE_BODY));
        // Authenticated clients have places of their own.
        let authenticated = BodyLimit::AUTHENTICATED;
        assert_eq!(get_with("", large.clone(), authenticated, &places).await, Ok(large.len()));
        held.pop();
        assert_eq!(get_with("", large.clone(), limit, &places).await, Ok(large.len()));
    }
}
