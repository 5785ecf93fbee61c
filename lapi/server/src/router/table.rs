//! The route table. Pure.

use axum::http::Method;

/// A path (`:name` matches any segment) and its methods. The text is the stock server's metrics label.
struct Route {
    path: &'static str,
    methods: &'static [&'static str],
}

const fn route(path: &'static str, methods: &'static [&'static str]) -> Route {
    Route { path, methods }
}

/// Literal segments before parameters: the first entry that matches path and method wins.
const ROUTES: &[Route] = &[
    route("/health", &["GET"]),
    route("/openapi.json", &["GET"]),
    route("/v1/openapi.json", &["GET"]),
    route("/v1/watchers", &["POST"]),
    route("/v1/watchers/login", &["POST"]),
    route("/v1/watchers/self", &["DELETE"]),
    route("/v1/refresh_token", &["GET"]),
    route("/v1/heartbeat", &["GET"]),
    route("/v1/alerts", &["POST", "GET", "HEAD", "DELETE"]),
    route("/v1/alerts/:alert_id", &["GET", "HEAD", "DELETE"]),
    route("/v1/decisions", &["DELETE", "GET", "HEAD"]),
    route("/v1/decisions/stream", &["GET", "HEAD"]),
    route("/v1/decisions/:decision_id", &["DELETE"]),
    route("/v1/usage-metrics", &["POST"]),
    route("/v1/allowlists", &["GET"]),
    route("/v1/allowlists/check", &["POST"]),
    route("/v1/allowlists/:allowlist_name", &["GET"]),
    route("/v1/allowlists/check/:ip_or_range", &["GET", "HEAD"]),
];

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The pattern of the matching route.
    Route(&'static str),
    /// Routes exist with these methods only.
    OtherMethods(String),
    /// A route exists for this path, which differs in its trailing slash.
    Slash(String),
    Nothing,
}

/// Looks up a path as it was sent, without decoding `%2F`.
pub(super) fn find(method: &Method, path: &str) -> Found {
    if let Some(route) = with_method(method, path) {
        return Found::Route(route);
    }
    let other = match path.strip_suffix('/') {
        Some(bare) => bare.to_owned(),
        None => format!("{path}/"),
    };
    if with_method(method, &other).is_some() {
        return Found::Slash(other);
    }
    let mut methods: Vec<&str> = ROUTES
        .iter()
        .filter(|route| fits(route.path, path))
        .flat_map(|route| route.methods)
        .copied()
        .collect();
    methods.sort_unstable();
    methods.dedup();
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods.join(", ")) }
}

fn with_method(method: &Method, path: &str) -> Option<&'static str> {
    let fitting = |route: &&Route| route.methods.contains(&method.as_str()) && fits(route.path, path);
    ROUTES.iter().find(fitting).map(|route| route.path)
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut expected, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return true,
            (Some(part), Some(text)) if part.starts_with(':') => {
                if text.is_empty() {
                    return false;
                }
            }
            (Some(part), Some(text)) if part == text => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_lead_where_the_stock_server_leads() {
        let other = |methods: &str| Found::OtherMethods(methods.into());
        let slash = |path: &str| Found::Slash(path.into());
        for (method, path, expected) in [
            (Method::GET, "/v1/alerts", Found::Route("/v1/alerts")),
            (Method::HEAD, "/v1/alerts/7", Found::Route("/v1/alerts/:alert_id")),
            (Method::GET, "/v1/decisions/stream", Found::Route("/v1/decisions/stream")),
            (Method::DELETE, "/v1/decisions/stream", Found::Route("/v1/decisions/:decision_id")),
            (
                Method::GET,
                "/v1/allowlists/check/10.0.0.0%2F8",
                Found::Route("/v1/allowlists/check/:ip_or_range"),
            ),
            (Method::GET, "/v1/allowlists/check/10.0.0.0/8", Found::Nothing),
            (Method::POST, "/v1/allowlists/check", Found::Route("/v1/allowlists/check")),
            (Method::HEAD, "/health", other("GET")),
            (Method::HEAD, "/v1/heartbeat", other("GET")),
            (Method::GET, "/v1/watchers", other("POST")),
            (Method::PUT, "/v1/alerts", other("DELETE, GET, HEAD, POST")),
            (Method::GET, "/v1/alerts/", slash("/v1/alerts")),
            (Method::POST, "/v1/alerts/", slash("/v1/alerts")),
            (Method::GET, "/v1/alerts/7/", slash("/v1/alerts/7")),
            (Method::GET, "/", Found::Nothing),
            (Method::GET, "", Found::Nothing),
            (Method::GET, "/v2/alerts", Found::Nothing),
            (Method::GET, "//v1/alerts", Found::Nothing),
            (Method::GET, "/metrics", Found::Nothing),
        ] {
            assert_eq!(find(&method, path), expected, "{method} {path}");
        }
    }
}
