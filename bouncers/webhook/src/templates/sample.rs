//! Sample messages of every kind: every template is tried with them when it is loaded.

use std::sync::Arc;

use palisade_cache::Timestamp;

use crate::event::{Entry, Event, EventId, EventKind, LiftCause, Value};
use crate::sink::{Message, MessageKind};

/// The time of all samples: 2026-05-01T12:00:00Z.
pub const NOW: Timestamp = Timestamp::from_millis(1_777_636_800_000);
const HOUR: i64 = 3_600_000;

/// A text that breaks out of whatever does not escape it.
pub const HOSTILE: &str = "a \"quoted\" 'text'\\ with <b>&amp;</b> </script> {{ 7*7 }} \r\n\t$[:put x] `code` <!channel> @everyone \
                           [link](https://example.org) \u{2028}\u{202e}\u{0}}]";

/// A message with what it is a sample of.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it shows, for errors: `an added ban`.
    pub name: &'static str,
    /// The message.
    pub message: Message,
}

/// One message for each kind of event, scope and mark, and one with several events.
pub fn messages() -> Vec<Sample> {
    let mut samples: Vec<Sample> = events()
        .into_iter()
        .map(|(name, event)| {
            let kind = match event.kind {
                EventKind::Present => MessageKind::Snapshot { snapshot: 1 },
                _ => MessageKind::Changes,
            };
            Sample { name, message: message(kind, vec![event]) }
        })
        .collect();
    let all: Vec<Event> = events().into_iter().map(|(_, event)| event).collect();
    let several = all.into_iter().filter(|event| event.kind != EventKind::Present).collect();
    samples.push(Sample { name: "several changes", message: message(MessageKind::Changes, several) });
    for (name, kind) in [
        ("the begin of a snapshot", MessageKind::SnapshotStarted { snapshot: 1 }),
        ("the end of a snapshot", MessageKind::SnapshotCompleted { snapshot: 1, events: 2 }),
    ] {
        samples.push(Sample { name, message: message(kind, Vec::new()) });
    }
    samples
}

/// A list of entries.
pub fn entries() -> Vec<(Value, Entry)> {
    events()
        .into_iter()
        .filter(|(_, event)| event.kind.is_in_force())
        .map(|(_, event)| (event.value, event.entry))
        .collect()
}

/// A message of these events, made at [`NOW`].
pub fn message(kind: MessageKind, events: Vec<Event>) -> Message {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    Message { id: EventId::of_message(&ids), kind, events, at: NOW }
}

/// An event with a deterministic id, noticed at [`NOW`].
pub fn event(kind: EventKind, value: Value, entry: Entry) -> Event {
    Event { id: EventId::of("sample", 1, &kind, &value, &entry), kind, value, entry, at: NOW }
}

/// An entry that ends `hours` after [`NOW`].
pub fn entry(remediation: &str, origin: &str, scenario: &str, hours: i64) -> Entry {
    Entry {
        remediation: Arc::from(remediation),
        origin: Arc::from(origin),
        scenario: Arc::from(scenario),
        until: Timestamp::from_millis(NOW.as_millis().saturating_add(hours.saturating_mul(HOUR))),
        id: 4711,
    }
}

fn net(text: &str) -> Value {
    Value::Net(text.parse().expect("samples are prefixes"))
}

fn events() -> Vec<(&'static str, Event)> {
    let ban = entry("ban", "crowdsec", "crowdsecurity/ssh-bf", 4);
    let captcha = entry("captcha", "crowdsec", "crowdsecurity/http-probing", 2);
    let manual = entry("ban", "cscli", "manual 'ban' from \"localhost\"", 24);
    let listed = entry("ban", "lists", "firehol_voipbl", 168);
    let name = |scope: &str, value: &str| Value::Name { scope: scope.into(), value: value.into() };
    let hostile = entry("ban", "crowdsec", HOSTILE, 4);
    let lifted = EventKind::Lifted;
    vec![
        ("an added ban", event(EventKind::Added, net("192.0.2.7/32"), ban.clone())),
        ("a changed ban", event(EventKind::Changed(captcha), net("2001:db8::7/128"), ban.clone())),
        ("an expired ban", event(lifted(LiftCause::Expired), net("192.0.2.8/32"), ban.clone())),
        ("a deleted ban", event(lifted(LiftCause::Deleted), net("192.0.2.9/32"), manual.clone())),
        ("a superseded ban", event(lifted(LiftCause::Superseded), net("192.0.2.10/32"), ban)),
        ("a ban of a range", event(EventKind::Added, net("198.51.100.0/24"), manual.clone())),
        ("a ban of a country", event(EventKind::Added, name("Country", "FR"), manual)),
        ("a ban in a snapshot", event(EventKind::Present, net("203.0.113.0/24"), listed)),
        (
            "a scenario with special characters",
            event(EventKind::Added, net("192.0.2.66/32"), hostile.clone()),
        ),
        (
            "a value with special characters",
            event(EventKind::Added, name("Custom \"scope\"", HOSTILE), hostile),
        ),
    ]
}
