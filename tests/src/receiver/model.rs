//! Applies messages in the order of their arrival, as a receiver does that trusts them. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::take;

use serde_json::Value;

use super::truth::version;

/// Problems kept; more say nothing new.
const MAX_PROBLEMS: usize = 50;

/// Which events on one value are about the same entry: the `events` key of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Entries {
    /// All of them.
    #[default]
    Value,
    /// Those of one remediation.
    Remediation,
    /// Those of one remediation and origin.
    Decision,
}

/// A received event. What follows from the time of sending, such as the duration left, is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceivedEvent {
    /// The same for repeats.
    pub id: String,
    /// `decision.added`, `decision.changed`, `decision.lifted`, or `decision.present`.
    pub kind: String,
    /// The address, range or name.
    pub value: String,
    /// `ban`, …
    pub remediation: String,
    /// `cscli`, …
    pub origin: String,
    /// The scenario.
    pub scenario: String,
    /// When it ends.
    pub until: String,
    /// The scenario of the version before, for `decision.changed`.
    pub previous: Option<String>,
    /// Why it was lifted, for `decision.lifted`.
    pub cause: Option<String>,
}

/// What the messages say.
#[derive(Default)]
pub(super) struct Model {
    pub(super) entries: Entries,
    /// Ignore events and marks whose id was there before, as receivers may that need each once.
    drops_repeats: bool,
    pub(super) events: Vec<ReceivedEvent>,
    pub(super) snapshots: usize,
    pub(super) problems: Vec<String>,
    /// By value and entry.
    held: BTreeMap<(String, String), ReceivedEvent>,
    /// The events of each message, by its id.
    messages: HashMap<String, Vec<ReceivedEvent>>,
    /// Ids of events and marks that were taken.
    taken: BTreeSet<String>,
    /// The newest version received of each entry.
    newest: HashMap<(String, String), u64>,
    /// Values in messages whose sender does not know whether they arrived.
    doubtful: BTreeSet<String>,
    is_all_doubtful: bool,
    snapshot: Option<Snapshot>,
}

/// A snapshot that is being received.
#[derive(Default)]
struct Snapshot {
    number: u64,
    received: BTreeSet<(String, String)>,
    parts: u64,
}

impl Model {
    pub(super) fn dropping_repeats() -> Self {
        Self { drops_repeats: true, ..Self::default() }
    }

    /// The sender cannot know what was received: any event may repeat or undo another one.
    pub(super) fn doubt_everything(&mut self) {
        self.is_all_doubtful = true;
    }

    /// Starts anew, as a receiver that has lost its state.
    pub(super) fn forget(&mut self) {
        let (entries, drops_repeats) = (self.entries, self.drops_repeats);
        let (events, problems) = (take(&mut self.events), take(&mut self.problems));
        *self = Self { entries, drops_repeats, events, problems, ..Self::default() };
        self.doubt_everything();
    }

