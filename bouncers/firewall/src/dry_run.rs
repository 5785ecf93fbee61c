//! Logs what would be enforced in dry-run mode, with the stock bouncer's messages. Touches nothing.

use palisade_cache::{DecisionChange, Snapshot};

pub(crate) fn init() {
    tracing::info!("backend.Init() called");
}

/// Logs how the newer snapshot differs from the older; the first time, everything it holds.
pub(crate) fn log_changes(older: Option<&Snapshot>, newer: &Snapshot) {
    for line in lines(older, newer) {
        tracing::info!("{line}");
    }
}

fn lines(older: Option<&Snapshot>, newer: &Snapshot) -> Vec<String> {
    let nothing = Snapshot::default();
    let changes = newer.diff(older.unwrap_or(&nothing));
    let call = |method: &str, change: &DecisionChange<'_>| {
        let net = change.net;
        let is_host = net.prefix_len() == net.max_prefix_len();
        let value = if is_host { net.addr().to_string() } else { net.to_string() };
        format!("backend.{method}() called with {value}")
    };
    // Removals first, as in the stock bouncer.
    let gone = changes.iter().filter(|change| change.after.is_none()).map(|change| call("Delete", change));
    let come = changes.iter().filter(|change| change.after.is_some()).map(|change| call("Add", change));
    let mut lines: Vec<String> = gone.chain(come).collect();
    if !lines.is_empty() {
        lines.push("backend.Commit() called".to_owned());
    }
    lines
}

pub(crate) fn shut_down() {
    tracing::info!("backend.ShutDown() called");
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
        assert_eq!(lines(None, &empty), Vec::<String>::new());
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
}
