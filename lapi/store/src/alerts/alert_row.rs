//! Converts alerts to rows: truncates texts, parses times and addresses. Pure; done before the write is queued, to keep
//! the transaction short.

use std::sync::Arc;

use palisade_model::{NewDecision, StoredDecision};
use palisade_wire::{Alert, Event, MetaItem, UnixMillis};
use tracing::warn;
use uuid::Uuid;

use super::NewAlert;
use crate::engine::Column;
use crate::prefix_bounds::bounds;

/// Maximum size of an event's details as JSON, in bytes.
// The stock server's column sizes. Longer texts are cut alike, so that alerts look the same on both.
const EVENT_BYTES: usize = 8191;
/// Maximum length of a key in an alert's context, in bytes.
const META_KEY_BYTES: usize = 255;
/// Maximum length of a value in an alert's context, in bytes.
const META_VALUE_BYTES: usize = 4095;

/// An alert ready to insert; only the ids are missing.
#[derive(Debug)]
pub(super) struct AlertRow {
    pub(super) alert: Alert,
    pub(super) started: UnixMillis,
    pub(super) stopped: UnixMillis,
    pub(super) events: String,
    pub(super) meta: String,
    pub(super) digest: Option<Vec<u8>>,
    pub(super) community: bool,
    pub(super) decisions: Vec<NewDecision>,
}

