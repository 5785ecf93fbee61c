//! Shows the state of endpoints, as text and as JSON.

use palisade_bouncer::control::printable;
use palisade_cache::Timestamp;
use serde_json::{Value, json};

use super::{EndpointView, StateView};
use crate::delivery::circuit::CircuitState;
use crate::delivery::status::EndpointStatus;
use crate::replace::status::ReplaceStatus;
use crate::store::DeadLetter;

/// Most characters shown of each text of a dead letter.
const MAX_SHOWN_CHARS: usize = 300;

/// The line of `status` for an endpoint.
pub fn line(view: &EndpointView, now: Timestamp) -> String {
    let mut text = match &view.state {
        StateView::Delivery(status) => delivery(status, now),
        StateView::Replace(status) => replace(status, now),
    };
    if view.filter_errors > 0 {
        text += &format!("; failures of its filter expression: {}", view.filter_errors);
    }
    text
}

/// What fails at an endpoint now, in one line.
pub fn failure(view: &EndpointView) -> Option<String> {
    let (store, failing, error) = match &view.state {
        StateView::Delivery(one) => (one.store_problem.as_ref(), one.failing_since, one.last_error.as_ref()),
        StateView::Replace(one) => (None, one.failing_since, one.last_error.as_ref()),
    };
    let reason = store.or(error.filter(|_| failing.is_some()))?;
    Some(format!("endpoint {}: {}", view.name, printable(reason)))
}

fn delivery(status: &EndpointStatus, now: Timestamp) -> String {
    if status.generation.is_none() && status.store_problem.is_none() {
        return "waits for the LAPI to confirm the decisions".to_owned();
    }
    let at_least = if status.is_lower_bound { "at least " } else { "" };
    let mut text = format!("{at_least}{} waiting, {} delivered", status.waiting, status.delivered);
    if let (Some(since), 1..) = (status.oldest_waiting, status.waiting) {
        text += &format!(", the oldest for {}", age(since, now));
    }
    if status.dead_letters > 0 {
        text += &match status.dead_letters {
            1 => ", 1 dead letter".to_owned(),
            many => format!(", {many} dead letters"),
        };
    }
    let dropped = status.dropped.too_old + status.dropped.no_room + status.dropped.dead_letters;
    if dropped > 0 {
        text += &format!(", {dropped} dropped because of a bound");
    }
    if status.is_snapshot_running {
        text += ", a snapshot is under way";
    }
    if let Some(problem) = &status.store_problem {
        text += &format!("; the store fails: {}", printable(problem));
    }
    text + &trouble(status.circuit, status.failing_since, status.last_error.as_deref(), now)
}

fn replace(status: &ReplaceStatus, now: Timestamp) -> String {
    let mut text = match (status.ready, status.waiting) {
        (false, _) => "waits for the LAPI to confirm the decisions".to_owned(),
        (true, true) => format!("a list of {} entries is to be uploaded", status.entries),
        (true, false) => format!("a list of {} entries is accepted", status.entries),
    };
    text += &format!(", {} lists accepted", status.accepted);
    for (count, what) in [(status.omitted, "too many"), (status.unusable, "of a kind it does not take")] {
        if count > 0 {
            text += &format!(", {count} left out as {what}");
        }
    }
    text + &trouble(status.state, status.failing_since, status.last_error.as_deref(), now)
}

fn trouble(
    state: CircuitState,
    failing_since: Option<Timestamp>,
    last_error: Option<&str>,
    now: Timestamp,
) -> String {
    let mut text = String::new();
    match state {
        CircuitState::Closed => {}
        CircuitState::Open => text += "; one message at a time is tried",
        CircuitState::Refused => text += "; PAUSED: the receiver refuses this sender and is tried rarely",
        CircuitState::Stopped => {
            text += "; STOPPED: the receiver asked for no more; `resume` starts it again";
        }
    }
    if let Some(since) = failing_since {
        text += &format!("; failing for {}", age(since, now));
    }
    if let Some(error) = last_error {
        text += &format!("; last error: {}", printable(error));
    }
    text
}

