//! Shows what an endpoint would receive, without sending anything: for samples, or for decisions in force.
//!
//! ```text
//!   samples ─────────────────────────────┐    ┌─► request   method, URL, headers, body
//!   decisions ── filter, grouping ───────┴────┼─► program   command lines, or lines of JSON
//!                                             └─► list      a request, or the values that are uploaded
//! ```
//!
//! Nothing is opened or started. What may be secret is hidden, so that the text can be passed on.

mod decisions;
mod list;
mod request;

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::bail;
use palisade_bouncer::control::{DecisionView, printable};
use palisade_cache::Timestamp;
use palisade_stream::now;

use self::decisions::{added_events, snapshot_of};
use crate::config::{Config, EndpointConfig, HttpConfig, ProgramConfig, ProgramMode, Receiver};
use crate::event::Event;
use crate::filter::Filter;
use crate::http::requests::Requests;
use crate::http::{USER_AGENT, fixed_headers};
use crate::program;
use crate::sink::{Message, MessageKind};
use crate::templates::sample;

/// What the endpoint of this name would receive: for samples of every kind, or of `decisions` what becomes of them when
/// they are new.
///
/// # Errors
/// When there is no such endpoint, or it cannot be used as it is configured.
pub fn render(config: &Config, endpoint: &str, decisions: Option<&[DecisionView]>) -> anyhow::Result<String> {
    render_at(config, endpoint, decisions, now())
}

fn render_at(
    config: &Config,
    endpoint: &str,
    decisions: Option<&[DecisionView]>,
    now: Timestamp,
) -> anyhow::Result<String> {
    let endpoint = named(config, endpoint)?;
    let mut out = String::new();
    if let Receiver::Replace(replace) = &endpoint.receiver {
        let filter = Filter::compile(&endpoint.filter)?;
        list::write(&mut out, replace, filter, decisions, now)?;
        return Ok(visible(&out));
    }
    let (messages, now) = match decisions {
        None => (sample_messages(endpoint), sample::NOW),
        Some(decisions) => (messages_of(&mut out, endpoint, decisions, now)?, now),
    };
    match &endpoint.receiver {
        Receiver::Http(http) => write_requests(&mut out, endpoint, http, &messages, now)?,
        Receiver::Program(program) => write_program(&mut out, program, &messages, now),
        Receiver::Replace(_) => {}
    }
    Ok(visible(&out))
}

fn named<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Arc<EndpointConfig>> {
    if let Some(endpoint) = config.endpoints.iter().find(|endpoint| endpoint.name == name) {
        return Ok(endpoint);
    }
    let names: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    if names.is_empty() {
        bail!("no endpoint is configured: add one to `endpoints`");
    }
    bail!("there is no endpoint {name:?}; there are {}", names.join(", "))
}

/// A message with its heading.
type Titled = (String, Message);

fn sample_messages(endpoint: &EndpointConfig) -> Vec<Titled> {
    let samples = sample::messages().into_iter();
    let fitting = samples.filter(|sample| sample.message.events.len() <= endpoint.batch.events);
    fitting.map(|sample| (format!("sample: {}", sample.name), sample.message)).collect()
}

/// The messages about new decisions, or a line of text when the endpoint takes none of them.
fn messages_of(
    out: &mut String,
    endpoint: &EndpointConfig,
    decisions: &[DecisionView],
    now: Timestamp,
) -> anyhow::Result<Vec<Titled>> {
    let filter = Filter::compile(&endpoint.filter)?;
    let events = added_events(endpoint, &filter, &snapshot_of(decisions)?, now);
    let found = decisions.len();
    if found == 0 {
        out.push_str("There are no decisions: nothing is sent.\n");
    } else if events.is_empty() {
        let _ = writeln!(
            out,
            "The filter of {} takes none of the {found} decisions: nothing is sent.",
            endpoint.name
        );
    }
    let messages = events.chunks(endpoint.batch.events.max(1)).map(|events| {
        let title = format!("{} events of {found} decisions", events.len());
        (title, Message { at: now, ..sample::message(MessageKind::Changes, events.to_vec()) })
    });
    Ok(messages.collect())
}

fn write_requests(
    out: &mut String,
    endpoint: &EndpointConfig,
    http: &HttpConfig,
    messages: &[Titled],
    now: Timestamp,
) -> anyhow::Result<()> {
    let requests = Requests::new(endpoint, http, fixed_headers(http, USER_AGENT)?)?;
    for (title, message) in messages {
        let _ = writeln!(out, "# {title}");
        let timestamp = u64::try_from(now.as_millis() / 1000).unwrap_or_default();
        match requests.request(message, now, timestamp) {
            Ok(Some(request)) => request::write(out, http, &request.headers, &request.body),
            Ok(None) => out.push_str("Nothing is sent.\n"),
            Err(failure) => {
                let _ = writeln!(out, "It cannot be sent like this: {}", failure.reason);
            }
        }
        out.push('\n');
    }
    Ok(())
}

fn write_program(out: &mut String, program: &ProgramConfig, messages: &[Titled], now: Timestamp) {
    let path = program.path.display().to_string();
    let is_stdin = matches!(program.mode, ProgramMode::StandardInput { .. });
    if is_stdin {
        let words: Vec<_> =
            std::iter::once(&path).chain(&program.arguments).map(|word| quoted(word)).collect();
        let _ = writeln!(out, "{}\n\nreads on its standard input:\n", words.join(" "));
    }
    for (title, message) in messages.iter().filter(|(_, message)| !message.events.is_empty()) {
        let _ = writeln!(out, "# {title}");
        for event in &message.events {
            if is_stdin {
                program::json::append_lines(out, event, now);
            } else {
                write_calls(out, &path, event, now);
            }
        }
        out.push('\n');
    }
}

fn write_calls(out: &mut String, path: &str, event: &Event, now: Timestamp) {
    for arguments in program::arguments_of(event, now) {
        let words: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(out, "{} {}", quoted(path), words.join(" "));
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Without characters that a terminal would act on: texts of decisions are foreign. Lines stay.
fn visible(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    let mut visible = lines.join("\n");
    visible.truncate(visible.trim_end().len());
    visible.push('\n');
    visible
}

#[cfg(test)]
mod tests;
