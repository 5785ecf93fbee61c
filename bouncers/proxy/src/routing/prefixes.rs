//! Finds the longest path prefix among the routes of a host.

use http::{HeaderValue, Method};

use super::{NoRoute, is_below};

/// The routes of a host, sorted by prefix. All prefixes of a path are ancestors of the last entry that is not greater, so
/// the longest one is found by one binary search and a walk to the root.
#[derive(Debug, Default)]
pub(super) struct PrefixRoutes {
    entries: Vec<MethodRoutes>,
}

/// The routes with one prefix.
#[derive(Debug)]
pub(super) struct MethodRoutes {
    prefix: Box<str>,
    /// The next shorter entry whose text this one begins with.
    parent: Option<usize>,
    any: Option<usize>,
    by_method: Vec<(Method, usize)>,
    allow: HeaderValue,
}

/// A route to be added.
pub(super) struct RouteInsertion<'a> {
    pub(super) prefix: &'a str,
    pub(super) methods: &'a [Method],
    pub(super) index: usize,
}

impl PrefixRoutes {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a route; the error is the index of one that is there already.
    pub(super) fn insert(&mut self, route: RouteInsertion<'_>) -> Result<(), usize> {
        let at = match self.entries.binary_search_by(|entry| (*entry.prefix).cmp(route.prefix)) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, MethodRoutes::new(route.prefix));
                at
            }
        };
        let entry = &mut self.entries[at];
        if route.methods.is_empty() {
            return match entry.any.replace(route.index) {
                Some(other) if other != route.index => Err(other),
                _ => Ok(()),
            };
        }
        for method in route.methods {
            match entry.by_method.iter().find(|(known, _)| known == method) {
                Some((_, other)) if *other != route.index => return Err(*other),
                Some(_) => {}
                None => entry.by_method.push((method.clone(), route.index)),
            }
        }
        Ok(())
    }

    /// To be called after the last insertion.
    pub(super) fn finish(&mut self) {
        let mut ancestors: Vec<usize> = Vec::new();
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            while ancestors.last().is_some_and(|last| !entry.prefix.starts_with(&*self.entries[*last].prefix))
            {
                ancestors.pop();
            }
            let methods: Vec<&str> = entry.by_method.iter().map(|(method, _)| method.as_str()).collect();
            let allow = HeaderValue::from_str(&methods.join(", "));
            let entry = &mut self.entries[at];
            entry.parent = ancestors.last().copied();
            // Methods are tokens, so the value is valid.
            entry.allow = allow.unwrap_or_else(|_| HeaderValue::from_static(""));
            ancestors.push(at);
        }
    }

    /// The routes with the longest prefix of the path.
    pub(super) fn find(&self, path: &str) -> Option<&MethodRoutes> {
        let after = match &self.entries[..] {
            // Most hosts have one route.
            [only] => return is_below(path, &only.prefix).then_some(only),
            // `*` sorts before `/`.
            entries if path == "*" => entries.partition_point(|entry| &*entry.prefix <= "/"),
            entries => entries.partition_point(|entry| &*entry.prefix <= path),
        };
        let mut at = after.checked_sub(1);
        while let Some(entry) = at.and_then(|at| self.entries.get(at)) {
            if is_below(path, &entry.prefix) {
                return Some(entry);
            }
            at = entry.parent;
        }
        None
    }
}

impl MethodRoutes {
    fn new(prefix: &str) -> Self {
        let allow = HeaderValue::from_static("");
        Self { prefix: prefix.into(), parent: None, any: None, by_method: Vec::new(), allow }
    }

    /// A route that lists the method comes before one for any.
    pub(super) fn for_method(&self, method: &Method) -> Result<usize, NoRoute> {
        let listed = self.by_method.iter().find(|(known, _)| known == method).map(|(_, index)| *index);
        listed.or(self.any).ok_or_else(|| NoRoute::MethodNotAllowed(self.allow.clone()))
    }
}
