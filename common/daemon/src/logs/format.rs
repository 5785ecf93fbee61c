//! The log format: `time="2026-01-02T03:04:05+01:00" level=info msg="what happened" key=value`.

use std::fmt::{self, Write as _};

use jiff::Zoned;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

/// The text format of the Go logger used by CrowdSec's programs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        head(&mut out, &Zoned::now(), level, &fields.message)?;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                out.write_str(&fields.fields)?;
            }
        }
        out.write_str(&fields.rest)?;
        out.write_char('\n')
    }
}

/// Formats the fields of a span as ` key=value key=value`.
impl<'w> FormatFields<'w> for Logfmt {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut out: Writer<'w>,
        record: R,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        record.record(&mut fields);
        out.write_str(&fields.rest)
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        record: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        record.record(&mut fields);
        current.fields.push_str(&fields.rest);
        Ok(())
    }
}

/// A complete line for a message that is not an event.
pub(super) fn line(now: &Zoned, level: &str, message: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut text, now, level, message);
    text.push('\n');
    text
}

fn head(out: &mut dyn fmt::Write, now: &Zoned, level: &str, message: &str) -> fmt::Result {
    // Go's RFC 3339 writes UTC as `Z`.
    let format = if now.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    write!(out, "time=\"{}\" level={level} msg={}", now.strftime(format), Value(message))
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, text: &str) {
        let text = &*palisade_go_compat::go_errors(text);
        match field.name() {
            "message" => self.message.push_str(text),
            // Fields may be named by keywords, such as `r#type`.
            name => {
                let _ = write!(self.rest, " {}={}", name.trim_start_matches("r#"), Value(text));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &palisade_go_compat::with_causes(value));
    }
}

/// A value, quoted unless it is one plain word.
struct Value<'v>(&'v str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The characters that logrus, the stock programs' logger, leaves unquoted.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // Texts of a LAPI or a client must not forge a line or control the terminal.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz};

    use super::*;

    #[test]
    fn lines_look_like_those_of_the_go_logger() {
        let at = Timestamp::from_second(1_767_323_045).unwrap();
        let utc = at.to_zoned(tz::TimeZone::UTC);
        let east = at.to_zoned(tz::TimeZone::fixed(tz::offset(1)));
        assert_eq!(
            line(&utc, "info", "all is well"),
            "time=\"2026-01-02T03:04:05Z\" level=info msg=\"all is well\"\n"
        );
        assert_eq!(line(&east, "fatal", "x"), "time=\"2026-01-02T04:04:05+01:00\" level=fatal msg=x\n");
    }

    #[test]
    fn values_are_quoted_when_they_must_be() {
        for (value, text) in [
            ("", "\"\""),
            ("a-b_c/d.e@f", "a-b_c/d.e@f"),
            ("two words", "\"two words\""),
            ("k=v", "\"k=v\""),
            ("say \"hi\"\\", "\"say \\\"hi\\\"\\\\\""),
            ("line\nforged level=fatal", "\"line\\nforged level=fatal\""),
            ("\u{1b}[31mred", "\"\\u001b[31mred\""),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(Value(value).to_string(), text);
        }
    }
}
