//! Dry-run mode: says what would be done, in the stock bouncer's words, and touches nothing.

use std::fmt::Display;

use palisade_cache::Snapshot;

/// Says how the newer snapshot differs from the older; the first time, everything it holds.
pub(crate) fn tell(older: Option<&Snapshot>, newer: &Snapshot) {
    for line in lines(older, newer) {
        tracing::info!("{line}");
    }
}

fn lines(older: Option<&Snapshot>, newer: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    if older.is_none() {
        lines.push("backend.Init() called".to_owned());
    }
    let nothing = Snapshot::default();
    let diff = newer.diff(older.unwrap_or(&nothing));
    let before = lines.len();
    let mut call =
        |method: &str, value: &dyn Display| lines.push(format!("backend.{method}() called with {value}"));
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
    if lines.len() > before {
        lines.push("backend.Commit() called".to_owned());
    }
    lines
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

#[cfg(test)]
mod tests {
    use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};

    use super::*;

    #[test]
    fn it_speaks_the_stock_bouncers_words() {
        let mut ledger = Ledger::new(Policy::default(), 0);
        let mut publish = |announced: &[&str], lifted: &[&str]| {
            let mut batch = Batch::new();
            let reason = Reason { remediation: "ban", origin: "cscli", scenario: "test" };
            for net in announced {
                batch.announce_net(net.parse().unwrap(), reason, Timestamp::from_millis(60_000), 1);
            }
            for net in lifted {
                batch.lift_net(net.parse().unwrap(), "ban");
            }
            ledger.apply(Mode::Changes, batch);
            ledger.snapshot()
        };
        let empty = publish(&[], &[]);
        assert_eq!(lines(None, &empty), ["backend.Init() called"]);
        let first = publish(&["192.0.2.1/32", "2001:db8::/32"], &[]);
        let expected = [
            "backend.Add() called with 192.0.2.1",
            "backend.Add() called with 2001:db8::/32",
            "backend.Commit() called",
        ];
        assert_eq!(lines(Some(&empty), &first), expected);
        let second = publish(&["198.51.100.7/32"], &["192.0.2.1/32", "2001:db8::/32"]);
        let expected = [
            "backend.Delete() called with 192.0.2.1",
            "backend.Delete() called with 2001:db8::/32",
            "backend.Add() called with 198.51.100.7",
            "backend.Commit() called",
        ];
        assert_eq!(lines(Some(&first), &second), expected);
        assert_eq!(lines(Some(&second), &second), Vec::<String>::new());
    }

    #[test]
    fn a_part_of_a_range_is_shown_by_its_ends() {
        let shown =
            |first: &str, last: &str| Shown(first.parse().unwrap(), last.parse().unwrap()).to_string();
        assert_eq!(shown("10.0.0.0", "10.0.0.255"), "10.0.0.0/24");
        assert_eq!(shown("10.0.0.1", "10.0.0.255"), "10.0.0.1-10.0.0.255");
        assert_eq!(shown("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0");
    }
}
