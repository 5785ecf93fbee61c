//! Renders minijinja templates within bounds: the ready ones for chat services and alerts, and the operator's.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::thread;

use minijinja::value::Serde;
use minijinja::{
    AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter,
};

use super::batch::{Batch, seconds_left};
use super::formats::{Body, Format};
use super::json::{JsonKind, json_kind};
use super::time::{go_duration, rfc3339};
use super::{MAX_BODY_BYTES, MAX_TEMPLATE_BYTES, TemplateError, filters, text};
use crate::event::{Entry, Event, EventKind};
use crate::sink::Outcome;

/// minijinja's fuel: about an instruction, or 64 bytes written. Without events, and for each event.
const FUEL: u64 = 100_000;
const FUEL_PER_EVENT: u64 = 3_000;
/// Templates include and call no others, so this is the depth of loops and macros.
const MAX_DEPTH: usize = 50;

/// Longest expression or statement in bytes. A chain such as `a|b|c` is a recursion of the compiler, which has no bound for
/// it, and takes it a time that grows with the square of the length.
const MAX_TAG_BYTES: usize = 8192;
/// Most `elif`, each of which is within the one before it.
const MAX_ELIF: usize = 500;
/// Stack for a unit of fuel: `{% set ns.x = [ns.x] %}` nests a value by one more in each round, and what is done with the
/// value is a recursion.
const STACK_PER_FUEL: usize = 256;
/// Stack for everything else: four times what the longest chains need without optimisation.
const STACK: usize = 32 << 20;

const FORM: &str = "form";
const NAME: &str = "body";

/// A compiled template.
pub(super) struct Engine {
    name: String,
    environment: Environment<'static>,
    /// Only with `namespace` can values be nested without a bound of their own.
    has_namespace: bool,
    options: Value,
    content_type: &'static str,
    check: fn(&[u8], usize) -> Outcome,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Engine {
    /// Compiles a template. How texts are escaped follows from the content type.
    pub(super) fn compile(
        name: &str,
        source: &str,
        content_type: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong { template: name.to_owned(), length: source.len() });
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_recursion_limit(MAX_DEPTH);
        let escape = escape_of(content_type);
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.set_formatter(format_value);
        filters::add(&mut environment);
        check_tags(name, source)?;
        let environment = with_stack(name, STACK, move || {
            environment.add_template_owned(NAME, source.to_owned()).map_err(|error| failed(name, &error))?;
            require_known_variables(name, &environment)?;
            Ok(environment)
        })?;
        Ok(Self {
            name: name.to_owned(),
            environment,
            has_namespace: source.contains("namespace"),
            options: Value::from(Serde(options.clone())),
            // The content type of an operator's template is set by the caller.
            content_type: "application/json",
            check: |_, _| Outcome::Delivered,
        })
    }

    /// Says how responses are understood.
    pub(super) fn with_check(mut self, check: fn(&[u8], usize) -> Outcome) -> Self {
        self.check = check;
        self
    }
}

impl Format for Engine {
    fn render(&self, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let fuel = FUEL + FUEL_PER_EVENT * batch.events.len() as u64;
        if self.has_namespace {
            let stack = STACK + usize::try_from(fuel).unwrap_or(usize::MAX).saturating_mul(STACK_PER_FUEL);
            return with_stack(&self.name, stack, || self.render_with(fuel, batch));
        }
        self.render_with(fuel, batch)
    }

    fn check(&self, body: &[u8], events: usize) -> Outcome {
        (self.check)(body, events)
    }
}

impl Engine {
    fn render_with(&self, fuel: u64, batch: &Batch<'_>) -> Result<Option<Body>, TemplateError> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(NAME).map_err(|error| failed(&self.name, &error))?;
        let mut out = Bounded { bytes: Vec::new(), full: false };
        let variables = variables(batch, &self.options);
        let result = template.render_captured_to(variables, &mut out).map(drop);
        if out.full {
            return Err(TemplateError::TooLarge { template: self.name.clone() });
        }
        result.map_err(|error| failed(&self.name, &error))?;
        if out.bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        Ok(Some(Body { bytes: out.bytes, content_type: self.content_type }))
    }
}

/// Refuses what the compiler would recurse into too deeply.
fn check_tags(name: &str, source: &str) -> Result<(), TemplateError> {
    let refused = |at: usize, reason: String| TemplateError::Failed {
        template: name.to_owned(),
        line: source[..at].matches('\n').count() + 1,
        reason,
    };
    let (mut at, mut elifs) = (0, 0);
    while let Some(begin) = source[at..].find('{').map(|found| at + found) {
        let end = match source.as_bytes().get(begin + 1) {
            Some(b'{') => tag_end(source, begin + 2, "}}"),
            Some(b'%') => tag_end(source, begin + 2, "%}"),
            Some(b'#') => source[begin..].find("#}").map_or(source.len(), |found| begin + found),
            _ => begin + 1,
        };
        let tag = &source[begin..end];
        if tag.len() > MAX_TAG_BYTES && !tag.starts_with("{#") {
            let reason =
                format!("a tag of {} bytes is too long; at most {MAX_TAG_BYTES} are allowed", tag.len());
            return Err(refused(begin, reason));
        }
        elifs += usize::from(
            tag.starts_with("{%") && tag[2..].trim_start_matches(['-', '+', ' ']).starts_with("elif"),
        );
        if elifs > MAX_ELIF {
            return Err(refused(
                begin,
                format!("more than {MAX_ELIF} elif; look the value up in a map instead"),
            ));
        }
        at = end;
    }
    Ok(())
}

