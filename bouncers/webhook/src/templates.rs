//! Makes the bodies of HTTP messages: from ready templates, or from one that the operator wrote.
//!
//! ```text
//!   BodyConfig ─load─► Template ── Message, List ─► Batch ─┬─► formats (Rust: JSON, bulk formats, scripts) ─► Rendered
//!     every sample renders, JSON parses                    └─► engine  (minijinja: chat, alerts, operator's)
//! ```
//!
//! Nothing here opens a file or a socket, and a template sees nothing but the message and its options. What a template
//! may cost is bounded by [`MAX_BODY_BYTES`], [`MAX_TEMPLATE_BYTES`] and the engine's fuel.

mod batch;
mod engine;
mod error;
mod filters;
mod formats;
pub mod json;
mod options;
mod ready;
pub mod sample;
mod text;
mod time;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use palisade_cache::Timestamp;

use self::batch::Batch;
#[cfg(test)]
pub(crate) use self::engine::VARIABLES;
pub use self::error::TemplateError;
use self::formats::Format;
pub use self::ready::{READY, ReadyOption, ReadyTemplate};
pub use self::time::rfc3339;
use crate::config::{BodyConfig, TemplateSource};
use crate::event::{Entry, Grouping, Value};
use crate::sink::{Message, Outcome};

/// The longest body. An endpoint's own bound is lower as a rule; this one protects the process from a template.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// The longest template.
pub const MAX_TEMPLATE_BYTES: usize = 256 * 1024;

/// A template, ready to render.
#[derive(Debug)]
pub struct Template {
    /// Its name, for errors.
    name: String,
    format: Box<dyn Format>,
    ready: Option<&'static ReadyTemplate>,
    /// Replaces the format's own content type.
    content_type: Option<HeaderValue>,
}

/// A body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its bytes.
    pub body: Bytes,
    /// Its type.
    pub content_type: HeaderValue,
}

impl Template {
    /// Compiles a template for an endpoint with this grouping, and renders every kind of message with it once.
    ///
    /// Grouping decides what identifies an entry at a receiver that keeps state, such as the id of a document.
    ///
    /// # Errors
    /// When the template is unknown or cannot be compiled, an option is wrong, or a sample cannot be rendered or is not
    /// what the content type says.
    pub fn load(config: &BodyConfig, grouping: Grouping) -> Result<Self, TemplateError> {
        let template = Self::compile(config, grouping)?;
        template.render_samples()?;
        Ok(template)
    }

    fn compile(config: &BodyConfig, grouping: Grouping) -> Result<Self, TemplateError> {
        let chosen = config.content_type.as_deref();
        match &config.template {
            TemplateSource::Ready(name) => {
                let ready = ReadyTemplate::named(name)?;
                let options = ready.check_options(&config.options)?;
                let content_type = chosen.map(|text| content_type(name, text)).transpose()?;
                let format = ready.format(&options, grouping)?;
                Ok(Self { name: name.clone(), format, ready: Some(ready), content_type })
            }
            TemplateSource::Custom { origin, text } => {
                let own = chosen.unwrap_or("application/json");
                let content_type = content_type(origin, own)?;
                let format = Box::new(engine::Engine::compile(origin, text, own, &config.options)?);
                Ok(Self { name: origin.clone(), format, ready: None, content_type: Some(content_type) })
            }
        }
    }

    /// The body of a message now; `None` when there is nothing to send, which counts as delivered.
    ///
    /// # Errors
    /// When the template fails on this message, or the body exceeds [`MAX_BODY_BYTES`]: fewer events may succeed.
    pub fn render(&self, message: &Message) -> Result<Option<Rendered>, TemplateError> {
        self.render_at(message, time::now())
    }

    /// The same at a given time, on which the time left of each decision depends.
    ///
    /// # Errors
    /// As for [`Self::render`].
    pub fn render_at(&self, message: &Message, now: Timestamp) -> Result<Option<Rendered>, TemplateError> {
        self.render_batch(&Batch::of(message, now))
    }

    /// The body that has a whole list, for a receiver that replaces its list by it.
    ///
    /// # Errors
    /// As for [`Self::render`].
    pub fn render_list(&self, entries: &[(Value, Entry)], now: Timestamp) -> Result<Rendered, TemplateError> {
        let events = batch::events_of_list(entries, now);
        let batch = Batch::list(&events, now);
        match self.render_batch(&batch)? {
            Some(rendered) => Ok(rendered),
            // An empty list is sent as what the template makes of it, which may be an empty body.
            None => Ok(self.rendered(Vec::new(), "text/plain")),
        }
    }

    fn render_batch(&self, batch: &Batch<'_>) -> Result<Option<Rendered>, TemplateError> {
        let Some(body) = self.format.render(batch)? else { return Ok(None) };
        if body.bytes.len() > MAX_BODY_BYTES {
            return Err(TemplateError::TooLarge { template: self.name.clone() });
        }
        Ok(Some(self.rendered(body.bytes, body.content_type)))
    }

    fn rendered(&self, bytes: Vec<u8>, own: &'static str) -> Rendered {
        let content_type = self.content_type.clone().unwrap_or_else(|| HeaderValue::from_static(own));
        Rendered { body: bytes.into(), content_type }
    }

    /// What a 2xx response means. Some services answer 200 and tell in the body what they did not accept.
    ///
    /// `events` is how many the message had.
    pub fn check(&self, status: StatusCode, body: &[u8], events: usize) -> Outcome {
        if status.is_success() { self.format.check(body, events) } else { Outcome::Delivered }
    }

    /// How many bytes of a response [`Self::check`] needs for a message of this many events; what exceeds them may be
    /// cut off.
    pub fn response_bytes(&self, events: usize) -> usize {
        const BASE: usize = 64 * 1024;
        BASE + self.format.response_bytes_per_event() * events
    }

    /// The most events that the service takes in one message, if it has such a limit.
    pub fn max_events(&self) -> Option<usize> {
        self.ready.and_then(|ready| ready.max_events)
    }

    /// Renders samples of every kind, and parses what should be JSON.
    fn render_samples(&self) -> Result<(), TemplateError> {
        for sample in sample::messages() {
            if let Some(rendered) = self.render_at(&sample.message, sample::NOW)? {
                self.require_valid(&rendered, sample.name)?;
            }
        }
        let rendered = self.render_list(&sample::entries(), sample::NOW)?;
        self.require_valid(&rendered, "a whole list")
    }

    fn require_valid(&self, rendered: &Rendered, sample: &'static str) -> Result<(), TemplateError> {
        // What code writes is right by construction, and may not be what its content type says: Splunk takes several
        // values as `application/json`.
        if self.ready.is_some_and(|ready| ready.source.is_none()) {
            return Ok(());
        }
        let content_type = rendered.content_type.to_str().unwrap_or_default();
        json::parse_as(content_type, &rendered.body).map_err(|(line, reason)| TemplateError::NotJson {
            template: self.name.clone(),
            sample,
            line,
            reason,
        })
    }
}

fn content_type(template: &str, text: &str) -> Result<HeaderValue, TemplateError> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.contains('/'))
        .ok_or_else(|| TemplateError::ContentType { template: template.to_owned(), text: text.to_owned() })
}

#[cfg(test)]
mod tests;