    pub(super) fn holds(&self) -> BTreeMap<String, Vec<String>> {
        let mut holds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((value, _), event) in &self.held {
            holds.entry(value.clone()).or_default().push(event.scenario.clone());
        }
        holds
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(text);
        }
    }

    /// A message whose events are taken or not; `is_acknowledged` when its sender learns that.
    pub(super) fn receive(&mut self, id: &str, body: &str, is_taken: bool, is_acknowledged: bool) {
        let Ok(message) = serde_json::from_str::<Value>(body) else {
            // Other templates have bodies of their own.
            return;
        };
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        let events = events_of(&message, &kind);
        match self.messages.get(id) {
            _ if id.is_empty() => self.problem(format!("a message without webhook-id: {body}")),
            Some(known) if *known != events => {
                let text = format!("{id} had {known:?} and has {events:?}");
                self.problem(text);
            }
            Some(_) => {}
            None => drop(self.messages.insert(id.to_owned(), events.clone())),
        }
        if !is_acknowledged {
            self.doubtful.extend(events.iter().map(|event| event.value.clone()));
        }
        if !is_taken {
            return;
        }
        let is_mark = events.is_empty();
        let news: Vec<ReceivedEvent> =
            events.iter().filter(|event| self.taken.insert(event.id.clone())).cloned().collect();
        if is_mark && !self.taken.insert(id.to_owned()) && self.drops_repeats {
            return;
        }
        let applied = if self.drops_repeats { news.clone() } else { events };
        for event in &applied {
            self.apply(event, news.contains(event));
        }
        self.follow_snapshot(&kind, &message["data"], &applied, news.len() as u64);
        self.events.extend(news);
    }

    fn key(&self, event: &ReceivedEvent) -> (String, String) {
        let entry = match self.entries {
            Entries::Value => String::new(),
            Entries::Remediation => event.remediation.clone(),
            Entries::Decision => format!("{} {}", event.remediation, event.origin),
        };
        (event.value.clone(), entry)
    }

    fn apply(&mut self, event: &ReceivedEvent, is_new: bool) {
        let key = self.key(event);
        let held = self.held.get(&key).cloned();
        let is_doubtful = self.is_all_doubtful || self.doubtful.contains(&event.value);
        let is_held_as_said = match event.kind.as_str() {
            "decision.added" => held.is_none(),
            "decision.changed" => held.as_ref().map(|held| &held.scenario) == event.previous.as_ref(),
            "decision.lifted" => held.as_ref().is_some_and(|held| held.scenario == event.scenario),
            "decision.present" => true,
            _ => {
                self.problem(format!("an event of no known type: {event:?}"));
                return;
            }
        };
        if is_new && !is_held_as_said && !is_doubtful {
            self.problem(format!("{event:?} while {held:?} was held"));
        }
        if let Some(version) = version(&event.scenario) {
            let newest = self.newest.entry(key.clone()).or_default();
            let newer = *newest;
            *newest = newer.max(version);
            // Of a queue several events may be repeated, from an older one on.
            if is_new && version < newer {
                self.problem(format!("{event:?} came after version {newer}"));
            }
        }
        if event.kind == "decision.lifted" {
            self.held.remove(&key);
        } else {
            self.held.insert(key, event.clone());
        }
    }

    fn follow_snapshot(&mut self, kind: &str, data: &Value, events: &[ReceivedEvent], news: u64) {
        let number = data["snapshot"].as_u64().unwrap_or_default();
        if kind == "snapshot.started" {
            self.snapshot = Some(Snapshot { number, ..Snapshot::default() });
            return;
        }
        let keys: Vec<_> = events.iter().map(|event| self.key(event)).collect();
        let Some(snapshot) = &mut self.snapshot else {
            if kind == "snapshot.part" && news > 0 {
                self.problem(format!("{kind} {number} without its begin"));
            }
            return;
        };
        snapshot.received.extend(keys);
        // One of an earlier snapshot may come late. What is in it is in force all the same.
        if kind == "snapshot.part" && snapshot.number == number {
            snapshot.parts += news;
        }
        let is_late = kind == "snapshot.part" && number < snapshot.number;
        if kind.starts_with("snapshot.") && snapshot.number != number && !is_late {
            let text = format!("{kind} {number} within snapshot {}", snapshot.number);
            self.problem(text);
        } else if kind == "snapshot.completed"
            && let Some(snapshot) = self.snapshot.take()
        {
            self.complete(&snapshot, data["event_count"].as_u64());
        }
    }

    /// What was held before and is not part of it is not in force.
    fn complete(&mut self, snapshot: &Snapshot, count: Option<u64>) {
        self.snapshots += 1;
        if !self.is_all_doubtful && count != Some(snapshot.parts) {
            self.problem(format!("a snapshot of {} events counts {count:?}", snapshot.parts));
        }
        let absent: Vec<_> =
            self.held.keys().filter(|key| !snapshot.received.contains(*key)).cloned().collect();
        for key in absent {
            if !self.is_all_doubtful && !self.doubtful.contains(&key.0) {
                self.problem(format!("{key:?} is not part of a snapshot and was not lifted before"));
            }
            self.held.remove(&key);
        }
    }
}

