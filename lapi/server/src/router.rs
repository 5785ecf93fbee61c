//! Maps paths and methods to routes, and instruments every request.

mod access;
pub(crate) mod label;
mod table;
#[cfg(test)]
mod tests;

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{debug, error};
use utoipa_axum::router::OpenApiRouter;

use self::access::AccessRequest;
use self::label::{NO_ROUTE, RouteLabel, method_label};
use self::table::{Found, Table};
use crate::{
    about,
    log_limits::PANICS,
    openapi,
    response::without_empty_length,
    routes::{alerts, allowlists, decisions, decisions::follow::ParkedFor, health, usage, watchers},
    state::Lapi,
};

/// Built once, because metrics keep its paths as labels.
static TABLE: OnceLock<Table> = OnceLock::new();

/// All routes with their description.
fn api() -> OpenApiRouter<Lapi> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(health::routes())
        .merge(watchers::routes())
        .merge(alerts::routes())
        .merge(decisions::routes())
        .merge(allowlists::routes())
        .merge(usage::routes())
}

/// The LAPI as an axum router.
pub(crate) fn router(lapi: Lapi) -> Router {
    let (routes, description) = api().split_for_parts();
    let table = TABLE.get_or_init(|| Table::new(&description, &openapi::PATHS));
    let description = openapi::serve(&description);
    let add = |routes: Router<Lapi>, path| routes.route(path, description.clone());
    around(openapi::PATHS.into_iter().fold(routes, add), table, lapi)
}

fn around(routes: Router<Lapi>, table: &'static Table, lapi: Lapi) -> Router {
    let panics = lapi.metrics.panics.clone();
    let panicked = CatchPanicLayer::custom(move |_| {
        panics.inc();
        if PANICS.allows() {
            error!("a handler panicked; the panic is logged above");
        }
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    routes.layer(panicked).layer(from_fn_with_state((lapi.clone(), table), instrument)).with_state(lapi)
}

/// Finds the route, answers requests without one, and counts.
async fn instrument(
    State((lapi, table)): State<(Lapi, &'static Table)>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let logged = lapi.access.is_on().then(|| AccessRequest::of(&lapi, &request));
    let method = method_label(request.method());
    let is_head = request.method() == Method::HEAD;
    let path = request.uri().path().to_owned();
    let asks = about::is_asked(request.headers());
    let (route, response) = match table.find(request.method(), &path) {
        Found::Route(route) => {
            request.extensions_mut().insert(RouteLabel { route, method });
            (route, next.run(request).await)
        }
        Found::OtherMethods(allow) => {
            let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
            if let Ok(allow) = HeaderValue::from_str(&allow) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            (NO_ROUTE, response)
        }
        Found::Slash(other) => (NO_ROUTE, redirect(&request, &other)),
        Found::Nothing => (NO_ROUTE, StatusCode::NOT_FOUND.into_response()),
    };
    let mut response = if is_head { without_empty_length(response) } else { response };
    let parked = response.extensions().get::<ParkedFor>().map_or(Duration::ZERO, |parked| parked.0);
    let took = started.elapsed().saturating_sub(parked);
    lapi.metrics.answered(route, method, took);
    if let Some(logged) = logged {
        logged.write(&lapi, route, response.status(), started.elapsed());
    }
    if asks {
        about::add_version(route, &mut response);
    }
    debug!(method, path, status = response.status().as_u16(), ?took, "request");
    response
}

/// Redirects to the path with or without its trailing slash, with the page that Go adds for browsers.
fn redirect(request: &Request, path: &str) -> Response {
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(location) = HeaderValue::from_str(&target) else { return StatusCode::NOT_FOUND.into_response() };
    let (location, page) =
        ((header::LOCATION, location), HeaderValue::from_static("text/html; charset=utf-8"));
    match *request.method() {
        Method::GET => {
            let text = format!("<a href=\"{}\">Moved Permanently</a>.\n\n", html_escaped(&target));
            (StatusCode::MOVED_PERMANENTLY, [location, (header::CONTENT_TYPE, page)], text).into_response()
        }
        Method::HEAD => {
            (StatusCode::TEMPORARY_REDIRECT, [location, (header::CONTENT_TYPE, page)]).into_response()
        }
        _ => (StatusCode::TEMPORARY_REDIRECT, [location]).into_response(),
    }
}

fn html_escaped(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#39;")
}
