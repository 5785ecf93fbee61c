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
use hyper::body::Body as _;
use palisade_daemon::listen::ClientGroup;
use tokio::time::Instant;

use crate::auth::ClientAddress;
use crate::error::ApiError;
use crate::limits::{BodyLimit, BodyPlace, BodyPlaces};
use crate::state::Lapi;

/// The first bytes of every gzip stream.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// The longest pause between two chunks of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
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
    /// The client sent nothing for too long, too little, or took too long altogether.
    #[error("i/o timeout")]
    Silent,
    /// There are too many such bodies at once, and this client has most of them.
    #[error("too many requests are being received at once")]
    Crowded,
}

impl BodyFailure {
    /// The response of routes that read JSON.
    pub(crate) fn into_error(self) -> ApiError {
        match self {
            Self::NotGzip => ApiError::empty(StatusCode::BAD_REQUEST),
            Self::Coding => ApiError::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::Silent => ApiError::message(StatusCode::REQUEST_TIMEOUT, self.to_string()),
            Self::Crowded => ApiError::busy(self.to_string()),
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
        let (bytes, place) = read(lapi, request, BodyLimit::AUTHENTICATED).await?;
        Ok(Self(bytes, place))
    }
}

impl FromRequest<Lapi> for UsageBody {
    type Rejection = BodyFailure;

