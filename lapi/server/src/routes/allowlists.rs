//! Routes of `/v1/allowlists`, answered from memory.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use ipnet::IpNet;
use palisade_store::{Allowlist, AllowlistItem};
use palisade_wire::{
    Allowlist as WireAllowlist, AllowlistItem as WireItem, BulkCheckAnswer, BulkCheckRequest,
    BulkCheckResult, CheckAnswer, NO_EXPIRATION, UnixMillis, read_bulk_check,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::auth::Machine;
use crate::body::Body;
use crate::error::{ApiError, ErrorBody};
use crate::log_limits::STORE;
use crate::offload::offload;
use crate::query::Pairs;
use crate::response::json;
use crate::state::Lapi;

/// Request bodies longer than this, in bytes, are processed on a blocking thread.
const OFFLOAD_ABOVE: usize = 64 * 1024;

pub(crate) fn routes() -> OpenApiRouter<Lapi> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(check_many))
        // An allowlist may be named `check`; a GET of this path then reads that list.
        .route("/v1/allowlists/check", get(one_called_check))
        .routes(routes!(check, check_head))
        .routes(routes!(one))
}

#[utoipa::path(
    get, path = "/v1/allowlists", tag = "allowlists",
    params(
        ("with_content" = Option<bool>, Query, description = "`true`: include items")),
    security(("machine" = [])),
    responses((status = 200, description = "All lists", body = Vec<WireAllowlist>),
        (status = 401, description = "Missing or invalid token", body = ErrorBody))
)]
pub(crate) async fn list(_: Machine, State(lapi): State<Lapi>, query: Pairs) -> Response {
    let now = refresh(&lapi).await;
    let with_content = with_content(&query);
    let lists = lapi.allowlists.lists();
    json(&lists.iter().map(|list| to_wire(list, with_content, now)).collect::<Vec<_>>())
}

#[utoipa::path(
    get, path = "/v1/allowlists/{allowlist_name}", tag = "allowlists",
    params(
        ("allowlist_name" = String, Path, description = "The list's name"),
        ("with_content" = Option<bool>, Query, description = "`true`: include items")),
    security(("machine" = [])),
    responses((status = 200, description = "The list", body = WireAllowlist),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "No such list", body = ErrorBody))
)]
pub(crate) async fn one(
    _: Machine,
    State(lapi): State<Lapi>,
    Path(name): Path<String>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let now = refresh(&lapi).await;
    let lists = lapi.allowlists.lists();
    match lists.iter().find(|list| list.name == name) {
        Some(list) => Ok(json(&to_wire(list, with_content(&query), now))),
        None => Err(ApiError::internal(format!("allowlist '{name}' not found"))),
    }
}

async fn one_called_check(machine: Machine, lapi: State<Lapi>, query: Pairs) -> Result<Response, ApiError> {
    one(machine, lapi, Path("check".to_owned()), query).await
}

/// Only this literal, as in the stock server.
fn with_content(query: &Pairs) -> bool {
    query.get("with_content") == Some("true")
}

#[utoipa::path(
    get, path = "/v1/allowlists/check/{ip_or_range}", tag = "allowlists",
    params(
        ("ip_or_range" = String, Path, description = "An address, or a range with `%2F` for the slash")),
    security(("machine" = [])),
    responses((status = 200, description = "Whether the target is on a list, and on which", body = CheckAnswer),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid address", body = ErrorBody))
)]
pub(crate) async fn check(
    _: Machine,
    State(lapi): State<Lapi>,
    Path(target): Path<String>,
) -> Result<Response, ApiError> {
    let now = refresh(&lapi).await;
    let reasons = lapi.allowlists.index().reasons(&address(&target)?, now);
    Ok(json(&CheckAnswer { allowlisted: !reasons.is_empty(), reason: reasons.join(", ") }))
}

#[utoipa::path(
    head, path = "/v1/allowlists/check/{ip_or_range}", tag = "allowlists",
    params(
        ("ip_or_range" = String, Path, description = "An address, or a range with `%2F` for the slash")),
    security(("machine" = [])),
    responses((status = 200, description = "The target is on a list"),
        (status = 204, description = "The target is on no list"),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid address", body = ErrorBody))
)]
pub(crate) async fn check_head(
    _: Machine,
    State(lapi): State<Lapi>,
    Path(target): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = refresh(&lapi).await;
    let holds = lapi.allowlists.index().holds(&address(&target)?, now);
    Ok(if holds { StatusCode::OK } else { StatusCode::NO_CONTENT })
}

#[utoipa::path(
    post, path = "/v1/allowlists/check", tag = "allowlists",
    request_body = BulkCheckRequest,
    security(("machine" = [])),
    responses((status = 200, description = "The targets that are on a list", body = BulkCheckAnswer),
        (status = 400, description = "Malformed JSON", body = ErrorBody),
        (status = 401, description = "Missing or invalid token", body = ErrorBody),
        (status = 500, description = "Invalid target", body = ErrorBody))
)]
pub(crate) async fn check_many(
    _: Machine,
    State(lapi): State<Lapi>,
    Body(body, _place): Body,
) -> Result<Response, ApiError> {
    let request = read_bulk_check(&body)?;
    if request.targets.is_empty() {
        return Err(ApiError::bad_request("targets list cannot be empty"));
    }
    let now = refresh(&lapi).await;
    let index = lapi.allowlists.index();
    // An import checks all its values in one request.
    let look = move || -> Result<BulkCheckAnswer, ApiError> {
        let mut results = Vec::new();
        for target in request.targets {
            let allowlists = index.reasons(&address(&target)?, now);
            if !allowlists.is_empty() {
                results.push(BulkCheckResult { allowlists, target });
            }
        }
        Ok(BulkCheckAnswer { results })
    };
    let answer = if body.len() > OFFLOAD_ABOVE { offload(look).await? } else { look()? };
    Ok(json(&answer))
}

/// Parses an address or range from a request.
fn address(text: &str) -> Result<IpNet, ApiError> {
    palisade_net::parse_prefix(text).map_err(|error| ApiError::internal(error.to_string()))
}

/// The list as it is sent: without items that have expired since it was read.
fn to_wire(list: &Allowlist, with_content: bool, now: UnixMillis) -> WireAllowlist {
    let item = |item: &AllowlistItem| WireItem {
        created_at: item.created_at.rfc3339_millis(),
        description: item.comment.clone(),
        expiration: item.expires_at.map_or_else(|| NO_EXPIRATION.to_owned(), UnixMillis::rfc3339_millis),
        value: item.value.clone(),
    };
    let counts = |item: &&AllowlistItem| with_content && item.expires_at.is_none_or(|end| end > now);
    WireAllowlist {
        allowlist_id: list.allowlist_id.clone(),
        console_managed: list.console_managed,
        created_at: list.created_at.rfc3339_millis(),
        description: list.description.clone(),
        items: list.items.iter().filter(counts).map(item).collect(),
        name: list.name.clone(),
        updated_at: list.updated_at.rfc3339_millis(),
    }
}

/// Brings the lists up to date, so that a change made just before this request is visible. When the database does not
/// answer, the lists in memory are used. Returns the time to check expiry against.
async fn refresh(lapi: &Lapi) -> UnixMillis {
    if let Err(error) = lapi.replication.catch_up().await
        && STORE.allows()
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot refresh the allowlists; serving those in memory"
        );
    }
    lapi.clock.now()
}
