//! The frame of a chunked body.

use super::{MAX_CHUNK_LINE, Violation, head::is_token_byte};

/// Trailers of one request.
const MAX_TRAILERS: usize = 64;
const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Larger chunks are refused, before sizes overflow anywhere.
const MAX_CHUNK_DIGITS: usize = 15;

/// The size in the line before a chunk. Extensions are accepted and never passed on.
pub(super) fn chunk_size(text: &[u8]) -> Result<u64, Violation> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = text.split_at(digits);
    // No space before extensions: RFC 9112 allows it to recipients only, and programs differ in what they make of it.
    let is_frame = extensions.is_empty() || (extensions[0] == b';' && extensions.iter().all(is_text));
    if digits == 0 || digits > MAX_CHUNK_DIGITS || !is_frame || text.len() > MAX_CHUNK_LINE {
        return Err(Violation::Chunk);
    }
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
    size.ok_or(Violation::Chunk)
}

/// No control character.
fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=0x7e | 0x80..)
}

/// Trailers as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    lines: usize,
    bytes: usize,
}

impl Trailers {
    pub(super) fn line(&mut self, text: &[u8]) -> Result<(), Violation> {
        self.check(text.len())?;
        self.lines += 1;
        self.bytes += text.len() + 2;
        let name = memchr::memchr(b':', text).map(|colon| &text[..colon]);
        let is_name =
            name.is_some_and(|name| !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte)));
        if self.lines > MAX_TRAILERS || !is_name || !text.iter().all(is_text) {
            Err(Violation::Trailers)
        } else {
            Ok(())
        }
    }

    /// Whether a line of this length may follow.
    pub(super) fn check(&self, length: usize) -> Result<(), Violation> {
        if self.bytes + length > MAX_TRAILER_BYTES { Err(Violation::Trailers) } else { Ok(()) }
    }
}
