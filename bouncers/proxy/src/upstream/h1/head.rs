//! Parses response heads.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::framing::{self, ResponseFraming};
use super::{MAX_FIELDS, MAX_HEAD_BYTES};
use crate::upstream::error::BadAnswer;

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: ResponseFraming,
}

/// Finds the end of a head that arrives in pieces, looking at each byte once.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    scanned: usize,
}

impl HeadScanner {
    /// The length of the head with its empty line, once it is complete.
    fn find_end(&mut self, read: &[u8]) -> Result<Option<usize>, BadAnswer> {
        if !read.starts_with(b"HTTP/") && !b"HTTP/".starts_with(read) {
            return Err(BadAnswer::Malformed);
        }
        for at in memchr::memchr_iter(b'\n', &read[self.scanned..]) {
            let at = self.scanned + at;
            if at == 0 || read[at - 1] != b'\r' {
                return Err(BadAnswer::BareLf);
            }
            if at >= 3 && &read[at - 3..at - 1] == b"\r\n" {
                return if at < MAX_HEAD_BYTES { Ok(Some(at + 1)) } else { Err(BadAnswer::HeadTooLarge) };
            }
        }
        self.scanned = read.len();
        if read.len() >= MAX_HEAD_BYTES { Err(BadAnswer::HeadTooLarge) } else { Ok(None) }
    }

    /// Takes a complete head off `read`; the memory of `spare` is used.
    pub(crate) fn take_head(
        &mut self,
        read: &mut BytesMut,
        to_head: bool,
        spare: &mut HeaderMap,
    ) -> Result<Option<Head>, BadAnswer> {
        let Some(end) = self.find_end(read)? else { return Ok(None) };
        self.scanned = 0;
        let bytes = read.split_to(end).freeze();
        parse(&bytes, to_head, std::mem::take(spare)).map(Some)
    }
}

fn parse(bytes: &Bytes, to_head: bool, mut headers: HeaderMap) -> Result<Head, BadAnswer> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut slots,
    );
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(BadAnswer::TooManyFields),
        _ => return Err(BadAnswer::Malformed),
    }
    let status =
        response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(BadAnswer::Malformed)?;
    headers.clear();
    headers.reserve(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadAnswer::Malformed)?;
        // Values share the memory of the head instead of each being copied.
        let value =
            HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).map_err(|_| BadAnswer::Malformed)?;
        headers.append(name, value);
    }
    let http10 = response.version != Some(1);
    let framing = framing::of_response(status, http10, to_head, &mut headers)?;
    Ok(Head { status, headers, framing })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(bytes: &[u8]) -> Result<Option<Head>, BadAnswer> {
        HeadScanner::default().take_head(&mut BytesMut::from(bytes), false, &mut HeaderMap::new())
    }

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        let whole = b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nxy";
        for cut in 0..whole.len() {
            let (mut scanner, mut spare) = (HeadScanner::default(), HeaderMap::new());
            let mut read = BytesMut::from(&whole[..cut]);
            let first = scanner.take_head(&mut read, false, &mut spare).unwrap();
            read.extend_from_slice(&whole[cut..]);
            let head = match first {
                Some(head) => head,
                None => scanner.take_head(&mut read, false, &mut spare).unwrap().unwrap(),
            };
            assert_eq!((head.status.as_u16(), &head.headers["a"]), (200, &HeaderValue::from_static("b")));
            assert_eq!(&read[..], b"xy");
        }
    }

    #[test]
    fn heads_that_break_a_rule_are_refused() {
        let many: String = (0..101).map(|n| format!("A{n}: b\r\n")).collect();
        let long = "x".repeat(MAX_HEAD_BYTES);
        for (bytes, reason) in [
            ("HTTP/1.1 200 OK\nA: b\n\n".to_owned(), BadAnswer::BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n".to_owned(), BadAnswer::BareLf),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("HTTP/1.1 1000 OK\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), BadAnswer::Malformed),
            ("SSH-2.0-OpenSSH".to_owned(), BadAnswer::Malformed),
            (format!("HTTP/1.1 200 OK\r\n{many}\r\n"), BadAnswer::TooManyFields),
            (format!("HTTP/1.1 200 OK\r\nA: {long}"), BadAnswer::HeadTooLarge),
            (format!("HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n"), BadAnswer::HeadTooLarge),
        ] {
            assert_eq!(take(bytes.as_bytes()).unwrap_err(), reason, "{:?}", &bytes[..bytes.len().min(60)]);
        }
        assert!(take(b"HTT").unwrap().is_none());
    }

    /// Status, fields and what follows; or the rule that is broken. `None` when the head is not complete.
    fn outcome(bytes: &[u8], step: usize) -> Result<Option<(u16, String, Vec<u8>)>, BadAnswer> {
        let (mut scanner, mut read) = (HeadScanner::default(), BytesMut::new());
        let mut pieces = bytes.chunks(step);
        while let Some(piece) = pieces.next() {
            read.extend_from_slice(piece);
            if let Some(head) = scanner.take_head(&mut read, false, &mut HeaderMap::new())? {
                pieces.for_each(|piece| read.extend_from_slice(piece));
                return Ok(Some((head.status.as_u16(), format!("{:?}", head.headers), read.to_vec())));
            }
        }
        Ok(None)
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = proptest::sample::select(&[
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 404\r\n",
            "A: b\r\n",
            "A : b\r\n",
            "\r\n",
            "\n",
            "\r",
            "Content-Length: 2\r\n",
            "Transfer-Encoding: chunked\r\n",
            " c\r\n",
            "hi",
            "\0",
            "Connection: close\r\n",
            "HTTP/",
        ]);
        proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn what_a_head_is_does_not_depend_on_how_it_arrives(bytes in pieces(), step in 1usize..9) {
            prop_assert_eq!(outcome(&bytes, step), outcome(&bytes, bytes.len().max(1)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), step in 1usize..9) {
            let _ = outcome(&[b"HTTP/1.1 200\r\n", &bytes[..]].concat(), step);
        }
    }
}