    async fn from_request(request: Request, lapi: &Lapi) -> Result<Self, BodyFailure> {
        let (bytes, place) = read(lapi, request, BodyLimit::USAGE).await?;
        Ok(Self(bytes, place))
    }
}

/// Reads the whole body within its limit.
///
/// # Errors
///
/// See [`BodyFailure`].
pub(crate) async fn read(
    lapi: &Lapi,
    request: Request,
    limit: BodyLimit,
) -> Result<(Bytes, BodyPlace), BodyFailure> {
    let client =
        ClientAddress::of(request.extensions().get(), request.headers(), &lapi.server.trusted_proxies);
    read_with(request, limit, &lapi.body_places, client.group()).await
}

async fn read_with(
    request: Request,
    limit: BodyLimit,
    places: &BodyPlaces,
    group: ClientGroup,
) -> Result<(Bytes, BodyPlace), BodyFailure> {
    let coding = match request.headers().get(CONTENT_ENCODING).map(|value| value.to_str()) {
        Some(Ok(value)) if value.trim() == "gzip" => Coding::Gzip,
        Some(Ok(value)) if value.contains("gzip") => return Err(BodyFailure::Coding),
        // Other codings are passed through undecoded: their bytes are not JSON, and are refused as such.
        _ => Coding::Plain,
    };
    let source = Source::new(request.into_body(), limit, group);
    // The minimum pace does not count while a place is waited for, so the whole body has a deadline too.
    let whole = tokio::time::timeout(limit.timeout(), collect(source, coding, places)).await;
    let (bytes, place) = whole.unwrap_or(Err(BodyFailure::Silent))?;
    place.complete();
    Ok((bytes, place))
}

/// The body as it arrives: its pieces come at a minimum pace, and what is held of it has a place.
struct Source {
    body: Incoming,
    limit: BodyLimit,
    group: ClientGroup,
    place: BodyPlace,
    /// Bytes received, which may be compressed.
    received: usize,
    started: Instant,
    /// How long a place has been waited for.
    waited: Duration,
}

impl Source {
    fn new(body: Incoming, limit: BodyLimit, group: ClientGroup) -> Self {
        let place = BodyPlace::default();
        Self { body, limit, group, place, received: 0, started: Instant::now(), waited: Duration::ZERO }
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        let lost = self.place.lost();
        loop {
            let due = self.started + self.waited + self.limit.time_for(self.received);
            let deadline = due.min(Instant::now() + IDLE_TIMEOUT);
            let frame = tokio::select! {
                frame = tokio::time::timeout_at(deadline, self.body.frame()) => frame,
                () = lost.cancelled() => return Err(BodyFailure::Crowded),
            };
            match frame {
                Err(_) => return Err(BodyFailure::Silent),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => return Err(BodyFailure::Broken),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len();
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Takes a larger place if these bytes need one.
    async fn hold(&mut self, places: &BodyPlaces, bytes: usize) -> Result<(), BodyFailure> {
        if !self.place.is_too_small(self.limit, bytes, self.body.is_end_stream()) {
            return Ok(());
        }
        let (began, lost) = (Instant::now(), self.place.lost());
        let grown = tokio::select! {
            grown = places.grow(&mut self.place, bytes, self.limit.authenticated, self.group) => grown,
            () = lost.cancelled() => None,
        };
        self.waited += began.elapsed();
        grown.ok_or(BodyFailure::Crowded)
    }
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
    mut source: Source,
    coding: Coding,
    places: &BodyPlaces,
) -> Result<(Bytes, BodyPlace), BodyFailure> {
    let mut buffer = LimitedBuffer { bytes: Vec::new(), limit: source.limit.bytes, full: false };
    let mut gzip = None;
    if coding == Coding::Gzip {
        gzip = Some(flate2::write::MultiGzDecoder::new(buffer));
        buffer = LimitedBuffer { bytes: Vec::new(), limit: 0, full: false };
    }
    let mut start = Vec::new();
    while let Some(data) = source.next().await? {
        match &mut gzip {
            None => {
                buffer.write_all(&data).map_err(|_| BodyFailure::TooLarge)?;
                source.hold(places, buffer.bytes.len()).await?;
            }
            Some(decoder) => {
                let missing = GZIP.len().saturating_sub(start.len());
                start.extend(data.iter().take(missing));
                if !GZIP.starts_with(&start) {
                    return Err(BodyFailure::NotGzip);
                }
                // gzip expands up to a thousandfold, so these many bytes become 16 KiB at most.
                for piece in data.chunks(16) {
                    decoder.write_all(piece).map_err(|_| gzip_failure(decoder))?;
                    source.hold(places, decoder.get_ref().bytes.len()).await?;
                }
            }
        }
    }
    match gzip {
        None => Ok((buffer.bytes.into(), source.place)),
        Some(_) if start.len() < GZIP.len() => Err(BodyFailure::NotGzip),
        Some(mut decoder) => {
            decoder.try_finish().map_err(|_| gzip_failure(&decoder))?;
            match decoder.finish() {
                Ok(buffer) => Ok((buffer.bytes.into(), source.place)),
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
    use std::sync::Arc;

    use super::*;
    use crate::limits::{COMMON_BODY, FREE_BODY, UNAUTHENTICATED_BODY};

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
        read_with(request.body(body).unwrap(), limit, places, group(1)).await.map(|(bytes, _)| bytes.len())
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
            places.grow(&mut place, FREE_BODY + 1, false, group(1)).await.unwrap();
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

    #[tokio::test(start_paused = true)]
    async fn large_bodies_that_wait_leave_the_common_places_to_others() {
        let places = BodyPlaces::default();
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut place = BodyPlace::default();
            places.grow(&mut place, COMMON_BODY + 1, true, group(1)).await.unwrap();
            held.push(place);
        }
        // 32 wait; the others are refused at once.
        let large = vec![b'x'; COMMON_BODY + 1];
        let places = Arc::new(places);
        let waiting: Vec<_> = (0..40)
            .map(|_| {
                let (places, large) = (Arc::clone(&places), large.clone());
                tokio_util::task::TaskTracker::new()
                    .spawn(async move { get_with("", large, BodyLimit::AUTHENTICATED, &places).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(waiting.iter().filter(|one| one.is_finished()).count(), 8);
        // All common places are free.
        for number in 0..32 {
            let mut place = BodyPlace::default();
            let common = places.grow(&mut place, FREE_BODY * 2, true, group(number));
            tokio::time::timeout(Duration::from_millis(1), common).await.expect("it is free").unwrap();
            held.push(place);
        }
        drop(held);
        for one in waiting {
            let done = one.await.unwrap();
            assert!(matches!(done, Ok(_) | Err(BodyFailure::Crowded)), "{done:?}");
        }
    }

    #[test]
    fn the_minimum_pace() {
        let (nobody, client) = (BodyLimit::UNAUTHENTICATED, BodyLimit::AUTHENTICATED);
        for (limit, bytes, seconds) in [
            (nobody, 0, 5),
            (nobody, 4096, 9),
            (client, 0, 20),
            (client, 102_400, 120),
            (client, 32 << 20, 1044),
        ] {
            assert_eq!(limit.time_for(bytes).as_secs(), seconds, "{bytes}");
        }
    }

    /// Sends a byte a second, for ever.
    struct Trickle(tokio::time::Interval);

    impl hyper::body::Body for Trickle {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
            self.0.poll_tick(context).map(|_| Some(Ok(hyper::body::Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_given_up_and_makes_room_for_others() {
        let places = Arc::new(BodyPlaces::default());
        let trickle = |limit, number| {
            let places = Arc::clone(&places);
            tokio_util::task::TaskTracker::new().spawn(async move {
                let body = Incoming::new(Trickle(tokio::time::interval(Duration::from_secs(1))));
                let begun = Instant::now();
                let done = read_with(Request::new(body), limit, &places, group(number)).await;
                (done.map(|_| ()), begun.elapsed().as_secs())
            })
        };
        assert_eq!(trickle(BodyLimit::UNAUTHENTICATED, 1).await.unwrap(), (Err(BodyFailure::Silent), 5));
        assert_eq!(trickle(BodyLimit::AUTHENTICATED, 1).await.unwrap(), (Err(BodyFailure::Silent), 20));
        // One address fills all places; a login from another that comes in two pieces takes one over.
        let many: Vec<_> = (0..900).map(|_| trickle(BodyLimit::UNAUTHENTICATED, 1)).collect();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (body, begun) = (
            Incoming::new(Pieces(
                vec![Ok(Bytes::from_static(b"x")), Ok(Bytes::from_static(b"y"))].into_iter(),
            )),
            Instant::now(),
        );
        let done = read_with(Request::new(body), BodyLimit::UNAUTHENTICATED, &places, group(2)).await;
        assert_eq!(done.map(|(bytes, _)| bytes.len()), Ok(2));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        for one in many {
            assert!(one.await.unwrap().0.is_err());
        }
    }

    fn group(number: u8) -> ClientGroup {
        ClientGroup::of(Some([192, 0, 2, number].into()))
    }
}