/// Where a tag ends: quoted text in it may hold what looks like the end.
fn tag_end(source: &str, begin: usize, close: &str) -> usize {
    let (mut quote, mut is_escaped) = (None, false);
    for (at, character) in source[begin..].char_indices() {
        match quote {
            _ if std::mem::take(&mut is_escaped) => {}
            Some(_) if character == '\\' => is_escaped = true,
            Some(open) => quote = (open != character).then_some(open),
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if source[begin + at..].starts_with(close) => return begin + at,
            None => {}
        }
    }
    source.len()
}

/// Runs what may recurse deeply on a thread with this much stack. Only what is used of it takes memory.
fn with_stack<T: Send>(
    name: &str,
    bytes: usize,
    work: impl FnOnce() -> Result<T, TemplateError> + Send,
) -> Result<T, TemplateError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("template".to_owned()).stack_size(bytes);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => {
                Err(TemplateError::NoStack { template: name.to_owned(), bytes, reason: error.to_string() })
            }
        }
    })
}

/// Collects a body up to the bound.
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_BODY_BYTES {
            self.full = true;
            return Err(io::Error::other("the body is too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn escape_of(content_type: &str) -> AutoEscape {
    if matches!(json_kind(content_type), Some(JsonKind::One | JsonKind::Lines)) {
        return AutoEscape::Json;
    }
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => AutoEscape::Custom(FORM.into()),
        "text/html" | "text/xml" | "application/xml" => AutoEscape::Html,
        other if other.ends_with("+xml") => AutoEscape::Html,
        _ => AutoEscape::None,
    }
}

fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match state.auto_escape() {
        AutoEscape::Custom(name) if name == FORM && !value.is_safe() => {
            if value.is_undefined() {
                return Err(ErrorKind::UndefinedError.into());
            }
            out.write_str(&text::percent(&value.to_string())).map_err(minijinja::Error::from)
        }
        AutoEscape::Custom(_) => write!(out, "{value}").map_err(minijinja::Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// Refuses names that are no variables, also in branches that no sample reaches: `tojson` would make `null` of them.
fn require_known_variables(name: &str, environment: &Environment<'_>) -> Result<(), TemplateError> {
    let template = environment.get_template(NAME).map_err(|error| failed(name, &error))?;
    let is_known = |variable: &str| {
        VARIABLES.contains(&variable) || environment.globals().any(|(global, _)| global == variable)
    };
    let mut unknown: Vec<String> =
        template.undeclared_variables(false).into_iter().filter(|variable| !is_known(variable)).collect();
    unknown.sort();
    let Some(first) = unknown.first() else { return Ok(()) };
    let reason = format!("unknown variable {first:?}; there are {}", VARIABLES.join(", "));
    Err(TemplateError::Failed { template: name.to_owned(), line: line_of(template.source(), first), reason })
}

/// The first line that has a word; 0 when none has.
fn line_of(source: &str, word: &str) -> usize {
    source.lines().position(|line| line.contains(word)).map_or(0, |index| index + 1)
}

/// The variables of a template.
pub(crate) const VARIABLES: [&str; 4] = ["events", "message", "now", "options"];

fn variables(batch: &Batch<'_>, options: &Value) -> Value {
    let events: Vec<Value> = batch.events.iter().map(|event| event_value(event, batch)).collect();
    let message = map([
        ("id", Value::from(batch.id.to_string())),
        ("kind", Value::from(batch.kind.as_str())),
        ("at", Value::from(rfc3339(batch.at))),
        ("snapshot", Value::from(batch.kind.snapshot())),
        ("event_count", Value::from(batch.kind.event_count())),
    ]);
    map([
        ("events", Value::from(events)),
        ("message", message),
        ("options", options.clone()),
        ("now", Value::from(rfc3339(batch.now))),
    ])
}

fn map<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    entries.into_iter().collect::<BTreeMap<_, _>>().into()
}

/// An event with the fields of its JSON form; `cause` and `previous` are none where they do not apply, so that a
/// template can ask for them.
fn event_value(event: &Event, batch: &Batch<'_>) -> Value {
    let none = || Value::from(());
    let (cause, previous) = match &event.kind {
        EventKind::Lifted(cause) => (Value::from(cause.as_str()), none()),
        EventKind::Changed(previous) => (none(), entry_value(previous)),
        EventKind::Added | EventKind::Present => (none(), none()),
    };
    let Entry { remediation, origin, scenario, until, id } = &event.entry;
    map([
        ("id", Value::from(event.id.to_string())),
        ("type", Value::from(event.kind.as_str())),
        ("at", Value::from(rfc3339(event.at))),
        ("value", Value::from(event.value.to_string())),
        ("scope", Value::from(event.value.scope())),
        ("remediation", Value::from(remediation.clone())),
        ("origin", Value::from(origin.clone())),
        ("scenario", Value::from(scenario.clone())),
        ("until", Value::from(rfc3339(*until))),
        ("duration", Value::from(go_duration(seconds_left(event, batch.now)))),
        ("decision_id", Value::from(*id)),
        ("cause", cause),
        ("previous", previous),
    ])
}

fn entry_value(entry: &Entry) -> Value {
    map([
        ("remediation", Value::from(entry.remediation.clone())),
        ("origin", Value::from(entry.origin.clone())),
        ("scenario", Value::from(entry.scenario.clone())),
        ("until", Value::from(rfc3339(entry.until))),
    ])
}

fn failed(template: &str, error: &minijinja::Error) -> TemplateError {
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps; write a simpler template".to_owned(),
        (kind, Some(detail)) => format!("{kind}: {}", text::limit(&text::one_line(detail), 300)),
        (kind, None) => kind.to_string(),
    };
    TemplateError::Failed { template: template.to_owned(), line: error.line().unwrap_or(0), reason }
}
