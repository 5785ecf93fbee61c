//! How metrics name the route and the method of a request.

use axum::http::{Method, request::Parts};

/// The label of requests without a route.
pub(super) const NO_ROUTE: &str = "invalid-endpoint";

/// The route and method of a request as metrics label them; an extension of each request that has a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteLabel {
    pub(super) route: &'static str,
    pub(super) method: &'static str,
}

impl RouteLabel {
    pub(crate) fn of(parts: &Parts) -> (&'static str, &'static str) {
        match parts.extensions.get::<Self>() {
            Some(label) => (label.route, label.method),
            None => (NO_ROUTE, method_label(&parts.method)),
        }
    }
}

/// A static name for a method; unknown methods share one.
pub(super) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}
