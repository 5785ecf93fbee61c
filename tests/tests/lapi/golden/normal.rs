//! What differs from run to run is replaced by its kind: times of this run, remaining times, UUIDs, tokens.

use jiff::{SignedDuration, Timestamp, fmt::strtime};
use palisade_e2e::Reply;
use palisade_wire::GoDuration;
use serde_json::Value;

use super::chapter::{Answer, Step};

/// Times that lie so near to the run are times of the run.
const NEAR: SignedDuration = SignedDuration::from_hours(24);
/// Remaining times are rounded to this many nanoseconds: ten minutes.
const STEP: i64 = 600_000_000_000;
/// Beyond a thousand hours the date of the run is in it.
const FAR: u64 = 1000 * 3600 * 1_000_000_000;

/// The answer in the form that is written down.
pub(crate) fn normal(step: &Step, reply: &Reply) -> Answer {
    let header = |name: &str| reply.header(name).map(str::to_owned);
    let r#type = header("content-type");
    let is_json = r#type.as_deref().is_some_and(|kind| kind.contains("json"));
    let mut json = is_json.then(|| serde_json::from_slice(&reply.body).ok()).flatten();
    if let Some(json) = &mut json {
        walk("", json);
        if step.path.starts_with("/v1/decisions") {
            sort_by_id(json);
        }
    }
    let text = json.is_none().then(|| reply.text());
    Answer {
        status: reply.status,
        r#type,
        location: header("location"),
        authenticate: header("www-authenticate"),
        json,
        text,
    }
}

/// The order of decisions in an answer is not promised by the recorded server.
fn sort_by_id(json: &mut Value) {
    match json {
        Value::Array(items) => items.sort_by_key(|item| item["id"].as_i64()),
        Value::Object(members) => members.values_mut().for_each(sort_by_id),
        _ => {}
    }
}

fn walk(name: &str, value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(name, item)),
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| walk(name, member)),
        Value::String(text) => {
            if let Some(kind) = kind(name, text) {
                *text = kind;
            }
        }
        _ => {}
    }
}

/// What stands for the text of a member of this name; none when it is kept to the letter.
fn kind(name: &str, text: &str) -> Option<String> {
    match name {
        "duration" => {
            let nanos = text.parse::<GoDuration>().ok()?.nanos();
            if nanos.unsigned_abs() > FAR {
                return Some(if nanos < 0 { "<long over>" } else { "<for long>" }.to_owned());
            }
            let steps = (nanos + STEP / 2).div_euclid(STEP);
            Some(format!("<about {}>", GoDuration::from_nanos(steps * STEP)))
        }
        "uuid" => is_uuid(text).then(|| "<uuid>".to_owned()),
        "token" => (text.split('.').count() == 3).then(|| "<token>".to_owned()),
        "created_at" | "updated_at" | "start_at" | "stop_at" | "timestamp" | "expire" | "expiration" => {
            let (form, time) = time(text)?;
            let near = time.duration_since(Timestamp::now()).abs() < NEAR;
            near.then(|| format!("<now, {form}>"))
        }
        _ => None,
    }
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The form a time is written in, and the time.
fn time(text: &str) -> Option<(&'static str, Timestamp)> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(("RFC 3339", time));
    }
    // Go's own form: 2026-07-01 10:00:00.5 +0000 UTC
    let short = text.rsplit_once(' ')?.0;
    let parsed = strtime::parse("%Y-%m-%d %H:%M:%S%.f %z", short).ok()?;
    Some(("Go's form", parsed.to_timestamp().ok()?))
}
