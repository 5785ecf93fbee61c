//! A decision of a stream, borrowed from the body.

use std::borrow::Cow;

use serde::Deserialize;

/// A decision as LAPI sends it. Texts without escapes borrow from the body, so decoding allocates nothing.
///
/// Missing texts (never seen from a LAPI, but some substitutes omit them) are empty, a missing `id` is 0; `scope`,
/// `type` and `value` are required. Unknown fields, including `uuid`, are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StreamDecision<'a> {
    /// The row id in that LAPI's database. Not an identity: a deletion may have an id that was never announced.
    #[serde(default)]
    pub id: i64,
    /// The origin: `crowdsec`, `cscli`, `CAPI`, `lists`, …
    #[serde(borrow, default)]
    pub origin: Cow<'a, str>,
    /// The scenario, the list's name for the origin `lists`, or a free-text reason.
    #[serde(borrow, default)]
    pub scenario: Cow<'a, str>,
    /// The scope of `value`; see [`Scope::parse`](crate::Scope::parse).
    #[serde(borrow)]
    pub scope: Cow<'a, str>,
    /// The remediation: `ban`, `captcha`, `throttle`, or another.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// The target: an address, a prefix, a country code, …
    #[serde(borrow)]
    pub value: Cow<'a, str>,
    /// The time left, as a Go duration; zero or negative in `deleted`.
    #[serde(borrow, default)]
    pub duration: Cow<'a, str>,
}

/// An item decoded by [`StreamDecoder`](crate::StreamDecoder), in document order (which of the two lists is first
/// depends on the server's version).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamItem<'a> {
    /// From `new`: in force from now on.
    New(StreamDecision<'a>),
    /// From `deleted`: no longer in force.
    Deleted(StreamDecision<'a>),
    /// An element that is not a decision, or longer than [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES). It should be
    /// counted; the rest of the response is valid.
    Unreadable {
        /// `new` or `deleted`.
        list: &'static str,
        /// Which of the two.
        fault: ElementFault,
        /// What is wrong, and at which byte of the body.
        reason: String,
    },
}

/// Why an element of a list cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementFault {
    /// Valid JSON, but not a decision: a field is missing or has another type.
    NoDecision,
    /// It is longer than [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
    TooLong,
}
