//! `GET /v1/decisions/stream`: everything, or what is new to a bouncer, answered from memory.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use palisade_active::{Commit, Cursor, Filter};
use palisade_wire::follow::{INSTANCE_HEADER, MAX_INSTANCE_NAME};
use palisade_wire::{ErrorBody, UnixMillis};

use super::body::StreamBody;
use super::follow::{self, CursorRequest};
use crate::alerts::empty_ok;
use crate::auth::{Agent, Bouncer, ClientAddress};
use crate::error::ApiError;
use crate::openapi::DecisionStream;
use crate::query::Pairs;
use crate::registry::ClientReport;
use crate::state::Lapi;

/// The media type of a stream; the stock server names no character set here.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[utoipa::path(
    get, path = "/v1/decisions/stream", tag = "decisions",
    params(
        ("startup" = Option<String>, Query, description = "`true`: everything, not only what changed"), 
        ("dedup" = Option<bool>, Query, description = "`false`: every decision, not only the longest of each value"), 
        ("scopes" = Option<String>, Query, description = "Comma-separated scopes"), 
        ("scope" = Option<String>, Query, description = "The same"), 
        ("origins" = Option<String>, Query, description = "Comma-separated origins"), 
        ("scenarios_containing" = Option<String>, Query, description = "Comma-separated words of which the scenario has one"), 
        ("scenarios_not_containing" = Option<String>, Query, description = "Comma-separated words of which the scenario has none"), 
        ("value" = Option<String>, Query, description = "Exact value"), 
        ("type" = Option<String>, Query, description = "Exact type"), 
        ("ip" = Option<String>, Query, description = "Decisions that cover this address"), 
        ("range" = Option<String>, Query, description = "Decisions that cover this range"), 
        ("contains" = Option<bool>, Query, description = "`false`: decisions inside the range instead"), 
        ("simulated" = Option<String>, Query, description = "Anything but `false`: with simulated ones"),
        ("cursor" = Option<String>, Query, description = "Of clients that keep their cursor: the `X-Palisade-Cursor` of the last answer, or empty"),
        ("wait" = Option<u64>, Query, description = "With a cursor: hold the request up to so many seconds until there is something")),
    security(("bouncer" = [])),
    responses((status = 200, description = "What is new to the bouncer and what no longer holds", body = DecisionStream,
            headers(("X-Palisade-Cursor" = Option<String>, description = "With `cursor`: what to send next"),
                ("X-Palisade-Content" = Option<String>, description = "With `cursor`: `changes`, or `everything; REASON`"),
                ("X-Palisade-Wait" = Option<u64>, description = "With `cursor`: for how many seconds a request may be held"))),
        (status = 400, description = "`wait` is no number", body = ErrorBody),
        (status = 403, description = "No key, or not a good one", body = ErrorBody),
        (status = 500, description = "A value that cannot be used, in words", body = ErrorBody))
)]
pub(crate) async fn pull(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    client: ClientAddress,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let request = Filter::for_stream(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    if let Some(ask) = CursorRequest::of(&request, &query)? {
        lapi.registry.record_stream_request(&bouncer, lapi.clock.now());
        let instance = instance(client, &headers, lapi.clock.now());
        // They hold on to what was read from the connection, which may be held for long.
        drop((headers, query, request));
        let note = |place: Option<Cursor>| {
            if let Some(instance) = instance {
                let commit = place.map_or(Commit(0), |cursor| cursor.commit);
                lapi.registry.record_report(&bouncer, ClientReport { commit, ..instance });
            }
        };
        return follow::answer(&lapi, &bouncer, ask, note).await;
    }
    // In this order: a decision that comes between the two belongs to the next pull.
    let now = lapi.clock.now();
    let view = lapi.replication.view();
    let cursor = bouncer.stream_cursor().map(|(commit, time)| Cursor { commit, time });
    let answer = view.answer(&request, cursor, now);
    let next = answer.next;
    let written = move || lapi.registry.record_pull(&bouncer, next.time, next.commit);
    let body = axum::body::Body::new(StreamBody::new(answer, written));
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

/// A machine that names itself, as it is listed; how far it has come is yet to be seen.
fn instance(client: ClientAddress, headers: &HeaderMap, now: UnixMillis) -> Option<ClientReport> {
    let name = headers.get(INSTANCE_HEADER).and_then(|name| name.to_str().ok()).map(str::trim);
    let name = name.filter(|name| !name.is_empty())?;
    let Agent { kind, version, .. } = Agent::of(headers);
    let instance = name.chars().take(MAX_INSTANCE_NAME).collect();
    Some(ClientReport { instance, ip: client.text, kind, version, at: now, commit: Commit(0) })
}

/// Tells that the key is good, and nothing else.
#[utoipa::path(
    head, path = "/v1/decisions/stream", tag = "decisions",
    security(("bouncer" = [])),
    responses((status = 200, description = "The key is good"),
        (status = 403, description = "No key, or not a good one", body = ErrorBody))
)]
pub(crate) async fn pull_head(_: Bouncer) -> Response {
    empty_ok()
}
