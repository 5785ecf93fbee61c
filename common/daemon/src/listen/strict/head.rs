//! The head of a request: what decides where its body ends, and what hyper hides from the service.

use memchr::{memchr, memchr2, memrchr};

use super::Violation;
use crate::listen::{limits::MAX_HEADER_LINES, options::StrictHttp};

/// Bytes of a request line beside its target: a method of 32 bytes, two spaces, the version, CR.
pub(super) const AROUND_TARGET: usize = 32 + 2 + 8 + 1;

/// A head as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Complete lines.
    pub(super) bytes: usize,
    fields: usize,
    hosts: usize,
    is_http10: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

impl Head {
    pub(super) fn request_line(&mut self, text: &[u8], limits: &StrictHttp) -> Result<(), Violation> {
        if text.is_empty() {
            return Err(Violation::EmptyLine);
        }
        let (Some(first), Some(last)) = (memchr(b' ', text), memrchr(b' ', text)) else {
            return Err(Violation::RequestLine);
        };
        self.is_http10 = match &text[last + 1..] {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Violation::RequestLine),
        };
        let target =
            text.get(first + 1..last).filter(|target| !target.is_empty()).ok_or(Violation::RequestLine)?;
        if target.len() > limits.target_bytes {
            return Err(Violation::TargetTooLong);
        }
        match memchr2(b'#', b' ', target).map(|at| target[at]) {
            Some(b'#') => return Err(Violation::Fragment),
            Some(_) => return Err(Violation::RequestLine),
            None => {}
        }
        self.count(text, limits)
    }

    /// A field line that is not empty. Whether names and values are well-formed is left to hyper.
    pub(super) fn field(&mut self, text: &[u8], limits: &StrictHttp) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > MAX_HEADER_LINES {
            return Err(Violation::TooManyFields);
        }
        self.count(text, limits)?;
        // The first letter rules out most fields.
        match text.first().map(u8::to_ascii_lowercase) {
            Some(b'h') if value_of(b"host", text).is_some() => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Violation::SeveralHosts);
                }
            }
            Some(b'c') => {
                if let Some(value) = value_of(b"content-length", text) {
                    if self.length.is_some() {
                        return Err(Violation::SeveralLengths);
                    }
                    self.length = Some(content_length(value)?);
                }
            }
            Some(b't') => {
                if let Some(value) = value_of(b"transfer-encoding", text) {
                    if self.is_chunked || self.is_http10 {
                        return Err(Violation::TransferCoding);
                    }
                    only_chunked(value)?;
                    self.is_chunked = true;
                }
            }
            _ => {}
        }
        if self.is_chunked && self.length.is_some() {
            return Err(Violation::LengthAndCoding);
        }
        Ok(())
    }

    /// The empty line.
    pub(super) fn end(&self) -> Result<Framing, Violation> {
        if self.hosts == 0 && !self.is_http10 {
            return Err(Violation::NoHost);
        }
        Ok(if self.is_chunked { Framing::Chunked } else { Framing::Length(self.length.unwrap_or(0)) })
    }

    fn count(&mut self, text: &[u8], limits: &StrictHttp) -> Result<(), Violation> {
        self.bytes += text.len() + 2;
        if self.bytes > limits.head_bytes { Err(Violation::HeadTooLarge) } else { Ok(()) }
    }
}

/// The value of a field line of this name, without the spaces around it.
fn value_of<'a>(name: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    let (there, rest) = text.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    there.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Digits only; as large as hyper accepts.
fn content_length(value: &[u8]) -> Result<u64, Violation> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok())
        .filter(|length| *length < u64::MAX - 2)
        .ok_or(Violation::InvalidLength)
}

/// Accepts the one coding `chunked` and says what is wrong with other lists.
fn only_chunked(value: &[u8]) -> Result<(), Violation> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_token = |coding: &[u8]| !coding.is_empty() && coding.iter().all(|byte| is_token_byte(*byte));
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let malformed = codings.clone().any(|coding| !is_token(coding));
    // An earlier `chunked`, or one that another coding follows.
    let misplaced = codings.next_back().is_some() && codings.any(is_chunked);
    Err(if malformed || misplaced { Violation::TransferCoding } else { Violation::UnknownCoding })
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
