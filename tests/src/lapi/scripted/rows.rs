//! The decisions of the scripted LAPI, with the stream semantics of a real one: a cursor per key, the longest
//! decision of each (scope, type, value), deletions repeated for two seconds.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::lapi::Ban;

/// How long a deletion is announced again, as a real LAPI does.
const OVERLAP: Duration = Duration::from_secs(2);

/// One row of the database.
pub(crate) struct ScriptedRow {
    pub(crate) id: i64,
    pub(crate) ban: Ban,
    /// When it becomes visible to cursors.
    pub(crate) created: Instant,
    /// When it ends; in the past for a lifted one.
    pub(crate) until: Instant,
}

/// The parameters of a stream request.
pub(crate) struct StreamQuery<'a> {
    pub(crate) startup: bool,
    pub(crate) scopes: Option<&'a str>,
    pub(crate) origins: Option<&'a str>,
}

/// All rows, and each key's cursor.
#[derive(Default)]
pub(crate) struct DecisionTable {
    pub(crate) rows: Vec<ScriptedRow>,
    pub(crate) cursors: HashMap<String, Instant>,
    pub(crate) last_id: i64,
    /// Whole seconds and `[]`, as in LAPI 1.7.8, instead of nanoseconds and `null` as in 1.4.6.
    pub(crate) modern: bool,
}

impl DecisionTable {
    pub(crate) fn add(&mut self, ban: Ban, created: Instant) -> i64 {
        self.last_id += 1;
        let until = Instant::now() + ban.duration;
        self.rows.push(ScriptedRow { id: self.last_id, ban, created, until });
        self.last_id
    }

    /// Ends every active row of this value, as `cscli decisions delete` does.
    pub(crate) fn lift(&mut self, value: &str) -> usize {
        let now = Instant::now();
        let active = self.rows.iter_mut().filter(|row| row.ban.value == value && row.until > now);
        active.map(|row| row.until = now).count()
    }

    /// The body of a stream response; advances the key's cursor to `now`.
    pub(crate) fn stream(&mut self, key: &str, ask: &StreamQuery<'_>, now: Instant) -> String {
        let since = self.cursors.insert(key.to_owned(), now);
        let wanted = |row: &&ScriptedRow| {
            let scopes = ask.scopes.unwrap_or("ip,range");
            let origin =
                ask.origins.is_none_or(|origins| origins.split(',').any(|origin| origin == row.ban.origin));
            origin && scopes.split(',').any(|scope| scope.eq_ignore_ascii_case(&row.ban.scope))
        };
        let mut longest: HashMap<(&str, &str, &str), Instant> = HashMap::new();
        for row in self.rows.iter().filter(wanted) {
            let end = longest.entry(triple(row)).or_insert(row.until);
            *end = row.until.max(*end);
        }
        let heads = |row: &&ScriptedRow| longest.get(&triple(row)) == Some(&row.until);
        let everything = ask.startup || since.is_none();
        let new = self.rows.iter().filter(wanted).filter(heads).filter(|row| row.until > now);
        let new = new.filter(|row| everything || since.is_some_and(|since| row.created > since));
        let deleted = self.rows.iter().filter(wanted).filter(heads).filter(|row| row.until <= now);
        let deleted =
            deleted.filter(|row| everything || since.is_some_and(|since| row.until + OVERLAP > since));
        let (new, deleted) = (list(new, now, self.modern), list(deleted, now, self.modern));
        if self.modern {
            format!("{{\"new\": {new}, \"deleted\": {deleted}}}")
        } else {
            format!("{{\"deleted\":{deleted},\"new\":{new}}}")
        }
    }
}

fn triple(row: &ScriptedRow) -> (&str, &str, &str) {
    (&row.ban.scope, &row.ban.kind, &row.ban.value)
}

fn list<'a>(rows: impl Iterator<Item = &'a ScriptedRow>, now: Instant, modern: bool) -> String {
    let mut text = String::from("[");
    for row in rows {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&object(row.id, &row.ban, &remaining(row.until, now, modern)));
    }
    text.push(']');
    if text.len() == 2 && !modern { "null".to_owned() } else { text }
}

/// One decision as JSON.
pub(crate) fn object(id: i64, ban: &Ban, duration: &str) -> String {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::with_capacity(160);
    let _ = write!(
        text,
        "{{\"duration\":\"{duration}\",\"id\":{id},\"origin\":{},\"scenario\":{},\"scope\":{},\"type\":{},\"value\":{}}}",
        quote(&ban.origin),
        quote(&ban.scenario),
        quote(&ban.scope),
        quote(&ban.kind),
        quote(&ban.value)
    );
    text
}

/// The remaining time in Go's format: negative when past, whole seconds if modern.
fn remaining(until: Instant, now: Instant, modern: bool) -> String {
    let (sign, span) = match until.checked_duration_since(now) {
        Some(left) => ("", left),
        None => ("-", now.duration_since(until)),
    };
    let seconds = span.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction = if modern { String::new() } else { format!(".{:09}", span.subsec_nanos()) };
    let rest = format!("{}{fraction}s", seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}"),
        (0, _) => format!("{sign}{minutes}m{rest}"),
        _ => format!("{sign}{hours}h{minutes}m{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(startup: bool) -> StreamQuery<'static> {
        StreamQuery { startup, scopes: None, origins: None }
    }

    #[test]
    fn a_cursor_sees_each_change_and_each_key_has_its_own() {
        let mut rows = DecisionTable { modern: true, ..DecisionTable::default() };
        let start = Instant::now();
        rows.add(Ban::of("192.0.2.1"), start);
        assert!(rows.stream("a", &ask(true), start).contains("192.0.2.1"));
        let later = start + Duration::from_secs(5);
        assert_eq!(rows.stream("a", &ask(false), later), r#"{"new": [], "deleted": []}"#);
        assert!(
            rows.stream("b", &ask(false), later).contains("192.0.2.1"),
            "a key never seen gets everything"
        );
        rows.lift("192.0.2.1");
        let gone = rows.stream("a", &ask(true), later);
        assert!(gone.starts_with(r#"{"new": [], "deleted": [{"#), "{gone}");
    }

    #[test]
    fn only_the_longest_decision_of_a_value_is_sent() {
        let mut rows = DecisionTable::default();
        let now = Instant::now();
        rows.add(Ban::of("192.0.2.1").lasting(Duration::from_secs(7200)), now);
        rows.add(Ban::of("192.0.2.1").lasting(Duration::from_secs(60)), now);
        let body = rows.stream("a", &ask(true), now);
        assert!(body.contains("\"id\":1,") && !body.contains("\"id\":2,"), "{body}");
        assert!(body.starts_with("{\"deleted\":null,"), "an old LAPI says null: {body}");
    }

    #[test]
    fn durations_are_printed_as_in_go() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_millis(seconds);
        assert_eq!(remaining(at(3_599_500), now, false), "59m59.500000000s");
        assert_eq!(remaining(at(7_261_000), now, true), "2h1m1s");
        assert_eq!(remaining(now, at(2_000), true), "-2s");
    }
}
