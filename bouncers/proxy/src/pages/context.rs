//! Defines what a page shows about a request, and how each value is written.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::StatusCode;
use jiff::Timestamp;
use jiff::tz::Offset;

/// What a page shows about a request. Templates see all of it; the built-in pages leave out scenario, origin, host and
/// path, which tell an attacker what was detected, and a visitor nothing.
#[derive(Debug, Clone, Copy)]
pub struct PageContext<'a> {
    /// The response's status.
    pub status: StatusCode,
    /// The client's address.
    pub client: IpAddr,
    /// Identifies the request in the access log.
    pub request_id: &'a str,
    /// When the request arrived.
    pub time: Timestamp,
    /// The decision's scenario.
    pub scenario: Option<&'a str>,
    /// The decision's origin.
    pub origin: Option<&'a str>,
    /// When the decision ends.
    pub until: Option<Timestamp>,
    /// The requested host, as sent.
    pub host: &'a str,
    /// The requested path, as sent.
    pub path: &'a str,
    /// Seconds after which another request may succeed; also sent as `Retry-After`.
    pub retry_after: Option<u64>,
}

/// What a captcha page shows beside the context.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskContext<'a> {
    /// The challenge token.
    pub(crate) token: &'a str,
    /// Path and query to return to.
    pub(crate) next: &'a str,
    /// Of the page's scripts.
    pub(crate) nonce: &'a str,
    /// The request had a body, which is lost.
    pub(crate) posted: bool,
    /// A solution was just refused.
    pub(crate) failed: bool,
}

/// A value that depends on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Status,
    Client,
    RequestId,
    Time,
    TimeText,
    Scenario,
    Origin,
    Until,
    UntilText,
    Host,
    Path,
    RetryAfter,
    Token,
    Next,
    Nonce,
}

impl Field {
    pub(super) const ALL: [Self; 15] = [
        Self::Status,
        Self::Client,
        Self::RequestId,
        Self::Time,
        Self::TimeText,
        Self::Scenario,
        Self::Origin,
        Self::Until,
        Self::UntilText,
        Self::Host,
        Self::Path,
        Self::RetryAfter,
        Self::Token,
        Self::Next,
        Self::Nonce,
    ];

    /// The variable in templates.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Client => "client",
            Self::RequestId => "request_id",
            Self::Time => "time",
            Self::TimeText => "time_text",
            Self::Scenario => "scenario",
            Self::Origin => "origin",
            Self::Until => "until",
            Self::UntilText => "until_text",
            Self::Host => "host",
            Self::Path => "path",
            Self::RetryAfter => "retry_after",
            Self::Token => "token",
            Self::Next => "next",
            Self::Nonce => "nonce",
        }
    }

    /// Whether the value is a number, which JSON writes without quotes.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Status | Self::RetryAfter)
    }
}

/// The values of one page.
#[derive(Clone, Copy)]
pub(super) struct FieldValues<'a> {
    pub(super) page: &'a PageContext<'a>,
    pub(super) task: TaskContext<'a>,
}

impl FieldValues<'_> {
    /// Appends a value as it is, without escapes; `false` when there is none.
    pub(super) fn write(&self, field: Field, out: &mut String) -> bool {
        let page = self.page;
        match field {
            Field::Status => out.push_str(page.status.as_str()),
            Field::Client => write_to(out, format_args!("{}", page.client)),
            Field::RequestId => out.push_str(page.request_id),
            Field::Time => write_time(page.time, out),
            Field::TimeText => write_time_text(page.time, out),
            Field::Scenario => return write_some(page.scenario, out),
            Field::Origin => return write_some(page.origin, out),
            Field::Until => match page.until {
                Some(until) => write_time(until, out),
                None => return false,
            },
            Field::UntilText => match page.until {
                Some(until) => write_time_text(until, out),
                None => return false,
            },
            Field::Host => out.push_str(page.host),
            Field::Path => out.push_str(page.path),
            Field::RetryAfter => match page.retry_after {
                Some(seconds) => write_to(out, format_args!("{seconds}")),
                None => return false,
            },
            Field::Token => out.push_str(self.task.token),
            Field::Next => out.push_str(self.task.next),
            Field::Nonce => out.push_str(self.task.nonce),
        }
        true
    }
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

fn write_some(value: Option<&str>, out: &mut String) -> bool {
    out.push_str(value.unwrap_or_default());
    value.is_some()
}

/// `2026-03-01T14:05:09Z`.
fn write_time(time: Timestamp, out: &mut String) {
    write_date(time, 'T', out);
    let second = Offset::UTC.to_datetime(time).second();
    write_to(out, format_args!(":{second:02}Z"));
}

/// `2026-03-01 14:05 UTC`: the form that is read the same in every language.
fn write_time_text(time: Timestamp, out: &mut String) {
    write_date(time, ' ', out);
    out.push_str(" UTC");
}

fn write_date(time: Timestamp, separator: char, out: &mut String) {
    let at = Offset::UTC.to_datetime(time);
    let (year, month, day, hour, minute) = (at.year(), at.month(), at.day(), at.hour(), at.minute());
    write_to(out, format_args!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}"));
}
