//! Scans the bytes of HTTP/1.1 requests before hyper parses them, and refuses those with more than one reading. Pure.
//!
//! hyper accepts some requests that other programs read differently, and hides it from the service: lines that end in a
//! bare LF, `Content-Length` beside `Transfer-Encoding`, several lengths, a fragment in the target. The scanner sees every
//! byte first and stops at the first violation; what it lets through, hyper reads in the same way or refuses.

mod chunks;
mod head;
mod violation;

pub use self::violation::Violation;
use self::{
    chunks::{Trailers, chunk_size},
    head::{Framing, Head},
};
use super::options::StrictHttp;

/// The longest line with a chunk's size and extensions.
pub const MAX_CHUNK_LINE: usize = 256;

/// Bytes in place of those that are refused. hyper refuses them wherever it is: a CR without LF ends no line and no
/// chunk. The empty line makes it look at a head that came in pieces.
pub const UNPARSABLE: &[u8] = b"\r\0\n\n";

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct RequestScanner {
    limits: StrictHttp,
    state: State,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    head: Head,
    trailers: Trailers,
    heads: u32,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RequestLine,
    Field,
    /// So many bytes of a body with a length.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk.
    ChunkData(u64),
    /// CR and LF after a chunk.
    ChunkEnd,
    Trailer,
}

/// The first byte that must not be parsed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Its position in the bytes that were scanned.
    pub at: usize,
    /// What is wrong.
    pub violation: Violation,
    /// The request that it belongs to, from 1.
    pub request: u32,
    /// Whether its head is complete, and the body is wrong.
    pub in_body: bool,
}

impl RequestScanner {
    /// At the beginning of a connection.
    pub fn new(limits: StrictHttp) -> Self {
        Self {
            limits,
            state: State::RequestLine,
            partial: Vec::new(),
            head: Head::default(),
            trailers: Trailers::default(),
            heads: 0,
        }
    }

    /// Scans the next bytes. After an error the scanner must not be used again.
    ///
    /// # Errors
    ///
    /// Where and why the bytes must not be parsed.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += match &mut self.state {
                State::Body(left) | State::ChunkData(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.body_bytes_end();
                    }
                    taken
                }
                _ => self.scan_line(rest).map_err(|(within, violation)| self.stop(at + within, violation))?,
            };
        }
        Ok(())
    }

    /// Complete heads so far.
    pub fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether the next byte begins another request.
    pub fn is_between_requests(&self) -> bool {
        self.state == State::RequestLine && self.partial.is_empty()
    }

    fn stop(&self, at: usize, violation: Violation) -> Stop {
        let in_body = !matches!(self.state, State::RequestLine | State::Field);
        Stop { at, violation, request: self.heads + u32::from(!in_body), in_body }
    }

    fn body_bytes_end(&mut self) {
        self.state = if matches!(self.state, State::Body(_)) { State::RequestLine } else { State::ChunkEnd };
    }

    /// Scans to the end of a line, or keeps its beginning; returns the bytes taken. An error's position is that of the
    /// line feed, which is thus not parsed: what is wrong with a line is found before the line is complete for hyper.
    fn scan_line(&mut self, rest: &[u8]) -> Result<usize, (usize, Violation)> {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.check_partial(self.partial.len() + rest.len()).map_err(|violation| (0, violation))?;
            self.partial.extend_from_slice(rest);
            return Ok(rest.len());
        };
        if self.partial.is_empty() {
            self.line(&rest[..end]).map_err(|violation| (end, violation))?;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&rest[..end]);
            self.line(&line).map_err(|violation| (end, violation))?;
        }
        Ok(end + 1)
    }

    /// Whether a line may already be this long.
    fn check_partial(&self, length: usize) -> Result<(), Violation> {
        match self.state {
            State::RequestLine if length > self.limits.target_bytes + head::AROUND_TARGET => {
                Err(Violation::TargetTooLong)
            }
            State::RequestLine | State::Field if self.head.bytes + length > self.limits.head_bytes => {
                Err(Violation::HeadTooLarge)
            }
            State::ChunkSize if length > MAX_CHUNK_LINE => Err(Violation::Chunk),
            State::ChunkEnd if length > 1 => Err(Violation::Chunk),
            State::Trailer => self.trailers.check(length),
            _ => Ok(()),
        }
    }

    /// A line without its line feed.
    fn line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let Some((b'\r', text)) = line.split_last() else { return Err(Violation::BareLineFeed) };
        match self.state {
            State::RequestLine => {
                self.head = Head::default();
                self.head.request_line(text, &self.limits)?;
                self.state = State::Field;
            }
            State::Field if text.is_empty() => {
                let framing = self.head.end()?;
                self.heads = self.heads.wrapping_add(1);
                self.state = match framing {
                    Framing::Length(0) => State::RequestLine,
                    Framing::Length(length) => State::Body(length),
                    Framing::Chunked => State::ChunkSize,
                };
            }
            State::Field => self.head.field(text, &self.limits)?,
            State::ChunkSize => {
                self.state = match chunk_size(text)? {
                    0 => {
                        self.trailers = Trailers::default();
                        State::Trailer
                    }
                    size => State::ChunkData(size),
                };
            }
            State::ChunkEnd if text.is_empty() => self.state = State::ChunkSize,
            State::Trailer if text.is_empty() => self.state = State::RequestLine,
            State::Trailer => self.trailers.line(text)?,
            State::ChunkEnd | State::Body(_) | State::ChunkData(_) => return Err(Violation::Chunk),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
