//! The decision stream for clients that keep their own cursor: what changed since it, immediately or, when nothing has
//! changed, as a long poll. The protocol is described in [`palisade_wire::follow`].

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use palisade_replica::{Cursor, CursorLookup, CursorScope, CursorStatus, CursorToken, StreamRequest, View};
use palisade_service::long_poll::{MAX_CURSOR_AGE, MAX_WAIT, PollResult, Waiter};
use palisade_service::registry::{self, AuthType};
use palisade_wire::UnixMillis;
use palisade_wire::follow::{CONTENT_HEADER, CURSOR_HEADER, Content, FullReason, WAIT_HEADER};
use tokio::sync::watch;

use super::body::{JSON, StreamBody};
use crate::error::ApiError;
use crate::metrics::ResyncLabels;
use crate::query::Pairs;
use crate::state::Lapi;

/// Response extension: how long the request was parked. Excluded from the measured response time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParkedFor(pub(crate) Duration);

/// A stream request with a cursor.
pub(super) struct CursorRequest {
    request: StreamRequest,
    digest: u64,
    /// As sent; empty when the client has no cursor yet.
    cursor: String,
    wait: Duration,
}

impl CursorRequest {
    /// Reads `cursor` and `wait`; `None` when the request has no cursor.
    ///
    /// # Errors
    ///
    /// When `wait` is not a number.
    pub(super) fn of(request: &StreamRequest, query: &Pairs) -> Result<Option<Self>, ApiError> {
        let Some(cursor) = query.get("cursor") else { return Ok(None) };
        let wait = query.get("wait").unwrap_or("0");
        let seconds: u64 = wait.parse().map_err(|_| {
            ApiError::bad_request(format!("invalid wait value {wait:?}: it is a whole number of seconds"))
        })?;
        Ok(Some(Self {
            request: StreamRequest { by_address: true, ..request.clone() },
            digest: request.digest(),
            cursor: cursor.to_owned(),
            wait: Duration::from_secs(seconds).min(MAX_WAIT),
        }))
    }

    fn lookup(&self, lapi: &Lapi, view: &View, scope: &CursorScope, now: UnixMillis) -> CursorLookup {
        lapi.long_poll.signer.lookup((view, scope), (&self.request, self.digest), &self.cursor, now)
    }
}

/// Answers a request. `seen` is called with the client's position as soon as it is known; `None` when the cursor is not
/// usable.
///
/// # Errors
///
/// 403 when the bouncer is deleted while its request is parked. 503 when the cursor is ahead of the replica and the
/// database cannot be queried: an older state must not be sent.
pub(super) async fn answer(
    lapi: &Lapi,
    bouncer: &registry::Bouncer,
    ask: CursorRequest,
    seen: impl FnOnce(Option<Cursor>),
) -> Result<Response, ApiError> {
    let (mut view, mut scope) = lapi.replication.state();
    let mut now = lapi.clock.now();
    let mut lookup = ask.lookup(lapi, &view, &scope, now);
    if matches!(lookup, CursorLookup::Valid(_, CursorStatus::Ahead)) {
        // Another LAPI on this database has sent the client commits that this replica has not applied yet.
        Box::pin(lapi.replication.catch_up())
            .await
            .map_err(|error| ApiError::store(&error, "unable to query"))?;
        (view, scope) = lapi.replication.state();
        now = lapi.clock.now();
        lookup = ask.lookup(lapi, &view, &scope, now);
    }
    let (cursor, status) = match lookup {
        CursorLookup::Invalid(why) => {
            seen(None);
            return Ok(full_response(lapi, &ask, &view, &scope, now, why));
        }
        CursorLookup::Valid(_, CursorStatus::Ahead) => {
            // The database has fewer commits than the cursor: it was restored to an earlier state.
            seen(None);
            return Ok(full_response(lapi, &ask, &view, &scope, now, FullReason::OtherDatabase));
        }
        CursorLookup::Valid(cursor, status) => (cursor, status),
    };
    let up_to_date = status == CursorStatus::UpToDate;
    seen(Some(if up_to_date { Cursor { commit: view.head(), ..cursor } } else { cursor }));
    let recent =
        now.0.saturating_sub(cursor.time.0) <= i64::try_from(MAX_CURSOR_AGE.as_millis()).unwrap_or(i64::MAX);
    if recent && !ask.wait.is_zero() && lapi.long_poll.has_room() && !lapi.closing.is_cancelled() {
        // Subscribe before the waiter is registered, so that no reload in between is missed.
        let reloads = lapi.registry.reloads();
        let waiter = lapi.long_poll.register(&scope, (&ask.request, ask.digest), cursor, now);
        if let Some(waiter) = waiter {
            drop(view);
            let begun = Instant::now();
            let mut response = park(lapi, bouncer, &ask, waiter, reloads).await?;
            response.extensions_mut().insert(ParkedFor(begun.elapsed()));
            return Ok(response);
        }
    }
    Ok(changes_response(lapi, &ask, &view, &scope, now, cursor))
}