pub(super) fn prepare(now: UnixMillis, new: NewAlert) -> AlertRow {
    let NewAlert { mut alert, decisions, digest } = new;
    if alert.uuid.is_empty() {
        alert.uuid = Uuid::new_v4().to_string();
    }
    // As in the stock server, an unreadable time is the present one and no error.
    let moment = |text: &str| UnixMillis::parse_rfc3339(text).unwrap_or(now);
    let events: Vec<Event> = std::mem::take(&mut alert.events)
        .into_iter()
        .map(|event| Event {
            timestamp: posted_time(&event.timestamp, now),
            meta: event.meta.and_then(|meta| fit_event(meta, &alert.scenario)),
        })
        .collect();
    let meta: Vec<MetaItem> = std::mem::take(&mut alert.meta)
        .into_iter()
        .map(|item| MetaItem { key: cut(item.key, META_KEY_BYTES), value: cut(item.value, META_VALUE_BYTES) })
        .collect();
    AlertRow {
        started: moment(&alert.start_at),
        stopped: moment(&alert.stop_at),
        events: json(&events),
        meta: json(&meta),
        digest: digest.map(|digest| digest.to_vec()),
        community: is_community(&alert.source.scope, &decisions),
        alert,
        decisions,
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and lists are JSON")
}

/// Whether `include_capi=false` excludes it.
fn is_community(source_scope: &str, decisions: &[NewDecision]) -> bool {
    // Without decisions only the source shows that it came from a list.
    if decisions.is_empty() {
        is_list(source_scope)
    } else {
        decisions.iter().any(|one| matches!(&*one.origin, "CAPI" | "lists"))
    }
}

/// Whether an alert with this source came from a community list or a blocklist.
pub(crate) fn is_list(source_scope: &str) -> bool {
    source_scope.starts_with("lists:") || source_scope == "crowdsecurity/community-blocklist"
}

/// A time as Go prints it, `2026-07-01 10:00:00.5 +0000 UTC`; `now` when the text is not a time.
fn posted_time(text: &str, now: UnixMillis) -> String {
    go_time(palisade_go_compat::parse_rfc3339(text).unwrap_or_else(|| now.civil()))
}

/// A time as Go prints it.
pub(crate) fn go_time(moment: jiff::civil::DateTime) -> String {
    let mut text = moment.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let nanos = moment.subsec_nanosecond();
    // Go prints no fraction for whole seconds, and no zeros at its end.
    if nanos != 0 {
        let fraction = format!("{nanos:09}");
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push_str(" +0000 UTC");
    text
}

/// Truncates the longest values of an event until it fits; drops all details if that is not enough.
fn fit_event(mut meta: Vec<MetaItem>, scenario: &str) -> Option<Vec<MetaItem>> {
    if go_json_bytes(&meta) <= EVENT_BYTES {
        return Some(meta);
    }
    let mut size = 2048;
    while size > 0 {
        for item in &mut meta {
            // Twice the size, as in the stock server: values that are a little longer are not worth cutting.
            if item.value.len() > size * 2 {
                item.value = format!("{}<stripped>", &item.value[..item.value.floor_char_boundary(size)]);
            }
        }
        if go_json_bytes(&meta) <= EVENT_BYTES {
            return Some(meta);
        }
        // Down to nothing: keys alone may exceed the limit.
        size /= 2;
    }
    warn!(scenario, "the details of an event are too large; storing it without details");
    None
}

/// The length of Go's JSON encoding, to which the limit applies: `<`, `>` and `&` take six bytes there.
fn go_json_bytes(meta: &[MetaItem]) -> usize {
    let text = |text: &str| -> usize {
        text.chars()
            .map(|c| match c {
                '"' | '\\' | '\n' | '\r' | '\t' => 2,
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => 6,
                other => other.len_utf8(),
            })
            .sum()
    };
    // Computed and not serialised: it is done for each event and each attempt.
    let members = |item: &MetaItem| match (item.key.is_empty(), item.value.is_empty()) {
        (false, false) => r#"{"key":"","value":""}"#.len(),
        (false, true) => r#"{"key":""}"#.len(),
        (true, false) => r#"{"value":""}"#.len(),
        (true, true) => "{}".len(),
    };
    let items: usize = meta.iter().map(|item| members(item) + text(&item.key) + text(&item.value)).sum();
    2 + items + meta.len().saturating_sub(1)
}

fn cut(mut text: String, bytes: usize) -> String {
    // At a character boundary, as PostgreSQL refuses broken UTF-8.
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
    text
}

/// The columns of decisions for the bulk insert.
pub(super) fn columns(now: UnixMillis, rows: &[StoredDecision]) -> Vec<(&'static str, Column)> {
    let count = rows.len();
    let ints = |of: fn(&StoredDecision) -> i64| Column::Ints(rows.iter().map(of).collect());
    let shared = |of: fn(&StoredDecision) -> &Arc<str>| {
        Column::Shared(rows.iter().map(|row| Arc::clone(of(row))).collect())
    };
    let texts = |of: fn(&StoredDecision) -> String| Column::Texts(rows.iter().map(of).collect());
    let (starts, ends) = rows.iter().map(|row| row.target.prefix().map(|net| bounds(&net)).unzip()).unzip();
    vec![
        ("id", ints(|row| row.id)),
        ("commit_no", ints(|row| crate::decisions::number(row.commit))),
        ("created_at", Column::Ints(vec![now.0; count])),
        ("until", ints(|row| row.until.0)),
        ("alert_id", ints(|row| row.alert)),
        ("simulated", Column::Bools(rows.iter().map(|row| row.simulated).collect())),
        (
            "uuid",
            Column::Blobs(rows.iter().map(|row| row.uuid.map(|uuid| uuid.as_bytes().to_vec())).collect()),
        ),
        ("origin", shared(|row| &row.origin)),
        ("scenario", shared(|row| &row.scenario)),
        ("scope", texts(|row| row.target.scope.as_str().to_owned())),
        ("kind", shared(|row| &row.remediation)),
        ("value", texts(|row| row.target.value.text())),
        ("start_ip", Column::Blobs(starts)),
        ("end_ip", Column::Blobs(ends)),
        ("lifted", Column::Bools(vec![false; count])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: String) -> MetaItem {
        MetaItem { key: "k".into(), value }
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        let now = UnixMillis(1_782_900_000_250);
        for (posted, told) in [
            ("2026-07-01T12:00:00+02:00", "2026-07-01 10:00:00 +0000 UTC"),
            ("2026-07-01T10:00:00.120300Z", "2026-07-01 10:00:00.1203 +0000 UTC"),
            ("yesterday", "2026-07-01 10:00:00.25 +0000 UTC"),
        ] {
            assert_eq!(posted_time(posted, now), told, "{posted}");
        }
    }

    #[test]
    fn large_events_are_cut_step_by_step() {
        let small = vec![item("x".repeat(8000))];
        assert_eq!(fit_event(small.clone(), "s"), Some(small));
        assert_eq!(fit_event(Vec::new(), "s"), Some(Vec::new()));
        let cut = fit_event(vec![item("é".repeat(5000))], "s").unwrap();
        assert_eq!(cut[0].value, format!("{}<stripped>", "é".repeat(1024)));
        // Six values of 3,000 bytes: the first step, 2,048, does not truncate them, since they are shorter than twice
        // that.
        let several = fit_event(vec![item("y".repeat(3000)); 6], "s").unwrap();
        assert_eq!(several[0].value, format!("{}<stripped>", "y".repeat(1024)));
        // Truncation does not help against many values.
        assert_eq!(fit_event(vec![item("z".into()); 1000], "s"), None);
        assert_eq!(go_json_bytes(&[item("<\"\n".into())]), r#"[{"key":"k","value":"\u003c\"\n"}]"#.len());
    }
}
