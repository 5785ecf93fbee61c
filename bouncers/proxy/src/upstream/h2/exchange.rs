//! One request and the head of its response on a connection with HTTP/2.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::StreamSlot;
use super::sender::{BodySender, SendError};
use crate::config::TimeoutsConfig;
use crate::upstream::error::{BadAnswer, BoxError, ErrorKind};
use crate::upstream::exchange::{CONTINUE_TIMEOUT, Failure};
use crate::upstream::h1::{self, MAX_FIELDS, MAX_INTERIM};
use crate::upstream::retry::{Progress, RequestBody};
use crate::upstream::timer::LazyTimer;

/// A response's head, and what is needed for the rest.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    pub(crate) response: Response<RecvStream>,
    pub(crate) slot: StreamSlot,
    /// Sends the rest of the request; `None` when it was sent.
    pub(crate) sender: Option<BodySender<B>>,
    /// The sending half of a tunnel.
    pub(crate) tunnel: Option<SendStream<Bytes>>,
    pub(crate) timer: LazyTimer,
}

/// One request on its way to a response's head.
pub(crate) struct Exchange<B> {
    pub(crate) slot: StreamSlot,
    pub(crate) body: RequestBody<B>,
    pub(crate) length: Option<u64>,
    pub(crate) timeouts: TimeoutsConfig,
    pub(crate) expects_continue: bool,
    pub(crate) to_head: bool,
    pub(crate) tunnels: bool,
}

struct Waiting<B> {
    response: ResponseFuture,
    sender: Option<BodySender<B>>,
    timeouts: TimeoutsConfig,
    timer: LazyTimer,
    interim: u8,
    waiting_since: Option<Instant>,
}

type Failed = (ErrorKind, Option<BoxError>);

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Exchange<B> {
    /// Runs until the response's head.
    pub(crate) async fn run(mut self, request: Request<()>) -> Result<Answer<B>, Failure<B>> {
        let wait = tokio::time::timeout(self.timeouts.connect, poll_fn(|cx| self.slot.send.poll_ready(cx)));
        match wait.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.slot.condemn();
                return Err(unsent(ErrorKind::Closed, Some(error.into()), true, self.body));
            }
            // Every stream of every connection is taken, which slow requests can bring about at a healthy upstream.
            Err(_) => return Err(unsent(ErrorKind::ConnectTimeout, None, false, self.body)),
        }
        let ends = matches!(self.body, RequestBody::Empty) && !self.tunnels;
        let (response, stream) = match self.slot.send.send_request(request, ends) {
            Ok(sent) => sent,
            Err(error) => {
                self.slot.condemn();
                return Err(unsent(ErrorKind::Closed, Some(error.into()), true, self.body));
            }
        };
        let (sender, tunnel) = match self.body {
            _ if self.tunnels => (None, Some(stream)),
            RequestBody::Empty => (None, None),
            body => (Some(BodySender::new(stream, body, self.length, self.expects_continue)), None),
        };
        let (timeouts, timer) = (self.timeouts, LazyTimer::default());
        let mut waiting = Waiting { response, sender, timeouts, timer, interim: 0, waiting_since: None };
        match poll_fn(|cx| waiting.poll(cx)).await {
            Ok(response) => match checked(response, self.to_head) {
                Ok(response) => {
                    let Waiting { sender, timer, .. } = waiting;
                    let sender = sender.filter(|sender| !sender.finished);
                    Ok(Answer { response, slot: self.slot, sender, tunnel, timer })
                }
                Err(reason) => Err(fail(&self.slot, (ErrorKind::BadAnswer(reason), None), true, None)),
            },
            Err(failed) => {
                let body = match waiting.sender {
                    Some(sender) => sender.into_body(),
                    None => Some(RequestBody::Empty),
                };
                Err(fail(&self.slot, failed, waiting.interim > 0, body))
            }
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Waiting<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, Failed>> {
        loop {
            if let Some(sender) = &mut self.sender {
                match sender.poll_send(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Err(SendError::Client(error))) => {
                        return Poll::Ready(Err((ErrorKind::ClientBody, Some(error))));
                    }
                    Poll::Ready(Ok(()) | Err(SendError::Stopped)) => {
                        self.waiting_since = None;
                        self.finish_sending();
                    }
                }
            }
            let released = self.poll_interim(cx)?;
            if let Poll::Ready(response) = Pin::new(&mut self.response).poll(cx) {
                return Poll::Ready(response.map_err(classify));
            }
            if !released && !self.poll_timeouts(cx)? {
                return Poll::Pending;
            }
        }
    }

    /// Keeps the sender only for what it remembers of the body.
    fn finish_sending(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.finished = true;
        }
    }

    /// Whether the upstream asked for the body. Other interim responses are dropped.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Result<bool, Failed> {
        let mut released = false;
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err((ErrorKind::BadAnswer(BadAnswer::TooManyInterim), None));
            }
            if interim.status() == StatusCode::CONTINUE
                && let Some(sender) = &mut self.sender
            {
                released |= std::mem::replace(&mut sender.held, false);
            }
        }
        Ok(released)
    }

    /// Whether a timeout changed what there is to do.
    fn poll_timeouts(&mut self, cx: &mut Context<'_>) -> Result<bool, Failed> {
        let (start, limit, kind) = match &self.sender {
            Some(sender) if !sender.finished && sender.is_blocked_by_upstream() => {
                (sender.last_write, self.timeouts.idle, Some(ErrorKind::SendTimeout))
            }
            Some(sender) if !sender.finished && sender.held => {
                (*self.waiting_since.get_or_insert_with(Instant::now), CONTINUE_TIMEOUT, None)
            }
            Some(sender) if !sender.finished => return Ok(false),
            _ => {
                let start = *self.waiting_since.get_or_insert_with(Instant::now);
                (start, self.timeouts.head, Some(ErrorKind::HeadTimeout))
            }
        };
        if self.timer.poll(cx, start + limit).is_pending() {
            return Ok(false);
        }
        match (kind, &mut self.sender) {
            (Some(kind), _) => Err((kind, None)),
            (None, Some(sender)) => {
                sender.held = false;
                Ok(true)
            }
            (None, None) => Ok(false),
        }
    }
}

