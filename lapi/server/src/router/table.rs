//! The route table, made from the OpenAPI description. Pure.
//!
//! axum chooses the handler. The table decides what the stock server decides otherwise than axum: `HEAD` is no `GET`, a
//! literal path with another method may match a parameter, `Allow` is sorted, and slashes at the end are redirected.

use axum::http::Method;
use utoipa::openapi::{OpenApi, PathItem};

/// All routes. Literal segments come before parameters, because `{` sorts after letters: the first entry that matches
/// path and method wins.
#[derive(Debug)]
pub(super) struct Table(Vec<Route>);

/// A path (`:name` matches any segment) and its methods. The path is the stock server's metrics label.
#[derive(Debug)]
struct Route {
    path: String,
    methods: Vec<&'static str>,
}

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'t> {
    /// The pattern of the matching route.
    Route(&'t str),
    /// Routes exist with these methods only.
    OtherMethods(String),
    /// A route exists for this path, which differs in its trailing slash.
    Slash(String),
    Nothing,
}

impl Table {
    /// The described routes, and `undescribed` ones with the method `GET`.
    pub(super) fn new(description: &OpenApi, undescribed: &[&str]) -> Self {
        let described = description.paths.paths.iter().map(|(path, item)| Route {
            path: path.replace('{', ":").replace('}', ""),
            methods: methods(item),
        });
        let undescribed =
            undescribed.iter().map(|path| Route { path: (*path).to_owned(), methods: vec!["GET"] });
        Self(described.chain(undescribed).collect())
    }

    /// Looks up a path as it was sent, without decoding `%2F`.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        if let Some(route) = self.with_method(method, path) {
            return Found::Route(route);
        }
        let other = match path.strip_suffix('/') {
            Some(bare) => bare.to_owned(),
            None => format!("{path}/"),
        };
        if self.with_method(method, &other).is_some() {
            return Found::Slash(other);
        }
        let fitting = self.0.iter().filter(|route| fits(&route.path, path));
        let mut methods: Vec<&str> = fitting.flat_map(|route| route.methods.iter().copied()).collect();
        methods.sort_unstable();
        methods.dedup();
        if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods.join(", ")) }
    }

    fn with_method(&self, method: &Method, path: &str) -> Option<&str> {
        let fitting = |route: &&Route| route.methods.contains(&method.as_str()) && fits(&route.path, path);
        self.0.iter().find(fitting).map(|route| route.path.as_str())
    }
}

/// The methods that a description names, of those that the LAPI uses.
fn methods(item: &PathItem) -> Vec<&'static str> {
    [("DELETE", &item.delete), ("GET", &item.get), ("HEAD", &item.head), ("POST", &item.post)]
        .into_iter()
        .filter_map(|(method, operation)| operation.is_some().then_some(method))
        .collect()
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
        let table = Table::new(&super::super::api().into_openapi(), &crate::openapi::PATHS);
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
            (Method::GET, "/v1/allowlists/check", Found::Route("/v1/allowlists/:allowlist_name")),
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
            assert_eq!(table.find(&method, path), expected, "{method} {path}");
        }
    }
}