/// Parks the request until there are changes for it, `wait` has passed, the LAPI shuts down, or the bouncer is deleted.
async fn park(
    lapi: &Lapi,
    bouncer: &registry::Bouncer,
    ask: &CursorRequest,
    mut waiter: Waiter,
    mut reloads: watch::Receiver<u64>,
) -> Result<Response, ApiError> {
    let revoked = async {
        while lapi.registry.is_current(bouncer) {
            if reloads.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if bouncer.auth == AuthType::Tls {
                // The client must authenticate again, so that its certificate is checked against the new lists.
                return Ok(PollResult::Recompute);
            }
        }
        Err(ApiError::forbidden())
    };
    let result = tokio::select! {
        result = waiter.result() => result,
        result = revoked => result?,
        () = tokio::time::sleep(ask.wait) => PollResult::Recompute,
        () = lapi.closing.cancelled() => PollResult::Recompute,
    };
    drop(waiter);
    if let PollResult::Response { body, cursor } = result {
        lapi.metrics.pushed.inc();
        return Ok((headers(lapi, cursor, Content::Changes), Body::from(body)).into_response());
    }
    let (view, of) = lapi.replication.state();
    let now = lapi.clock.now();
    Ok(match ask.lookup(lapi, &view, &of, now) {
        CursorLookup::Valid(cursor, CursorStatus::UpToDate | CursorStatus::Behind) => {
            changes_response(lapi, ask, &view, &of, now, cursor)
        }
        CursorLookup::Valid(_, _) => full_response(lapi, ask, &view, &of, now, FullReason::OtherDatabase),
        CursorLookup::Invalid(why) => full_response(lapi, ask, &view, &of, now, why),
    })
}

fn changes_response(
    lapi: &Lapi,
    ask: &CursorRequest,
    view: &View,
    scope: &CursorScope,
    now: UnixMillis,
    cursor: Cursor,
) -> Response {
    let answer = view.answer(&ask.request, Some(cursor), now);
    let head = headers(lapi, sign(lapi, ask, scope, answer.next), Content::Changes);
    (head, Body::new(StreamBody::new(answer, || ()))).into_response()
}

fn full_response(
    lapi: &Lapi,
    ask: &CursorRequest,
    view: &View,
    scope: &CursorScope,
    now: UnixMillis,
    why: FullReason,
) -> Response {
    lapi.metrics.everything.get_or_create(&ResyncLabels { why: why.as_str() }).inc();
    let answer = view.answer(&ask.request, None, now);
    let head = headers(lapi, sign(lapi, ask, scope, answer.next), Content::Everything(why));
    (head, Body::new(StreamBody::new(answer, || ()))).into_response()
}

fn sign(lapi: &Lapi, ask: &CursorRequest, scope: &CursorScope, cursor: Cursor) -> Bytes {
    let token =
        CursorToken { database: scope.database, timeline: scope.timeline(), filter: ask.digest, cursor };
    lapi.long_poll.signer.sign(&token).into()
}

fn headers(lapi: &Lapi, cursor: Bytes, content: Content) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(header::CONTENT_TYPE, JSON);
    // The response is specific to this client; proxies must not cache it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let cursor = HeaderValue::from_maybe_shared(cursor).expect("base64 is visible ASCII");
    headers.insert(HeaderName::from_static(CURSOR_HEADER), cursor);
    headers.insert(HeaderName::from_static(CONTENT_HEADER), HeaderValue::from_static(content.text()));
    if lapi.long_poll.has_room() && !lapi.closing.is_cancelled() {
        headers.insert(HeaderName::from_static(WAIT_HEADER), HeaderValue::from(MAX_WAIT.as_secs()));
    }
    headers
}
