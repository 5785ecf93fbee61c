//! `GET /v1/decisions`: what holds for an address now, answered from memory.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::http::header;
use palisade_active::Filter;
use palisade_wire::{GoDuration, StreamObject, push_stream_decision};

use crate::alerts::nothing;
use crate::auth::Bouncer;
use crate::error::{ApiError, JSON};
use crate::query::Pairs;
use crate::state::Lapi;

/// How old a bouncer's last pull may be before a live query renews it.
const LAST_PULL_AGE: GoDuration = GoDuration::from_nanos(60_000_000_000);

pub(super) async fn query(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let (count, body) = find(&lapi, &bouncer, &query)?;
    let now = lapi.clock.now();
    let live = bouncer.live();
    // Whoever streams has a cursor, which must not move past what it has not been told.
    if live.cursor.is_none() && live.last_pull.is_none_or(|last| now.since(last) >= LAST_PULL_AGE) {
        lapi.roster.pulled(&bouncer, now, None);
    }
    let body = if count == 0 { b"null".to_vec() } else { body };
    Ok(([(header::CONTENT_TYPE, JSON)], body).into_response())
}

pub(super) async fn query_head(
    bouncer: Bouncer,
    State(lapi): State<Lapi>,
    query: Pairs,
) -> Result<Response, ApiError> {
    find(&lapi, &bouncer, &query)?;
    Ok(nothing())
}

/// The decisions that match, as JSON, and how many there are.
fn find(lapi: &Lapi, bouncer: &Bouncer, query: &Pairs) -> Result<(usize, Vec<u8>), ApiError> {
    let filter = Filter::for_query(&query.0).map_err(|error| ApiError::internal(error.to_string()))?;
    let now = lapi.clock.now();
    let rows = lapi.tail.active().query(&filter, now);
    lapi.metrics.queried(&bouncer.name, !rows.is_empty());
    let mut body = Vec::with_capacity(2 + rows.len() * 160);
    body.push(b'[');
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let object = StreamObject {
            duration: row.until.since(now),
            id: row.id,
            origin: &row.origin,
            scenario: &row.scenario,
            scope: &row.scope,
            kind: &row.kind,
            uuid: None,
            value: &row.value,
        };
        push_stream_decision(&mut body, &object);
    }
    body.push(b']');
    Ok((rows.len(), body))
}
