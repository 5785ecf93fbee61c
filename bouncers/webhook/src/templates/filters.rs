//! The filters of templates beside minijinja's own.

use std::borrow::Cow;

use minijinja::{Environment, Error, ErrorKind};
use palisade_cache::Timestamp;
use palisade_go_compat::GoDuration;

use super::{text, time};

/// Adds the filters. `docs/webhook-templates.md` lists them.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("one_line", |value: Cow<'_, str>| text::one_line(&value));
    environment.add_filter("code", |value: Cow<'_, str>| text::code(&value));
    environment.add_filter("slack", |value: Cow<'_, str>, max: usize| text::slack(&value, max));
    environment.add_filter("limit", |value: Cow<'_, str>, max: usize| text::limit(&value, max));
    environment.add_filter("routeros", |value: Cow<'_, str>| text::routeros(&value));
    environment.add_filter("percent", |value: Cow<'_, str>| text::percent(&value));
    environment.add_filter("unix", unix);
    environment.add_filter("rfc3339", rfc3339);
    environment.add_filter("seconds", seconds);
    environment.add_filter("duration", time::go_duration);
}

/// `2026-05-01T12:00:00Z` as seconds since the Unix epoch.
fn unix(text: Cow<'_, str>) -> Result<i64, Error> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| invalid("unix", &text, "a time such as event.until"))?;
    Ok(time.as_second())
}

/// Seconds since the Unix epoch as `2026-05-01T12:00:00Z`.
fn rfc3339(seconds: i64) -> String {
    time::rfc3339(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// `4h0m0s` as whole seconds.
fn seconds(text: Cow<'_, str>) -> Result<i64, Error> {
    let span: GoDuration =
        text.parse().map_err(|_| invalid("seconds", &text, "a duration such as event.duration"))?;
    Ok(span.rounded_seconds())
}

fn invalid(filter: &str, text: &str, expected: &str) -> Error {
    let text = text::limit(text, 40);
    Error::new(ErrorKind::InvalidOperation, format!("filter {filter} takes {expected}, not {text:?}"))
}
