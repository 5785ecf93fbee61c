//! Compares a response with the recorded one.

use std::fmt;

use palisade_wire::{GoDuration, UnixMillis};

use super::exchange::{Answer, Exchange};
use super::ids::Ids;

/// How far durations may differ, in seconds.
const DURATION_TOLERANCE: u64 = 2;
/// How far times may differ, in milliseconds.
const TIME_TOLERANCE: i64 = 5_000;

/// How many characters around a difference are shown.
const CONTEXT: usize = 60;

/// A response that differs from the recorded one.
#[derive(Debug)]
pub(super) struct Mismatch<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) ours: &'a Answer,
    pub(super) status: bool,
    pub(super) headers: bool,
    pub(super) body: bool,
    ids: Ids,
}

impl<'a> Mismatch<'a> {
    /// `None` when the responses are equal.
    pub(super) fn of(exchange: &'a Exchange, ours: &'a Answer, ids: &mut Ids) -> Option<Self> {
        let recorded = &exchange.answer;
        let body = !same_text(&recorded.body, &ours.body, ids);
        let status = recorded.status != ours.status || recorded.closed != ours.closed;
        let headers = headers(recorded) != headers(ours);
        (status || headers || body).then(|| Self { exchange, ours, status, headers, body, ids: ids.clone() })
    }

    pub(super) fn recorded(&self) -> &'a Answer {
        &self.exchange.answer
    }

    /// Whether the body would be the recorded one if it were this.
    pub(super) fn is_body_equal_to(&self, ours: &str) -> bool {
        same_text(&self.recorded().body, ours, &mut self.ids.clone())
    }

    /// Whether nothing but the body differs.
    pub(super) fn is_body_alone(&self) -> bool {
        !self.status && !self.headers
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (recorded, ours) = (self.recorded(), self.ours);
        let body: String = self.exchange.body().chars().take(600).collect();
        writeln!(f, "#{} {} {body}", self.exchange.n, self.exchange.line())?;
        if self.status {
            writeln!(f, "  recorded {} {}", recorded.status, recorded.closed)?;
            writeln!(f, "  ours     {} {}", ours.status, ours.closed)?;
        }
        if self.headers {
            writeln!(f, "  recorded {:?}", headers(recorded))?;
            writeln!(f, "  ours     {:?}", headers(ours))?;
        }
        if self.body {
            let start = differ_from(&recorded.body, &ours.body).saturating_sub(CONTEXT);
            let part = |text: &str| text.chars().skip(start).take(4 * CONTEXT).collect::<String>();
            writeln!(f, "  recorded …{}\n  ours     …{}", part(&recorded.body), part(&ours.body))?;
        }
        Ok(())
    }
}

/// Where two texts begin to differ by more than digits, in characters; where they begin to differ, if that is all.
fn differ_from(recorded: &str, ours: &str) -> usize {
    let at = |same: fn(char, char) -> bool| {
        let mut pairs = recorded.chars().zip(ours.chars());
        pairs.position(|(recorded, ours)| !same(recorded, ours))
    };
    let digits =
        |one: char, other: char| one == other || (one.is_ascii_hexdigit() && other.is_ascii_hexdigit());
    at(digits).or_else(|| at(|one, other| one == other)).unwrap_or_default()
}

/// Headers by name. A length is compared with the body that it belongs to, since bodies may differ within the
/// tolerances.
fn headers(answer: &Answer) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .map(|(name, value)| match name.to_ascii_lowercase() {
            name if name == "content-length" && value.parse() == Ok(answer.body.len()) => {
                (name, "of the body".to_owned())
            }
            name => (name, value.clone()),
        })
        .collect();
    headers.sort();
    headers
}

/// Compares texts piece by piece. A piece is a JSON string without escapes, or what is between two of them; in a text
/// that is not JSON the same comparison is merely stricter.
fn same_text(recorded: &str, ours: &str, ids: &mut Ids) -> bool {
    let (recorded, ours): (Vec<_>, Vec<_>) = (recorded.split('"').collect(), ours.split('"').collect());
    if recorded.len() != ours.len() {
        return false;
    }
    // The ids of posted alerts were noted when they were read.
    if let ["[", .., "]"] = recorded[..] {
        let id = |text: &str| text.parse::<u64>().ok();
        let same = |(recorded, ours): (&&str, &&str)| match (id(recorded), id(ours)) {
            (Some(recorded), Some(ours)) => ids.same_alert(recorded, ours),
            _ => recorded == ours,
        };
        return recorded.iter().zip(&ours).all(same);
    }
    let before = std::iter::once(&"").chain(&recorded);
    let after = recorded.iter().skip(1).chain(std::iter::once(&""));
    let pieces = recorded.iter().zip(&ours).zip(before.zip(after));
    pieces.into_iter().all(|((recorded, ours), around)| match (id(recorded), id(ours), around) {
        (Some(recorded), Some(ours), (&"id", &"labels")) => ids.same_alert(recorded, ours),
        (Some(recorded), Some(ours), (&"id", &"origin")) => ids.same_decision(recorded, ours),
        _ => same_piece(recorded, ours),
    })
}

/// The number in `:5,`.
fn id(piece: &str) -> Option<u64> {
    piece.strip_prefix(':')?.strip_suffix(',')?.parse().ok()
}

fn same_piece(recorded: &str, ours: &str) -> bool {
    recorded == ours
        || same_but_uuids(recorded, ours)
        || (is_token(recorded) && is_token(ours))
        || same_time(recorded, ours)
        || same_duration(recorded, ours)
}

fn same_but_uuids(recorded: &str, ours: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let word = |word: &str| {
            if is_uuid(word.trim_end_matches(':')) { "UUID".to_owned() } else { word.to_owned() }
        };
        text.split(' ').map(word).collect()
    };
    words(recorded) == words(ours)
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

/// Within the tolerance and in the same form: letters, digits and signs at the same places.
fn same_time(recorded: &str, ours: &str) -> bool {
    // A fraction ends where only zeros follow.
    let form = |text: &str| {
        let text: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        text.split_once(".0")
            .map_or(text.clone(), |(time, rest)| format!("{time}.0{}", rest.trim_start_matches('0')))
    };
    let (Some(one), Some(other)) = (time(recorded), time(ours)) else { return false };
    form(recorded) == form(ours) && (one.0 - other.0).abs() <= TIME_TOLERANCE
}

/// A time as RFC 3339, or as Go prints it: `2026-07-01 10:00:00.5 +0000 UTC`.
fn time(text: &str) -> Option<UnixMillis> {
    let text = text
        .strip_suffix(" +0000 UTC")
        .map_or(text.to_owned(), |time| format!("{}Z", time.replace(' ', "T")));
    UnixMillis::parse_rfc3339(&text)
}

fn same_duration(recorded: &str, ours: &str) -> bool {
    let (Ok(one), Ok(other)) = (recorded.parse::<GoDuration>(), ours.parse::<GoDuration>()) else {
        return false;
    };
    // Whole seconds remain whole seconds.
    let whole = |duration: GoDuration| duration.nanos() % 1_000_000_000 == 0;
    whole(one) == whole(other) && one.nanos().abs_diff(other.nanos()) <= DURATION_TOLERANCE * 1_000_000_000
}
