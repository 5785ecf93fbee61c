//! Parses one JSON value of a decision stream's body: an element, a key, or something to skip.
//!
//! `serde_json` parses; this module distinguishes a value, a value that continues in bytes not yet read, an element
//! that is not a decision, and malformed JSON.

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
    /// The list's key in the document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Deleted => "deleted",
        }
    }
}

/// Decodes one element of a list and passes it to the visitor.
pub(crate) fn element(
    bytes: &[u8],
    here: u64,
    whole: bool,
    list: List,
    sink: &mut dyn FnMut(StreamItem<'_>),
) -> Result<Option<usize>, DecodeError> {
    // A derived struct would also deserialize from an array, by position; LAPI sends none, so an array is not a
    // decision.
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
    // Not a decision. Well-formed JSON loses this one element; anything else makes the whole document untrustworthy.
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

/// The item for an element that is skipped because of its length.
pub(crate) fn too_long(list: List, here: u64, length: u64) -> StreamItem<'static> {
    let reason = format!("{length} bytes long, at most {MAX_VALUE_BYTES} are read (element at byte {here})");
    StreamItem::Unreadable { list: list.name(), fault: ElementFault::TooLong, reason }
}

/// The result of parsing a value.
pub(crate) enum Parsed<T> {
    /// The value and its length in bytes.
    Value(T, usize),
    /// Well-formed so far, but incomplete within the bytes at hand.
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
        // The parser reports `1.` and `1e` at the end of the input as malformed; they are only incomplete.
        Some(Err(error)) if !whole && (error.is_eof() || goes_on(bytes)) => Parsed::Cut,
        Some(Err(error)) => Parsed::Bad(error),
        None => Parsed::Cut,
    }
}

/// Whether the value at the front may continue beyond these bytes.
fn goes_on(bytes: &[u8]) -> bool {
    Boundary::of(bytes[0]).find_end(bytes).is_none()
}

fn starts_bare(first: u8) -> bool {
    !matches!(first, b'{' | b'[' | b'"') && !ends_bare_value(first)
}

pub(crate) fn syntax(offset: u64, error: &serde_json::Error) -> DecodeError {
    DecodeError::Syntax { offset, reason: brief(error) }
}

/// The parser's message without line and column (which count from the value, not from the body), and with at most a
/// short excerpt of the peer's text.
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
