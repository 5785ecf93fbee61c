//! Makes events of decisions that a bouncer has shown. Pure.

use anyhow::Context as _;
use palisade_bouncer::control::DecisionView;
use palisade_cache::{Batch, Decision, Ledger, Mode, Policy, Reason, Snapshot, Timestamp};
use palisade_net::parse_prefix;

use crate::config::EndpointConfig;
use crate::event::{Entry, Event, EventId, EventKind, Value};
use crate::filter::Filter;
use crate::view::{Texts, entries};

/// A snapshot with these decisions.
pub(super) fn snapshot_of(decisions: &[DecisionView]) -> anyhow::Result<Snapshot> {
    let parsed = decisions.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(snapshot_with(&parsed))
}

/// A snapshot with these entries.
pub(super) fn snapshot_with(held: &[(Value, Entry)]) -> Snapshot {
    let mut batch = Batch::new();
    for (value, entry) in held {
        let Entry { remediation, origin, scenario, until, id } = entry;
        let reason = Reason { remediation, origin, scenario };
        match value {
            Value::Net(net) => batch.announce_net(*net, reason, *until, *id),
            Value::Name { scope, value } => batch.announce_name(scope, value, reason, *until, *id),
        }
    }
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    ledger.apply(Mode::Everything, batch);
    ledger.snapshot()
}

fn parse(decision: &DecisionView) -> anyhow::Result<(Value, Entry)> {
    let is_net = ["ip", "range"].contains(&decision.scope.to_ascii_lowercase().as_str());
    let value = if is_net {
        let net =
            parse_prefix(&decision.value).with_context(|| format!("{:?} is no address", decision.value))?;
        Value::Net(net)
    } else {
        Value::Name { scope: decision.scope.as_str().into(), value: decision.value.as_str().into() }
    };
    let entry = Entry {
        remediation: decision.remediation.as_str().into(),
        origin: decision.origin.as_str().into(),
        scenario: decision.scenario.as_str().into(),
        until: end(&decision.until)?,
        id: decision.id,
    };
    Ok((value, entry))
}

/// As RFC 3339, or in milliseconds where that is beyond the calendar.
fn end(text: &str) -> anyhow::Result<Timestamp> {
    if let Some(millis) = text.strip_suffix("ms").and_then(|millis| millis.parse().ok()) {
        return Ok(Timestamp::from_millis(millis));
    }
    let time: jiff::Timestamp = text.parse().with_context(|| format!("{text:?} is no time"))?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

/// The events of an endpoint that has been sent nothing so far.
pub(super) fn added_events(
    endpoint: &EndpointConfig,
    filter: &Filter,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Vec<Event> {
    let mut texts = Texts::default();
    let mut events = Vec::new();
    for (_, scope, target) in snapshot.targets_from(0) {
        let value = Value::of(scope, target);
        let takes = |decision: &Decision<'_>| filter.matches(decision);
        for entry in entries(snapshot, &value, takes, endpoint.grouping, &mut texts) {
            let kind = EventKind::Added;
            let id = EventId::of(&endpoint.name, 0, &kind, &value, &entry);
            events.push(Event { id, kind, value: value.clone(), entry, at: now });
        }
    }
    events
}
