//! `GET /v1/decisions/stream`: all decisions or the changes since the bouncer's cursor, answered from memory.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use palisade_model::Commit;
use palisade_replica::{Cursor, Filter};
use palisade_service::registry::ClientReport;
use palisade_wire::UnixMillis;
use palisade_wire::follow::{INSTANCE_HEADER, MAX_INSTANCE_NAME};
use utoipa::IntoParams;

use super::body::{JSON, StreamBody};
use super::follow::{self, CursorRequest};
use super::schema::{DecisionStream, SelectionParams};
use crate::auth::{Agent, Bouncer, ClientAddress};
use crate::error::{ApiError, ErrorBody};
use crate::query::Pairs;
use crate::response::empty_ok;
use crate::state::Lapi;

/// The parameters of a stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read leniently")]
struct StreamParams {
    /// `true`: all decisions, not only changes
    startup: Option<String>,
    /// `false`: every decision, not only the longest of each value
    dedup: Option<bool>,
    /// For clients that keep their own cursor: `X-Palisade-Cursor` of the last response, or empty
    cursor: Option<String>,
    /// With a cursor: wait up to this many seconds for changes
    wait: Option<u64>,
}

#[utoipa::path(
    get, path = "/v1/decisions/stream", tag = "decisions",
    params(StreamParams, SelectionParams),
    security(("bouncer" = [])),
    responses((status = 200, description = "Decisions that are new to the bouncer, and those no longer in force", body = DecisionStream,
            headers(("X-Palisade-Cursor" = Option<String>, description = "With `cursor`: what to send next"),
                ("X-Palisade-Content" = Option<String>, description = "With `cursor`: `changes`, or `everything; REASON`"),
                ("X-Palisade-Wait" = Option<u64>, description = "With `cursor`: how many seconds a request may wait"))),
        (status = 400, description = "`wait` is not a number", body = ErrorBody),
        (status = 403, description = "Missing or invalid key", body = ErrorBody),
        (status = 500, description = "Invalid parameter", body = ErrorBody))
)]
pub(crate) async fn pull(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    client: ClientAddress,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let request = Filter::for_stream(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    let activity = &lapi.registry.activity;
    if let Some(ask) = CursorRequest::of(&request, &query)? {
        activity.record_stream_request(&bouncer, lapi.clock.now());
        activity.save_first_bouncer(lapi.clock.now(), &bouncer).await;
        let instance = instance(client, &headers, lapi.clock.now());
        // Free what was read from the connection: the request may be parked for a minute.
        drop((headers, query, request));
        let note = |place: Option<Cursor>| {
            if let Some(instance) = instance {
                let commit = place.map_or(Commit(0), |cursor| cursor.commit);
                lapi.registry.activity.record_report(&bouncer, ClientReport { commit, ..instance });
            }
        };
        return follow::answer(&lapi, &bouncer, ask, note).await;
    }
    activity.record_first_pull(&bouncer, lapi.clock.now());
    activity.save_first_bouncer(lapi.clock.now(), &bouncer).await;
    // Read the clock before taking the view: a decision that is made in between then belongs to the next pull.
    let now = lapi.clock.now();
    let view = lapi.replication.view();
    let cursor = bouncer.stream_cursor().map(|(commit, time)| Cursor { commit, time });
    let answer = view.answer(&request, cursor, now);
    let next = answer.next;
    let written = move || lapi.registry.activity.record_pull(&bouncer, next.time, next.commit);
    let body = axum::body::Body::new(StreamBody::new(answer, written));
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

/// The client's report about itself, when it sends an instance name; the commit is filled in later.
fn instance(client: ClientAddress, headers: &HeaderMap, now: UnixMillis) -> Option<ClientReport> {
    let name = headers.get(INSTANCE_HEADER).and_then(|name| name.to_str().ok()).map(str::trim);
    let name = name.filter(|name| !name.is_empty())?;
    let Agent { kind, version, .. } = Agent::of(headers);
    let instance = name.chars().take(MAX_INSTANCE_NAME).collect();
    Some(ClientReport { instance, ip: client.text, kind, version, at: now, commit: Commit(0) })
}

/// Checks the key and returns an empty body.
#[utoipa::path(
    head, path = "/v1/decisions/stream", tag = "decisions",
    security(("bouncer" = [])),
    responses((status = 200, description = "The key is valid"),
        (status = 403, description = "Missing or invalid key", body = ErrorBody))
)]
pub(crate) async fn pull_head(_: Bouncer) -> Response {
    empty_ok()
}
