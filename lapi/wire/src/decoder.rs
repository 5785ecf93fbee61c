//! Incremental decoder of a decision stream's body.
//!
//! A small state machine processes the punctuation between values. A value that is complete in the current chunk is
//! decoded in place by `serde_json` in one pass. A value cut by the edge of a chunk is collected in a carry buffer
//! until [`Boundary`] finds its end. A value longer than [`MAX_VALUE_BYTES`] is skipped and reported as one unreadable
//! element; the rest of the response is valid.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::StreamItem;
use crate::boundary::Boundary;
use crate::value::{List, Parsed, element, parse, syntax, too_long};

/// The longest element that is decoded, in bytes; a decision has about 200. Also the most a decoder buffers: longer
/// elements, keys and values of unknown keys are skipped.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Why a body is not a decision stream. What was decoded before must be discarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON.
    #[error("not valid JSON in what begins at byte {offset}: {reason}")]
    Syntax {
        /// Position in the body, from 0.
        offset: u64,
        /// The parser's message.
        reason: String,
    },
    /// JSON, but not of the shape `{"new":[…],"deleted":[…]}`.
    #[error("not a decision stream: {reason} at byte {offset}")]
    WrongShape {
        /// Position in the body, from 0.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// The body ended before the document.
    #[error("the document is cut short after {received} bytes")]
    CutShort {
        /// Length of what there was.
        received: u64,
    },
    /// The decoder was used after an error.
    #[error("this body was already found unreadable")]
    AlreadyFailed,
}

/// What the next byte that is not white space must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The document's `{`.
    Start,
    /// The first key, or `}`.
    FirstKey,
    /// A key, after a comma.
    Key,
    /// The colon after a key; `None` for unknown keys.
    Colon(Option<List>),
    /// The `[` or `null` of a known list.
    ListStart(List),
    /// A list's first element, or `]`.
    FirstElement(List),
    /// An element, after a comma.
    Element(List),
    /// A comma or `]`.
    AfterElement(List),
    /// The value of an unknown key.
    Ignored,
    /// A comma or `}`.
    AfterValue,
    /// Nothing.
    End,
    /// An error was reported.
    Failed,
}

/// Decodes a decision stream as it arrives: push chunks of any size, and completed items are passed to the sink. They
/// must not be applied before [`finish`](Self::finish) has confirmed that the document was complete.
///
/// `null`, `[]` and missing lists, any order of keys and unknown keys are accepted. Memory use does not depend on
/// the size of the body.
#[derive(Debug)]
pub struct StreamDecoder {
    state: State,
    /// The beginning of a value cut by the last chunk; empty otherwise.
    carry: Vec<u8>,
    boundary: Boundary,
    /// How many bytes of an overlong value have been skipped; zero otherwise.
    skipped: u64,
    /// The number of bytes before the current chunk (or, inside a cut value, before that value).
    before: u64,
    seen_new: bool,
    seen_deleted: bool,
}

impl Default for StreamDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamDecoder {
    /// A decoder of one body.
    pub fn new() -> Self {
        Self {
            state: State::Start,
            carry: Vec::new(),
            boundary: Boundary::default(),
            skipped: 0,
            before: 0,
            seen_new: false,
            seen_deleted: false,
        }
    }

