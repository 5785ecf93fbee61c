//! Finds the route of a request. Pure.
//!
//! The most specific host that has a matching path decides: a name before a wildcard, a longer wildcard before a shorter
//! one, any of these before routes for any host. Of its routes the one with the longest path prefix is used, and among
//! those with the same prefix the method decides. A method that none of them has is refused, so no choice of method leads
//! to the route, and the policy, of a shorter prefix.

mod prefixes;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Method};

use self::prefixes::{PrefixRoutes, RouteInsertion};
use crate::config::RouteConfig;
use crate::request_rules::{CheckedRequest, Refusal};

/// The routes, by host.
#[derive(Debug, Default)]
pub struct Router {
    names: HashMap<Box<str>, PrefixRoutes>,
    /// By `.example.org`.
    wildcards: HashMap<Box<str>, PrefixRoutes>,
    any: PrefixRoutes,
}

/// The requests that a route is for.
#[derive(Debug, Clone, Copy)]
pub struct RoutePattern<'a> {
    /// For errors.
    pub name: &'a str,
    /// See [`RouteConfig::hosts`].
    pub hosts: &'a [String],
    /// See [`RouteConfig::path_prefix`].
    pub path_prefix: &'a str,
    /// See [`RouteConfig::methods`].
    pub methods: &'a [Method],
}

impl<'a> From<&'a RouteConfig> for RoutePattern<'a> {
    fn from(route: &'a RouteConfig) -> Self {
        let RouteConfig { name, hosts, path_prefix, methods, .. } = route;
        Self { name, hosts, path_prefix, methods }
    }
}

/// Two routes for the same requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the routes {first} and {second} are for the same requests (host {host}, path {path}): give one of them another host, \
     path or method"
)]
pub struct AmbiguousRoutes {
    /// The name of the earlier one.
    pub first: String,
    /// The name of the later one.
    pub second: String,
    /// The host of both; `*` for any.
    pub host: String,
    /// The path prefix of both.
    pub path: String,
}

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No route is for the host: 421.
    UnknownHost,
    /// No route of the host is for the path: 404.
    UnknownPath,
    /// The routes for the path have other methods: 405, with these in `Allow`.
    MethodNotAllowed(HeaderValue),
    /// Upstreams could see the path of another route: 400.
    AmbiguousPath,
}

impl NoRoute {
    /// The refusal of the request.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::UnknownHost => Refusal::UNKNOWN_HOST,
            Self::UnknownPath => Refusal::UNKNOWN_PATH,
            Self::MethodNotAllowed(_) => Refusal::METHOD_NOT_ALLOWED,
            Self::AmbiguousPath => Refusal::AMBIGUOUS_PATH,
        }
    }
}

impl Router {
    /// Sorts the routes.
    ///
    /// # Errors
    /// When two of them are for the same host, path prefix and method.
    pub fn new(routes: &[Arc<RouteConfig>]) -> Result<Self, AmbiguousRoutes> {
        let patterns: Vec<RoutePattern<'_>> = routes.iter().map(|route| (&**route).into()).collect();
        Self::from_patterns(&patterns)
    }

    /// Sorts the patterns of routes.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub fn from_patterns(routes: &[RoutePattern<'_>]) -> Result<Self, AmbiguousRoutes> {
        let mut router = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let insert = |table: &mut PrefixRoutes, host: &str| {
                table
                    .insert(RouteInsertion { prefix: route.path_prefix, methods: route.methods, index })
                    .map_err(|other| AmbiguousRoutes {
                        first: routes[other].name.to_owned(),
                        second: route.name.to_owned(),
                        host: host.to_owned(),
                        path: route.path_prefix.to_owned(),
                    })
            };
            if route.hosts.is_empty() {
                insert(&mut router.any, "*")?;
            }
            for host in route.hosts {
                let table = match host.strip_prefix('*') {
                    Some(suffix) => router.wildcards.entry(suffix.into()).or_default(),
                    None => router.names.entry(host.as_str().into()).or_default(),
                };
                insert(table, host)?;
            }
        }
        let tables = router.names.values_mut().chain(router.wildcards.values_mut());
        tables.chain([&mut router.any]).for_each(PrefixRoutes::finish);
        Ok(router)
    }

    /// The index of the request's route.
    ///
    /// # Errors
    /// When there is none, or another one for a path that upstreams could see in the target.
    pub fn route_request(&self, request: &CheckedRequest<'_>) -> Result<usize, NoRoute> {
        let found = self.route(&request.host, &request.path, request.method);
        for reading in request.other_readings() {
            if self.route(&request.host, reading, request.method) != found {
                return Err(NoRoute::AmbiguousPath);
            }
        }
        found
    }

    /// The index of the route for a host, a normalised path and a method.
    ///
    /// # Errors
    /// When there is none.
    pub fn route(&self, host: &str, path: &str, method: &Method) -> Result<usize, NoRoute> {
        let mut known = false;
        for table in self.tables(host) {
            known = true;
            if let Some(routes) = table.find(path) {
                return routes.for_method(method);
            }
        }
        Err(if known { NoRoute::UnknownPath } else { NoRoute::UnknownHost })
    }

    /// The tables for a host, the most specific one first.
    fn tables(&self, host: &str) -> impl Iterator<Item = &PrefixRoutes> {
        let dots = if self.wildcards.is_empty() { "" } else { host };
        // A wildcard stands for at least one label.
        let suffixes = dots.match_indices('.').filter(|(at, _)| *at > 0).map(|(at, _)| &dots[at..]);
        let wildcards = suffixes.filter_map(|suffix| self.wildcards.get(suffix));
        let any = (!self.any.is_empty()).then_some(&self.any);
        self.names.get(host).into_iter().chain(wildcards).chain(any)
    }
}

/// Whether the path is the prefix, or below it. Prefixes end at a segment boundary.
pub(crate) fn is_below(path: &str, prefix: &str) -> bool {
    // `*` has no path, so it belongs to routes for any path.
    if prefix == "/" {
        return true;
    }
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests;
