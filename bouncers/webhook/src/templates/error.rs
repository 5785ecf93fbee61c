//! Errors of templates, with the template, the line and the cause.

use super::{MAX_BODY_BYTES, MAX_TEMPLATE_BYTES};

/// Why a template cannot be used, or a body cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no ready template of this name.
    #[error("there is no ready template {name:?}{suggestion}; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// `; did you mean …?`, or nothing.
        suggestion: String,
        /// All names.
        known: String,
    },
    /// An option of a ready template is missing, unknown or wrong.
    #[error("template {template}: option `{option}` {reason}")]
    Option {
        /// The template.
        template: String,
        /// The option.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The content type is none.
    #[error("template {template}: {text:?} is no content type; write one such as text/plain")]
    ContentType {
        /// The template.
        template: String,
        /// What was written.
        text: String,
    },
    /// The template is too long.
    #[error("template {template}: {length} bytes are too long; at most {MAX_TEMPLATE_BYTES} are allowed")]
    TooLong {
        /// The template.
        template: String,
        /// Its length in bytes.
        length: usize,
    },
    /// There is no address space for the stack that the template may need.
    #[error(
        "template {template}: no {bytes} bytes of address space for its stack ({reason}); raise the limit of this process"
    )]
    NoStack {
        /// The template.
        template: String,
        /// What was asked for.
        bytes: usize,
        /// The cause.
        reason: String,
    },
    /// The template cannot be compiled, or fails on a message.
    #[error("template {template}, line {line}: {reason}")]
    Failed {
        /// The template.
        template: String,
        /// The line, counted from 1; 0 when unknown.
        line: usize,
        /// The cause.
        reason: String,
    },
    /// A body with a JSON content type is not JSON.
    #[error(
        "template {template}: what it makes of {sample} is not JSON: {reason} (line {line} of the body); \
         texts are quoted already, write {{{{ event.value }}}} without quotes around it"
    )]
    NotJson {
        /// The template.
        template: String,
        /// Which sample.
        sample: &'static str,
        /// The line of the body, counted from 1.
        line: usize,
        /// The cause.
        reason: String,
    },
    /// A body is too large.
    #[error("template {template}: the body exceeds {MAX_BODY_BYTES} bytes; send fewer events in a message")]
    TooLarge {
        /// The template.
        template: String,
    },
}