    /// Processes the next bytes of the body.
    ///
    /// # Errors
    /// When the body is not a decision stream; the decoder cannot be used any more.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn FnMut(StreamItem<'_>)) -> Result<(), DecodeError> {
        let result = self.take(chunk, sink);
        if result.is_err() {
            self.state = State::Failed;
            self.carry = Vec::new();
        }
        result
    }

    /// Ends the body.
    ///
    /// # Errors
    /// When the document was not complete.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.state {
            State::End => Ok(()),
            State::Failed => Err(DecodeError::AlreadyFailed),
            _ => {
                Err(DecodeError::CutShort { received: self.before + self.carry.len() as u64 + self.skipped })
            }
        }
    }

    fn take(&mut self, chunk: &[u8], sink: &mut dyn FnMut(StreamItem<'_>)) -> Result<(), DecodeError> {
        let mut at = 0;
        if !self.carry.is_empty() || self.skipped > 0 {
            match self.resume(chunk, sink)? {
                Some(end) => at = end,
                None => return Ok(()),
            }
        }
        while let Some(byte) = chunk.get(at).copied() {
            if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                at += 1;
                continue;
            }
            let here = self.before + at as u64;
            if self.punctuation(byte, here)? {
                at += 1;
                continue;
            }
            match self.value(&chunk[at..], here, false, sink)? {
                Some(length) => at += length,
                None => {
                    let cut = &chunk[at..];
                    self.boundary = Boundary::of(byte);
                    if self.boundary.find_end(cut).is_some() {
                        // The parser and the boundary scan disagree about the end; trust neither.
                        let reason = "the brackets do not match".into();
                        return Err(DecodeError::Syntax { offset: here, reason });
                    }
                    self.before = here;
                    self.gather(cut);
                    return Ok(());
                }
            }
        }
        self.before += chunk.len() as u64;
        Ok(())
    }

    /// Continues a value cut by an earlier chunk. `Some(n)`: it ended after `n` bytes of this chunk.
    fn resume(
        &mut self,
        chunk: &[u8],
        sink: &mut dyn FnMut(StreamItem<'_>),
    ) -> Result<Option<usize>, DecodeError> {
        let end = self.boundary.find_end(chunk);
        self.gather(&chunk[..end.unwrap_or(chunk.len())]);
        let Some(end) = end else { return Ok(None) };
        let length = if self.skipped > 0 {
            self.skip(sink)?;
            std::mem::take(&mut self.skipped)
        } else {
            let carry = std::mem::take(&mut self.carry);
            let length = carry.len();
            if self.value(&carry, self.before, true, sink)? != Some(length) {
                return Err(DecodeError::Syntax {
                    offset: self.before,
                    reason: "the value is not well-formed".into(),
                });
            }
            self.carry = carry;
            self.carry.clear();
            length as u64
        };
        // From the start of the value to the start of this chunk.
        self.before += length - end as u64;
        Ok(Some(end))
    }

    /// Appends a piece of a cut value, or only counts it once the value is too long.
    fn gather(&mut self, piece: &[u8]) {
        if self.skipped > 0 || self.carry.len() + piece.len() > MAX_VALUE_BYTES {
            self.skipped += (self.carry.len() + piece.len()) as u64;
            self.carry = Vec::new();
        } else {
            self.carry.extend_from_slice(piece);
        }
    }

    /// Ends an overlong value.
    fn skip(&mut self, sink: &mut dyn FnMut(StreamItem<'_>)) -> Result<(), DecodeError> {
        self.state = match self.state {
            State::FirstElement(list) | State::Element(list) => {
                sink(too_long(list, self.before, self.skipped));
                State::AfterElement(list)
            }
            // Longer than any known key, however it is escaped.
            State::FirstKey | State::Key => State::Colon(None),
            State::ListStart(list) => return Err(not_a_list(list, self.before)),
            _ => State::AfterValue,
        };
        Ok(())
    }

    /// Processes one byte of punctuation. `false`: a value begins here, with this byte.
    fn punctuation(&mut self, byte: u8, here: u64) -> Result<bool, DecodeError> {
        let next = match (self.state, byte) {
            (State::Start, b'{') => State::FirstKey,
            (State::FirstKey, b'}') | (State::AfterValue, b'}') => State::End,
            (State::FirstKey | State::Key, b'"') => return Ok(false),
            (State::Colon(Some(list)), b':') => State::ListStart(list),
            (State::Colon(None), b':') => State::Ignored,
            (State::ListStart(list), b'[') => State::FirstElement(list),
            (State::FirstElement(_) | State::AfterElement(_), b']') => State::AfterValue,
            (State::AfterElement(list), b',') => State::Element(list),
            (State::AfterValue, b',') => State::Key,
            (State::ListStart(_) | State::FirstElement(_) | State::Element(_) | State::Ignored, _) => {
                return Ok(false);
            }
            (State::Failed, _) => return Err(DecodeError::AlreadyFailed),
            (state, _) => {
                let expected = match state {
                    State::Start => "expected `{`",
                    State::FirstKey => "expected a key or `}`",
                    State::Key => "expected a key",
                    State::Colon(_) => "expected `:`",
                    State::AfterElement(_) => "expected `,` or `]`",
                    State::AfterValue => "expected `,` or `}`",
                    _ => "expected nothing more",
                };
                let found = char::from(byte);
                return Err(DecodeError::WrongShape {
                    offset: here,
                    reason: format!("{expected}, found {found:?}"),
                });
            }
        };
        self.state = next;
        Ok(true)
    }

    /// Decodes the value at the start of `bytes`. `None`: it is not complete yet (impossible when `whole` says that its
    /// end is present).
    fn value(
        &mut self,
        bytes: &[u8],
        here: u64,
        whole: bool,
        sink: &mut dyn FnMut(StreamItem<'_>),
    ) -> Result<Option<usize>, DecodeError> {
        match self.state {
            State::FirstElement(list) | State::Element(list) => {
                let Some(length) = element(bytes, here, whole, list, sink)? else { return Ok(None) };
                self.state = State::AfterElement(list);
                Ok(Some(length))
            }
            State::FirstKey | State::Key => {
                let (key, length) = match parse::<Cow<'_, str>>(bytes, whole) {
                    Parsed::Value(key, length) => (key, length),
                    Parsed::Cut => return Ok(None),
                    Parsed::Bad(error) => return Err(syntax(here, &error)),
                };
                let list = match key.as_ref() {
                    "new" => Some((List::New, &mut self.seen_new)),
                    "deleted" => Some((List::Deleted, &mut self.seen_deleted)),
                    _ => None,
                };
                let list = match list {
                    Some((list, seen)) => {
                        if std::mem::replace(seen, true) {
                            let reason = format!("a second list {:?}", list.name());
                            return Err(DecodeError::WrongShape { offset: here, reason });
                        }
                        Some(list)
                    }
                    None => None,
                };
                self.state = State::Colon(list);
                Ok(Some(length))
            }
            state => {
                let length = match parse::<IgnoredAny>(bytes, whole) {
                    Parsed::Value(IgnoredAny, length) => length,
                    Parsed::Cut => return Ok(None),
                    Parsed::Bad(error) => return Err(syntax(here, &error)),
                };
                if let State::ListStart(list) = state
                    && &bytes[..length] != b"null"
                {
                    return Err(not_a_list(list, here));
                }
                self.state = State::AfterValue;
                Ok(Some(length))
            }
        }
    }
}

fn not_a_list(list: List, offset: u64) -> DecodeError {
    let reason = format!("{:?} is neither a list nor null", list.name());
    DecodeError::WrongShape { offset, reason }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