fn events_of(message: &Value, kind: &str) -> Vec<ReceivedEvent> {
    let data = &message["data"];
    match data["events"].as_array() {
        Some(events) => {
            events.iter().map(|event| event_of(event, event["type"].as_str().unwrap_or_default())).collect()
        }
        None if kind.starts_with("decision.") => vec![event_of(data, kind)],
        None => Vec::new(),
    }
}

fn event_of(event: &Value, kind: &str) -> ReceivedEvent {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    ReceivedEvent {
        id: text("id"),
        kind: kind.to_owned(),
        value: text("value"),
        remediation: text("remediation"),
        origin: text("origin"),
        scenario: text("scenario"),
        until: text("until"),
        previous: event["previous"]["scenario"].as_str().map(str::to_owned),
        cause: event["cause"].as_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn send(model: &mut Model, id: &str, kind: &str, scenario: &str, previous: Option<&str>) {
        let mut data = json!({ "id": id, "value": "192.0.2.1", "scenario": scenario });
        if let Some(previous) = previous {
            data["previous"] = json!({ "scenario": previous });
        }
        model.receive(id, &json!({ "type": kind, "data": data }).to_string(), true, true);
    }

    fn problems(sent: &[(&str, &str, &str, Option<&str>)]) -> usize {
        let mut model = Model::default();
        for (id, kind, scenario, previous) in sent {
            send(&mut model, id, kind, scenario, *previous);
        }
        model.problems.len()
    }

    #[test]
    fn events_must_follow_from_what_is_held() {
        let added = ("a", "decision.added", "version 1", None);
        let changed = ("b", "decision.changed", "version 2", Some("version 1"));
        let lifted = ("c", "decision.lifted", "version 2", None);
        assert_eq!(problems(&[added, changed, lifted]), 0);
        assert_eq!(problems(&[changed]), 1, "nothing was held");
        assert_eq!(problems(&[added, lifted]), 1, "another version was held");
        assert_eq!(problems(&[lifted]), 1);
        assert_eq!(problems(&[added, ("d", "decision.added", "version 2", None)]), 1);
        assert_eq!(problems(&[added, changed, ("a", "decision.lifted", "version 2", None)]), 1, "id reused");
        let older = ("d", "decision.changed", "version 1", Some("version 2"));
        assert_eq!(problems(&[added, changed, older]), 1, "an older version");
    }

    #[test]
    fn what_a_snapshot_does_not_have_is_not_in_force() {
        let mut model = Model::default();
        send(&mut model, "a", "decision.added", "version 1", None);
        for (id, kind) in [("s", "snapshot.started"), ("e", "snapshot.completed")] {
            let body = json!({ "type": kind, "data": { "snapshot": 1, "event_count": 0 } });
            model.receive(id, &body.to_string(), true, true);
        }
        assert_eq!((model.holds().len(), model.snapshots, model.problems.len()), (0, 1, 1));
    }

    #[test]
    fn repeats_change_nothing_for_a_receiver_that_drops_them() {
        let mut model = Model::dropping_repeats();
        for (id, kind) in [("a", "decision.added"), ("b", "decision.lifted"), ("a", "decision.added")] {
            send(&mut model, id, kind, "version 1", None);
        }
        assert_eq!((model.holds().len(), model.events.len(), model.problems.len()), (0, 2, 0));
        let mut model = Model::default();
        for (id, kind) in [("a", "decision.added"), ("b", "decision.lifted"), ("a", "decision.added")] {
            send(&mut model, id, kind, "version 1", None);
        }
        assert_eq!((model.holds().len(), model.events.len(), model.problems.len()), (1, 2, 0));
    }
}
