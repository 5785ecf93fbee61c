//! Writes decisions as JSON, byte for byte as crowdsec-custom-bouncer does. Pure.

use std::fmt::Write as _;

use palisade_cache::Timestamp;
use palisade_go_compat::GoDuration;

use super::call::{Action, calls};
use crate::event::{Entry, Event, Value};

/// Appends the lines for an event: of each change the decision with its `action`.
pub fn append_lines(out: &mut String, event: &Event, now: Timestamp) {
    for (action, entry) in calls(event) {
        append_decision(out, &event.value, entry, time_left(action, entry, now), Some(action));
        out.push('\n');
    }
}

/// A decision without `action`.
pub(super) fn decision(value: &Value, entry: &Entry, left: GoDuration) -> String {
    let mut out = String::with_capacity(160);
    append_decision(&mut out, value, entry, left, None);
    out
}

/// The time until a decision ends, rounded to seconds, as current LAPIs send it. Nothing is left of one that is lifted:
/// for a LAPI it ended when it was deleted.
pub(super) fn time_left(action: Action, entry: &Entry, now: Timestamp) -> GoDuration {
    let until = match action {
        Action::Add => entry.until,
        Action::Del => entry.until.min(now),
    };
    let millis = until.as_millis().saturating_sub(now.as_millis());
    GoDuration::from_nanos(millis.saturating_mul(1_000_000)).rounded()
}

fn append_decision(out: &mut String, value: &Value, entry: &Entry, left: GoDuration, action: Option<Action>) {
    // Writing to a string cannot fail, here and below.
    let _ = write!(out, r#"{{"duration":"{left}","origin":"#);
    append_text(out, &entry.origin);
    out.push_str(r#","scenario":"#);
    append_text(out, &entry.scenario);
    out.push_str(r#","scope":"#);
    append_text(out, value.scope());
    out.push_str(r#","type":"#);
    append_text(out, &entry.remediation);
    out.push_str(r#","value":"#);
    match value {
        // No character of an address or range needs escaping.
        Value::Net(_) => {
            let _ = write!(out, r#""{value}""#);
        }
        Value::Name { value, .. } => append_text(out, value),
    }
    let _ = write!(out, r#","id":{}"#, entry.id);
    if let Some(action) = action {
        let _ = write!(out, r#","action":"{}""#, action.as_str());
    }
    out.push('}');
}

/// Appends a text in quotes, escaped as Go's `encoding/json` escapes it.
fn append_text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let short = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + c.len_utf8();
        if short.is_empty() {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push_str(short);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, LiftCause};
    use crate::program::test_support::{NOW, entry, event};

    fn line(value: &str, kind: EventKind) -> String {
        let mut out = String::new();
        append_lines(&mut out, &event(value, kind), NOW);
        out
    }

    #[test]
    fn a_line_is_the_stock_bouncers() {
        assert_eq!(
            line("1.2.3.4/32", EventKind::Added),
            "{\"duration\":\"4h0m0s\",\"origin\":\"cscli\",\"scenario\":\"manual 'ban' from 'localhost'\",\
             \"scope\":\"Ip\",\"type\":\"ban\",\"value\":\"1.2.3.4\",\"id\":7,\"action\":\"add\"}\n"
        );
        assert_eq!(
            line("2001:db8::/32", EventKind::Lifted(LiftCause::Deleted)),
            "{\"duration\":\"0s\",\"origin\":\"cscli\",\"scenario\":\"manual 'ban' from 'localhost'\",\
             \"scope\":\"Range\",\"type\":\"ban\",\"value\":\"2001:db8::/32\",\"id\":7,\"action\":\"del\"}\n"
        );
    }

    #[test]
    fn the_argument_has_no_action() {
        let net = Value::Net("1.2.3.4/32".parse().unwrap());
        let text = decision(&net, &entry("captcha"), GoDuration::default());
        assert!(text.ends_with("\"type\":\"captcha\",\"value\":\"1.2.3.4\",\"id\":7}"), "{text}");
    }

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let value = Value::Name { scope: "User<name>".into(), value: "a\"b\\c".into() };
        let scenario = "<&>\n\t\r\u{8}\u{c}\u{1}\u{7f}\u{2028}é/'";
        let entry = Entry { scenario: scenario.into(), ..entry("ban") };
        let text = decision(&value, &entry, GoDuration::default());
        assert!(
            text.contains(
                "\"scenario\":\"\\u003c\\u0026\\u003e\\n\\t\\r\\b\\f\\u0001\u{7f}\\u2028é/'\",\
                 \"scope\":\"User\\u003cname\\u003e\""
            ),
            "{text}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["scenario"], &read["value"]), (&scenario.into(), &"a\"b\\c".into()));
    }

    #[test]
    fn the_time_left_is_a_go_duration_in_whole_seconds() {
        let until = |until: i64| Entry { until: Timestamp::from_millis(until), ..entry("ban") };
        let left = |millis: i64| {
            time_left(Action::Add, &until(NOW.as_millis().saturating_add(millis)), NOW).to_string()
        };
        assert_eq!(left(14_399_600), "4h0m0s");
        assert_eq!(left(14_399_400), "3h59m59s");
        assert_eq!(left(0), "0s");
        assert_eq!(left(-2_300), "-2s");
        assert_eq!(left(i64::MAX), "2562047h47m16.854775807s");
        let lifted = |millis: i64| time_left(Action::Del, &until(NOW.as_millis() + millis), NOW).to_string();
        assert_eq!([3_600_000, 0, -2_300].map(lifted), ["0s", "0s", "-2s"]);
    }
}
