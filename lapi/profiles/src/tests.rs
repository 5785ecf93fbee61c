//! Profiles through the public API: a file, an alert, and the outcome.

mod examples;
mod files;
mod semantics;

use ipnet::IpNet;
use palisade_wire::{Alert, GoDuration, MetaItem, Source};

use crate::{History, Outcome, Profiles};

/// An alert about an address that requests a decision.
fn alert() -> Alert {
    Alert {
        scenario: "crowdsecurity/ssh-bf".to_owned(),
        message: "Ip 192.0.2.1 performed ssh-bf".to_owned(),
        events_count: 6,
        capacity: 5,
        remediation: true,
        kind: "crowdsec".to_owned(),
        source: Source {
            scope: "Ip".to_owned(),
            value: "192.0.2.1".to_owned(),
            ip: "192.0.2.1".to_owned(),
            range: "192.0.2.0/24".to_owned(),
            as_number: "64496".to_owned(),
            as_name: "Example Net".to_owned(),
            cn: "FR".to_owned(),
            latitude: 48.5,
            ..Source::default()
        },
        events: vec![palisade_wire::Event {
            meta: Some(vec![item("service", "ssh"), item("user", "root")]),
            timestamp: "2026-07-01T10:00:00Z".to_owned(),
        }],
        meta: vec![item("target", r#"["/login"]"#)],
        labels: vec!["a".to_owned()],
        ..Alert::default()
    }
}

fn item(key: &str, value: &str) -> MetaItem {
    MetaItem { key: key.to_owned(), value: value.to_owned() }
}

/// A history with that many decisions about everything; or one that fails.
struct Past(Result<i64, String>);

impl History for Past {
    fn decisions_count(&self, about: &IpNet) -> Result<i64, String> {
        assert_eq!(about.to_string(), "192.0.2.1/32");
        self.0.clone()
    }

    fn decisions_since_count(&self, _: &IpNet, back: GoDuration) -> Result<i64, String> {
        Ok(back.nanos() / 3_600_000_000_000)
    }

    fn active_decisions_count(&self, _: &IpNet) -> Result<i64, String> {
        self.0.clone()
    }

    fn active_time_left(&self, _: &IpNet) -> Result<GoDuration, String> {
        self.0.clone().map(|hours| GoDuration::from_nanos(hours * 3_600_000_000_000))
    }
}

fn evaluate(text: &str, alert: &Alert) -> Result<Outcome, String> {
    let profiles = Profiles::parse(text, "profiles.yaml").unwrap_or_else(|error| panic!("{error}"));
    profiles.evaluate(alert, &Past(Ok(2))).map_err(|error| error.to_string())
}

/// The result of a profile with one filter.
fn filter(expression: &str) -> Result<bool, String> {
    let text = format!("filters:\n  - >-\n    {expression}\ndecisions:\n  - type: ban\n    duration: 1h\n");
    evaluate(&text, &alert()).map(|outcome| !outcome.decisions.is_empty())
}
