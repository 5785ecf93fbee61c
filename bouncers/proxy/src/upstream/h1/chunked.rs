//! Decodes chunked bodies, strictly: CRLF everywhere, bounded extensions and trailers.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{MAX_CHUNK_METADATA, MAX_FIELDS};

/// A chunked body that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(crate) struct Malformed;

/// The next part of a body.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More bytes must be read.
    Incomplete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    End,
}

/// The decoder of one body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// What extensions may still use.
    metadata: usize,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { state: State::Size, metadata: MAX_CHUNK_METADATA }
    }

    /// Takes the next part off `read`.
    pub(crate) fn take(&mut self, read: &mut BytesMut) -> Result<Part, Malformed> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = take_line(read, self.metadata + 20)? else {
                        return Ok(Part::Incomplete);
                    };
                    let (size, extensions) = parse_size(&line)?;
                    self.metadata = self.metadata.checked_sub(extensions).ok_or(Malformed)?;
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    if read.is_empty() {
                        return Ok(Part::Incomplete);
                    }
                    let length = usize::try_from(left).map_or(read.len(), |left| left.min(read.len()));
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Part::Data(read.split_to(length).freeze()));
                }
                State::DataEnd => {
                    if read.len() < 2 {
                        return if b"\r\n".starts_with(read) { Ok(Part::Incomplete) } else { Err(Malformed) };
                    }
                    if !read.starts_with(b"\r\n") {
                        return Err(Malformed);
                    }
                    read.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(trailers) = take_trailers(read)? else { return Ok(Part::Incomplete) };
                    self.state = State::End;
                    if !trailers.is_empty() {
                        return Ok(Part::Trailers(trailers));
                    }
                }
                State::End => return Ok(Part::End),
            }
        }
    }

    /// Takes what follows the last data when it has arrived already: the usual end, without trailers.
    pub(crate) fn take_end(&mut self, read: &mut BytesMut) -> bool {
        if self.state == State::DataEnd && read.starts_with(b"\r\n0\r\n\r\n") {
            read.advance(7);
            self.state = State::End;
        }
        self.state == State::End
    }
}

/// A line without its CRLF.
fn take_line(read: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, Malformed> {
    let Some(at) = memchr::memchr(b'\n', read) else {
        return if read.len() > limit { Err(Malformed) } else { Ok(None) };
    };
    if at == 0 || at > limit || read[at - 1] != b'\r' {
        return Err(Malformed);
    }
    let mut line = read.split_to(at + 1);
    line.truncate(at - 1);
    Ok(Some(line.freeze()))
}

/// The size of a chunk, and the length of its extensions.
fn parse_size(line: &[u8]) -> Result<(u64, usize), Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return Err(Malformed);
    }
    let size = line[..digits].iter().try_fold(0u64, |size, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(u64::from(digit))
    });
    let rest = line[digits..].trim_ascii_start();
    let is_extension = rest.is_empty() || rest[0] == b';';
    if !is_extension || rest.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return Err(Malformed);
    }
    Ok((size.ok_or(Malformed)?, line.len() - digits))
}

fn take_trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if read.starts_with(b"\r\n") {
        read.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") else {
        return if read.len() > MAX_CHUNK_METADATA { Err(Malformed) } else { Ok(None) };
    };
    if end > MAX_CHUNK_METADATA {
        return Err(Malformed);
    }
    let bytes = read.split_to(end + 4).freeze();
    if memchr::memchr_iter(b'\n', &bytes).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Err(Malformed);
    }
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&bytes, &mut slots) else {
        return Err(Malformed);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?;
        if may_trail(&name) {
            trailers.append(name, value);
        }
    }
    Ok(Some(trailers))
}

/// Whether a field may be in a trailer section (RFC 9110, section 6.5.1): none that frames, routes, authenticates or
/// describes the body.
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    ![
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        HOST,
        TE,
        TRAILER,
        AUTHORIZATION,
        SET_COOKIE,
        CONTENT_ENCODING,
        CONTENT_TYPE,
        CONTENT_RANGE,
        http::header::CONNECTION,
        http::header::UPGRADE,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Data, trailers, and what follows the body.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Decodes `bytes` that arrive `step` at a time.
    fn decode(bytes: &[u8], step: usize) -> Result<Decoded, Malformed> {
        let (mut chunked, mut read, mut data, mut trailers) =
            (Chunked::new(), BytesMut::new(), Vec::new(), None);
        let mut pieces = bytes.chunks(step);
        loop {
            match chunked.take(&mut read)? {
                Part::Data(bytes) => data.extend_from_slice(&bytes),
                Part::Trailers(fields) => trailers = Some(fields),
                Part::End => break,
                Part::Incomplete => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => return Err(Malformed),
                },
            }
        }
        let mut rest = read.to_vec();
        pieces.for_each(|piece| rest.extend_from_slice(piece));
        Ok((data, trailers, rest))
    }

    #[test]
    fn a_body_is_decoded_however_it_is_cut() {
        let bytes = b"5\r\nhello\r\n1;a=b\r\n \r\n00A \r\n0123456789\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\n\r\nrest";
        for step in 1..bytes.len() {
            let (data, trailers, rest) = decode(bytes, step).unwrap();
            assert_eq!((&data[..], &rest[..]), (&b"hello 0123456789"[..], &b"rest"[..]), "{step}");
            let trailers = trailers.unwrap();
            assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("7")));
        }
        assert_eq!(decode(b"0\r\n\r\n", 5).unwrap().1, None);
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let long = format!("1;{}\r\n", "x".repeat(MAX_CHUNK_METADATA + 30));
        let many: String = (0..2000).map(|_| format!("1;{}\r\nx\r\n", "x".repeat(20))).collect();
        for bytes in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\nx\r\n0\r\n\r\n",
            "1\r\nxy\r\n0\r\n\r\n",
            "1\r\nx\n0\r\n\r\n",
            "11111111111111111\r\n",
            "1 2\r\n",
            "1;a\0b\r\nx\r\n0\r\n\r\n",
            "1;a\rb\r\nx\r\n0\r\n\r\n",
            "0\r\nA: b\nC: d\r\n\r\n",
            "0\r\nA b\r\n\r\n",
            "0\r\n\n",
            "5\r\nhel",
            &long,
            &many,
        ] {
            assert_eq!(decode(bytes.as_bytes(), 7), Err(Malformed), "{:?}", &bytes[..bytes.len().min(40)]);
        }
    }

    #[test]
    fn the_usual_end_is_taken_with_the_last_data() {
        let mut read = BytesMut::from(&b"2\r\nhi\r\n0\r\n\r\n"[..]);
        let mut chunked = Chunked::new();
        assert_eq!(chunked.take(&mut read), Ok(Part::Data(Bytes::from_static(b"hi"))));
        assert!(chunked.take_end(&mut read) && read.is_empty());
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = proptest::sample::select(&[
            "5",
            "\r\n",
            "hello\r\n",
            "0\r\n",
            "\r\n\r\n",
            ";a=b",
            "\n",
            "\r",
            "X: y\r\n",
            "g",
            " ",
            "5\r\nhello\r\n",
            "\0",
        ]);
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn what_a_body_is_does_not_depend_on_how_it_arrives(bytes in pieces(), step in 1usize..9) {
            prop_assert_eq!(decode(&bytes, step), decode(&bytes, bytes.len().max(1)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), step in 1usize..9) {
            let _ = decode(&bytes, step);
        }
    }
}
