//! Decides whether a failed request may be sent again. Pure.

use bytes::Bytes;
use http::Method;

/// A body that arrived in one piece of at most this size is kept until the response, and can be sent again.
pub(crate) const MAX_REPLAY_BYTES: usize = 64 * 1024;

/// The body of a request, for one attempt.
#[derive(Debug)]
pub(crate) enum RequestBody<B> {
    /// None, or all of it was used.
    Empty,
    /// The client's. In a box, so that requests without a body move no room for one through all steps.
    Stream(Box<B>),
    /// What an attempt before this one sent.
    Replay(Bytes),
}

/// What can be sent again of a body that was polled.
#[derive(Debug)]
pub(crate) enum Replay {
    /// It was not polled.
    Untouched,
    /// All that was polled.
    Sole(Bytes),
    /// More was polled than is kept.
    Lost,
}

impl Replay {
    /// Takes note of data that was polled.
    pub(crate) fn record(&mut self, data: &Bytes) {
        *self = match self {
            Self::Untouched if data.len() <= MAX_REPLAY_BYTES => Self::Sole(data.clone()),
            _ => Self::Lost,
        };
    }

    /// The body for another attempt; `body` is what was not polled yet.
    pub(crate) fn into_body<B>(self, body: RequestBody<B>) -> Option<RequestBody<B>> {
        match (body, self) {
            (body, Self::Untouched) => Some(body),
            (RequestBody::Empty, Self::Sole(bytes)) => Some(RequestBody::Replay(bytes)),
            _ => None,
        }
    }
}

/// How far a failed attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether a byte of the request was written to the connection.
    pub(crate) sent: bool,
    /// Whether a byte of the response was received.
    pub(crate) received: bool,
    /// Whether the connection ended, as opposed to a timeout or an invalid response.
    pub(crate) died: bool,
    /// Whether the upstream said that it did not process the request (HTTP/2).
    pub(crate) refused: bool,
}

/// Whether a request whose body can be sent again may be sent again.
///
/// Always when the upstream cannot have seen it; when the connection died without a byte of a response, for methods
/// whose repetition changes nothing (RFC 9110, section 9.2.2). Never after a timeout: the upstream may be at work.
pub(crate) fn may_repeat(method: &Method, progress: Progress) -> bool {
    if progress.refused || !progress.sent {
        return true;
    }
    progress.died && !progress.received && method.is_idempotent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_repeated_only_when_that_changes_nothing() {
        let at = |sent, received, died, refused| Progress { sent, received, died, refused };
        for (method, progress, expected) in [
            (Method::POST, at(false, false, true, false), true),
            (Method::POST, at(true, false, true, false), false),
            (Method::PATCH, at(true, false, true, false), false),
            (Method::GET, at(true, false, true, false), true),
            (Method::PUT, at(true, false, true, false), true),
            (Method::GET, at(true, true, true, false), false),
            (Method::GET, at(true, false, false, false), false),
            (Method::POST, at(true, false, false, true), true),
        ] {
            assert_eq!(may_repeat(&method, progress), expected, "{method} {progress:?}");
        }
    }
}