/// The state of an endpoint. Times are RFC 3339 in UTC.
pub fn report(view: &EndpointView) -> Value {
    let mut report = match &view.state {
        StateView::Delivery(status) => json!({
            "kind": "changes",
            "waiting": status.waiting,
            "waiting_is_lower_bound": status.is_lower_bound,
            "oldest_waiting": time(status.oldest_waiting),
            "in_flight": status.in_flight,
            "delivered": status.delivered,
            "failed_attempts": status.failed_attempts,
            "dead_letters": status.dead_letters,
            "dropped_too_old": status.dropped.too_old,
            "dropped_no_room": status.dropped.no_room,
            "dropped_dead_letters": status.dropped.dead_letters,
            "failing_since": time(status.failing_since),
            "last_error": status.last_error,
            "last_success": time(status.last_success),
            "circuit": status.circuit.as_str(),
            "next_attempt": time(status.next_attempt),
            "store_problem": status.store_problem,
            "snapshot_running": status.is_snapshot_running,
        }),
        StateView::Replace(status) => json!({
            "kind": "list",
            "waiting": u64::from(status.waiting),
            "entries": status.entries,
            "omitted": status.omitted,
            "unusable": status.unusable,
            "delivered": status.accepted,
            "failed_attempts": status.failed,
            "failing_since": time(status.failing_since),
            "last_error": status.last_error,
            "last_success": time(status.last_accepted),
            "circuit": status.state.as_str(),
        }),
    };
    report["name"] = json!(view.name);
    report["filter_errors"] = json!(view.filter_errors);
    report
}

/// A dead letter, as `deadletter list` shows it.
pub fn dead_letter(number: u64, letter: &DeadLetter) -> Value {
    let event = &letter.event;
    json!({
        "number": number,
        "event": event.kind.as_str(),
        "value": excerpt(&event.value.to_string()),
        "remediation": excerpt(&event.entry.remediation),
        "scenario": excerpt(&event.entry.scenario),
        "at": time(Some(letter.at)),
        "attempts": letter.attempts,
        "reason": letter.reason,
    })
}

/// The beginning of a text of a decision: the list of all letters has a bound.
fn excerpt(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// The result of `deadletter list` as lines of text.
pub fn dead_letters(result: &Value) -> String {
    let letters = result["dead_letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let field = |letter: &Value, key: &str| match &letter[key] {
        Value::String(text) => printable(text).to_string(),
        other => other.to_string(),
    };
    let mut text = letters.iter().fold(String::new(), |mut text, letter| {
        let line =
            ["number", "at", "event", "value", "remediation", "scenario"].map(|key| field(letter, key));
        text += &format!("{}: {}\n", line.join("  "), field(letter, "reason"));
        text
    });
    if let Some(more @ 1..) = result["more"].as_u64() {
        text += &format!("{more} more are not shown: replay or drop these first\n");
    }
    text
}

fn time(at: Option<Timestamp>) -> Option<String> {
    let time = jiff::Timestamp::from_second(at?.as_millis().div_euclid(1000)).ok()?;
    Some(time.to_string())
}

fn age(since: Timestamp, now: Timestamp) -> String {
    match now.saturating_duration_since(since).as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_waits_and_what_fails() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let status = EndpointStatus {
            waiting: 3,
            delivered: 12,
            dead_letters: 1,
            oldest_waiting: Some(at(10)),
            failing_since: Some(at(40)),
            last_error: Some("status 503\u{1b}[31m".to_owned()),
            circuit: CircuitState::Open,
            generation: Some(1),
            ..EndpointStatus::default()
        };
        let view =
            EndpointView { name: "siem".to_owned(), filter_errors: 0, state: StateView::Delivery(status) };
        let line = line(&view, at(100));
        assert!(line.starts_with("3 waiting, 12 delivered, the oldest for 90 s, 1 dead letter"), "{line}");
        assert!(line.contains("failing for 60 s; last error: status 503"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert!(failure(&view).is_some_and(|text| text.starts_with("endpoint siem: status 503")));
    }
}