fn unsent<B>(kind: ErrorKind, source: Option<BoxError>, stale: bool, body: RequestBody<B>) -> Failure<B> {
    let progress = Progress { sent: false, received: false, died: true, refused: false };
    Failure { kind, source, progress, stale, counts: false, body: Some(body) }
}

fn classify(error: h2::Error) -> Failed {
    let kind = if error.is_library() { ErrorKind::BadAnswer(BadAnswer::Http2) } else { ErrorKind::Closed };
    (kind, Some(error.into()))
}

fn fail<B>(
    slot: &StreamSlot,
    (kind, source): Failed,
    received: bool,
    body: Option<RequestBody<B>>,
) -> Failure<B> {
    let error = source.as_ref().and_then(|source| source.downcast_ref::<h2::Error>());
    let refused = error.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    });
    let died = kind == ErrorKind::Closed;
    if error.is_some_and(|error| !error.is_reset()) || kind == ErrorKind::HeadTimeout {
        // After a timeout the connection itself may be dead: other requests should find out on another one.
        slot.condemn();
    }
    let progress = Progress { sent: true, received, died, refused };
    let goes_away = error.is_some_and(|error| !error.is_reset());
    let stale = slot.reused && died && !received && goes_away;
    let counts = kind.counts_against_upstream() && !stale && !refused;
    Failure { kind, source, progress, stale, counts, body }
}

/// Applies the rules for heads that the `h2` crate leaves to its users.
fn checked(mut response: Response<RecvStream>, to_head: bool) -> Result<Response<RecvStream>, BadAnswer> {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadAnswer::UnrequestedSwitch);
    }
    let headers = response.headers_mut();
    if headers.len() > MAX_FIELDS {
        return Err(BadAnswer::TooManyFields);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    h1::of_response(status, false, to_head, headers)?;
    Ok(response)
}
