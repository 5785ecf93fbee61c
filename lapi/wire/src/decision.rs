//! One decision of a stream, borrowed from the bytes it came in.

use std::borrow::Cow;

use serde::Deserialize;

/// A decision as LAPI sends it. Its texts point into the answer wherever they hold no escape, so decoding one
/// allocates nothing.
///
/// A text that is absent (never seen from a LAPI, but stand-ins leave some out) reads as empty, an absent `id`
/// as 0; `scope`, `type` and `value` must be there. Unknown fields, `uuid` among them, are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StreamDecision<'a> {
    /// The row's number in that LAPI's database. It is no identity: a deletion may name an id never announced.
    #[serde(default)]
    pub id: i64,
    /// Who decided: `crowdsec`, `cscli`, `CAPI`, `lists`, …
    #[serde(borrow, default)]
    pub origin: Cow<'a, str>,
    /// Why: a scenario, a list's name when the origin is `lists`, or the reason typed in.
    #[serde(borrow, default)]
    pub scenario: Cow<'a, str>,
    /// What `value` is; see [`Scope::parse`](crate::Scope::parse).
    #[serde(borrow)]
    pub scope: Cow<'a, str>,
    /// What to do: `ban`, `captcha`, `throttle`, or any other text.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// To whom: an address, a prefix, a country code, …
    #[serde(borrow)]
    pub value: Cow<'a, str>,
    /// For how long from now, as a Go duration; zero or negative in `deleted`.
    #[serde(borrow, default)]
    pub duration: Cow<'a, str>,
}

/// What comes out of a [`StreamDecoder`](crate::StreamDecoder), in the order of the document (which of the two
/// lists is first depends on the server's version).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamItem<'a> {
    /// From `new`: holds from now on.
    New(StreamDecision<'a>),
    /// From `deleted`: no longer holds.
    Deleted(StreamDecision<'a>),
    /// An element that is no decision, or is longer than [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES). It is to be
    /// counted; the rest of the answer counts.
    Unreadable {
        /// `new` or `deleted`.
        list: &'static str,
        /// Which of the two it is.
        fault: ElementFault,
        /// What was wrong, and at which byte of the body.
        reason: String,
    },
}

/// Why an element of a list cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementFault {
    /// It is JSON, but no decision: a field is missing or has another type.
    NoDecision,
    /// It is longer than [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
    TooLong,
}
