//! The machines that share bouncers' keys, individually, for `bouncers list` and `inspect`.

use palisade_store::{BouncerInstance, Commit, Store, StoreError};
use serde::Serialize;

use crate::table::Table;

const COLUMNS: [&str; 7] = ["Bouncer", "Instance", "IP Address", "Type", "Version", "Last Seen", "Lag"];

/// The instances, and the LAPI's current commit for their lag.
pub(super) struct Instances {
    all: Vec<BouncerInstance>,
    head: Commit,
}

/// An instance in `-o json`.
#[derive(Serialize)]
pub(super) struct InstanceView<'a> {
    instance: &'a str,
    ip_address: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    last_seen: String,
    /// Commits it had not received at its last request.
    lag: u64,
}

impl Instances {
    /// Reads the instances of one bouncer, or of all.
    pub(super) async fn read(store: &Store, bouncer: Option<&str>) -> Result<Self, StoreError> {
        Ok(Self { all: store.bouncer_instances(bouncer).await?, head: store.head().await?.commit })
    }

    pub(super) fn of(&self, bouncer: &str) -> Vec<InstanceView<'_>> {
        self.all.iter().filter(|one| one.bouncer == bouncer).map(|one| self.shown(one)).collect()
    }

    /// A table; empty if there are no instances.
    pub(super) fn human(&self, fancy: bool) -> String {
        if self.all.is_empty() {
            return String::new();
        }
        let rows = self.all.iter().map(|one| {
            let shown = self.shown(one);
            let texts = [&one.bouncer, &one.instance, &one.ip, &one.kind, &one.version];
            let mut row: Vec<String> = texts.into_iter().cloned().collect();
            row.extend([shown.last_seen, shown.lag.to_string()]);
            row
        });
        Table::plain(fancy).header(&COLUMNS).rows(rows).render()
    }

    fn shown<'a>(&self, one: &'a BouncerInstance) -> InstanceView<'a> {
        InstanceView {
            instance: &one.instance,
            ip_address: &one.ip,
            kind: &one.kind,
            version: &one.version,
            last_seen: one.last_seen.rfc3339(),
            // A report may be newer than the commit that was read.
            lag: self.head.0.saturating_sub(one.commit.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_wire::UnixMillis;

    use super::*;

    #[test]
    fn machines_are_shown_with_their_lag() {
        let one = |bouncer: &str, instance: &str, commit| BouncerInstance {
            bouncer: bouncer.into(),
            instance: instance.into(),
            ip: "192.0.2.1".into(),
            kind: "palisade-firewall".into(),
            version: "v0.1.0".into(),
            last_seen: UnixMillis::parse_rfc3339("2026-01-02T03:04:05Z").unwrap(),
            commit: Commit(commit),
        };
        let all =
            vec![one("fleet", "web-1/00000001", 40), one("fleet", "web-2/00000002", 44), one("x", "y", 1)];
        let instances = Instances { all, head: Commit(42) };
        let shown = crate::output::json(&instances.of("fleet")[0], 0);
        assert!(
            shown.contains("\"instance\": \"web-1/00000001\"") && shown.contains("\"lag\": 2"),
            "{shown}"
        );
        assert_eq!(instances.of("fleet")[1].lag, 0, "never less than nothing");
        assert_eq!(instances.of("unknown").len(), 0);
        let table = instances.human(false);
        assert!(table.contains(" fleet    web-2/00000002  192.0.2.1 "), "{table}");
        let none = Instances { all: Vec::new(), head: Commit(42) };
        assert_eq!(none.human(false), "");
    }
}
