//! One value of a decision stream's body: an element, a key, or something to pass over.
//!
//! `serde_json` does the work; here is told apart what it found: a value, the beginning of one that goes on in
//! bytes not yet at hand, an element that is no decision, or no JSON.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

use crate::boundary::{Boundary, ends_bare_value};
use crate::{DecodeError, ElementFault, MAX_VALUE_BYTES, StreamDecision, StreamItem};

/// One of the two lists of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    New,
    Deleted,
}

impl List {
    /// The key it stands under.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Deleted => "deleted",
        }
    }
}

/// Decodes one element of a list and hands it on.
pub(crate) fn element(
    bytes: &[u8],
    here: u64,
    whole: bool,
    list: List,
    sink: &mut dyn FnMut(StreamItem<'_>),
) -> Result<Option<usize>, DecodeError> {
    // A derived struct would also be read from an array, by position; LAPI sends none, so an array is no decision.
    let is_object = bytes.first() == Some(&b'{');
    let complaint = if is_object {
        match parse::<StreamDecision<'_>>(bytes, whole) {
            // The limit must not depend on where the chunks are cut.
            Parsed::Value(_, length) if length > MAX_VALUE_BYTES => {
                sink(too_long(list, here, length as u64));
                return Ok(Some(length));
            }
            Parsed::Value(decision, length) => {
                sink(match list {
                    List::New => StreamItem::New(decision),
                    List::Deleted => StreamItem::Deleted(decision),
                });
                return Ok(Some(length));
            }
            Parsed::Cut => return Ok(None),
            Parsed::Bad(error) => brief(&error),
        }
    } else {
        "not an object".to_owned()
    };
    // Not a decision. Sound JSON is one element lost; anything else is a document that cannot be trusted.
    match parse::<IgnoredAny>(bytes, whole) {
        Parsed::Value(IgnoredAny, length) => {
            if length > MAX_VALUE_BYTES {
                sink(too_long(list, here, length as u64));
            } else {
                let reason = format!("{complaint} (element at byte {here})");
                sink(StreamItem::Unreadable { list: list.name(), fault: ElementFault::NoDecision, reason });
            }
            Ok(Some(length))
        }
        Parsed::Cut => Ok(None),
        Parsed::Bad(error) => Err(syntax(here, &error)),
    }
}

/// An element that is passed over because of its length.
pub(crate) fn too_long(list: List, here: u64, length: u64) -> StreamItem<'static> {
    let reason = format!("{length} bytes long, at most {MAX_VALUE_BYTES} are read (element at byte {here})");
    StreamItem::Unreadable { list: list.name(), fault: ElementFault::TooLong, reason }
}

/// What came of parsing a value.
pub(crate) enum Parsed<T> {
    /// The value, and how many bytes it took.
    Value(T, usize),
    /// Sound as far as it goes, but it goes on beyond the bytes at hand.
    Cut,
    /// Not JSON, or not a `T`.
    Bad(serde_json::Error),
}

/// Parses the value at the front of `bytes`, which must not begin with white space.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], whole: bool) -> Parsed<T> {
    let mut values = Deserializer::from_slice(bytes).into_iter::<T>();
    match values.next() {
        // `12` at the end of a chunk may be the beginning of `123`.
        Some(Ok(_)) if !whole && values.byte_offset() == bytes.len() && starts_bare(bytes[0]) => Parsed::Cut,
        Some(Ok(value)) => Parsed::Value(value, values.byte_offset()),
        // The parser calls `1.` and `1e` malformed where it meets the end of the input; they are only cut.
        Some(Err(error)) if !whole && (error.is_eof() || goes_on(bytes)) => Parsed::Cut,
        Some(Err(error)) => Parsed::Bad(error),
        None => Parsed::Cut,
    }
}

/// Whether the value at the front ends beyond these bytes.
fn goes_on(bytes: &[u8]) -> bool {
    Boundary::of(bytes[0]).find_end(bytes).is_none()
}

fn starts_bare(first: u8) -> bool {
    !matches!(first, b'{' | b'[' | b'"') && !ends_bare_value(first)
}

pub(crate) fn syntax(offset: u64, error: &serde_json::Error) -> DecodeError {
    DecodeError::Syntax { offset, reason: brief(error) }
}

/// The parser's message, without the line and column (which count from the value, not from the body) and
/// without more of the peer's own text than a log line bears.
fn brief(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    if let Some((end, _)) = text.char_indices().nth(160) {
        text.truncate(end);
        text.push('…');
    }
    text
}
