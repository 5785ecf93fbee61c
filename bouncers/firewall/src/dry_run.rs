//! Dry-run mode: says what would be done, in the stock bouncer's words, and touches nothing.

use std::fmt::Display;

use palisade_cache::Snapshot;

/// Says how the newer snapshot differs from the older; the first time, everything it holds.
pub(crate) fn tell(older: Option<&Snapshot>, newer: &Snapshot) {
    if older.is_none() {
        tracing::info!("backend.Init() called");
    }
    let nothing = Snapshot::default();
    let diff = newer.diff(older.unwrap_or(&nothing));
    let mut called = false;
    let mut call = |method: &str, value: &dyn Display| {
        called = true;
        tracing::info!("backend.{method}() called with {value}");
    };
    // Removals first, as the stock bouncer does.
    for change in diff.hosts.iter().filter(|change| change.after.is_none()) {
        call("Delete", &change.address);
    }
    for span in &diff.spans_gone {
        let again = diff.spans_come.iter().any(|come| (come.first, come.last) == (span.first, span.last));
        if !again {
            call("Delete", &Shown(span.first, span.last));
        }
    }
    for change in diff.hosts.iter().filter(|change| change.after.is_some()) {
        call("Add", &change.address);
    }
    for span in &diff.spans_come {
        call("Add", &Shown(span.first, span.last));
    }
    if called {
        tracing::info!("backend.Commit() called");
    }
}

/// Says that it ends.
pub(crate) fn shut_down() {
    tracing::info!("backend.ShutDown() called");
}

/// A span, as a prefix where it is one.
struct Shown(std::net::IpAddr, std::net::IpAddr);

impl Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(first, last) = self;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let prefix = (0..=width)
            .filter_map(|len| ipnet::IpNet::new(*first, len).ok())
            .find(|net| net.network() == *first && net.broadcast() == *last);
        match prefix {
            Some(prefix) => prefix.fmt(f),
            None => write!(f, "{first}-{last}"),
        }
    }
}
