//! The incremental decoder of a decision stream's body.
//!
//! Between the values of the document a small state machine follows the punctuation. A value that lies whole in
//! the chunk at hand goes straight to `serde_json`, which finds its end and decodes it in one pass, in place.
//! One that the chunk's edge cuts is gathered in a carry buffer until [`Boundary`] sees its end. A value longer than
//! [`MAX_VALUE_BYTES`] is not gathered: its bytes are dropped until its end, it is reported as one element that cannot
//! be read, and the rest of the answer counts.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::StreamItem;
use crate::boundary::Boundary;
use crate::value::{List, Parsed, element, parse, syntax, too_long};

/// The longest element that is decoded, in bytes; a decision is about 200. It is also the most a decoder buffers: a
/// longer element, key or value of an unknown key is skipped, and only its brackets and quotes are looked at.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Why a body is not a decision stream. Whatever was decoded before it must be discarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not JSON.
    #[error("not valid JSON in what begins at byte {offset}: {reason}")]
    Syntax {
        /// Position in the body, from 0.
        offset: u64,
        /// The parser's complaint.
        reason: String,
    },
    /// JSON, but not of the shape `{"new":[…],"deleted":[…]}`.
    #[error("not a decision stream: {reason} at byte {offset}")]
    WrongShape {
        /// Position in the body, from 0.
        offset: u64,
        /// What was expected and what stands there.
        reason: String,
    },
    /// The body ended before the document did.
    #[error("the document is cut short after {received} bytes")]
    CutShort {
        /// Length of what there was.
        received: u64,
    },
    /// The decoder was used again after an error.
    #[error("this body was already found unreadable")]
    AlreadyFailed,
}

/// What the next byte that is not white space has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The document's `{`.
    Start,
    /// The first key, or `}`.
    FirstKey,
    /// A key, after a comma.
    Key,
    /// The colon after a key; `None` when the key is none of ours.
    Colon(Option<List>),
    /// The `[` or `null` of one of our lists.
    ListStart(List),
    /// A list's first element, or `]`.
    FirstElement(List),
    /// An element, after a comma.
    Element(List),
    /// A comma or `]`.
    AfterElement(List),
    /// The value of a key that is none of ours.
    Ignored,
    /// A comma or `}`.
    AfterValue,
    /// Nothing.
    End,
    /// An error was reported.
    Failed,
}

/// Decodes a decision stream as it arrives: push chunks of any size, and items come out through the sink as
/// they complete. Nothing that came out may be applied before [`finish`](Self::finish) has said that the
/// document was whole.
///
/// Accepted are `null`, `[]` and absent lists, any order of keys and any unknown key. The memory held does not
/// grow with the body.
#[derive(Debug)]
pub struct StreamDecoder {
    state: State,
    /// The beginning of a value that the last chunk cut; empty when none was.
    carry: Vec<u8>,
    boundary: Boundary,
    /// How many bytes of a cut value have been dropped because it is too long; zero when none is being skipped.
    skipped: u64,
    /// How many bytes came before the chunk at hand (or, within a cut value, before that value).
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
    /// A decoder for one body.
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

    /// Takes the next bytes of the body.
    ///
    /// # Errors
    /// The body is no decision stream; the decoder is of no further use.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn FnMut(StreamItem<'_>)) -> Result<(), DecodeError> {
        let result = self.take(chunk, sink);
        if result.is_err() {
            self.state = State::Failed;
            self.carry = Vec::new();
        }
        result
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    /// The document had not.
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
                        // The parser found no end, so there is none; should the two ever differ, trust neither.
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

    /// Goes on with a value that an earlier chunk cut. `Some(n)`: it ended after `n` bytes of this chunk.
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
        // From where the value began to where this chunk begins.
        self.before += length - end as u64;
        Ok(Some(end))
    }

    /// Keeps the next piece of a cut value, or only counts it once the value is too long.
    fn gather(&mut self, piece: &[u8]) {
        if self.skipped > 0 || self.carry.len() + piece.len() > MAX_VALUE_BYTES {
            self.skipped += (self.carry.len() + piece.len()) as u64;
            self.carry = Vec::new();
        } else {
            self.carry.extend_from_slice(piece);
        }
    }

    /// Moves on over a value that was too long to be kept.
    fn skip(&mut self, sink: &mut dyn FnMut(StreamItem<'_>)) -> Result<(), DecodeError> {
        self.state = match self.state {
            State::FirstElement(list) | State::Element(list) => {
                sink(too_long(list, self.before, self.skipped));
                State::AfterElement(list)
            }
            // Longer than any key of ours, however it is escaped.
            State::FirstKey | State::Key => State::Colon(None),
            State::ListStart(list) => return Err(not_a_list(list, self.before)),
            _ => State::AfterValue,
        };
        Ok(())
    }

    /// Follows one byte of punctuation. `false`: at this place a value begins, and the byte belongs to it.
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

    /// Decodes the value at the front of `bytes` and moves on. `None`: it is not whole yet (which cannot be when
    /// `whole` says that its end is known to be there).
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
