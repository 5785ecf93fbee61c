//! Reads answers out of what has come in on a connection so far.

use palisade_wire::follow::{CURSOR_HEADER, WAIT_HEADER};

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Empty when the head has none.
    pub(super) cursor: String,
    /// Whether the LAPI holds requests.
    pub(super) holds: bool,
    pub(super) body: Vec<u8>,
    /// How many bytes of the input it took.
    pub(super) length: usize,
}

/// What is wrong with an answer that will never be whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// The first answer in `input`, once it is whole.
///
/// # Errors
/// When it is no HTTP, or has no length.
pub(super) fn whole(input: &[u8]) -> Result<Option<Answer>, Garbled> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end]).map_err(|_| Garbled)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or(Garbled)?;
    let header = |name: &str| {
        lines.clone().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    let (cursor, holds) =
        (header(CURSOR_HEADER).unwrap_or_default().to_owned(), header(WAIT_HEADER).is_some());
    let rest = &input[end + 4..];
    let (body, took) = if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        let Some(unwrapped) = chunks(rest)? else { return Ok(None) };
        unwrapped
    } else {
        let length: usize = header("content-length").and_then(|value| value.parse().ok()).ok_or(Garbled)?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        (body.to_vec(), length)
    };
    Ok(Some(Answer { status, cursor, holds, body, length: end + 4 + took }))
}

/// The chunks joined, and how long they were with all around them.
fn chunks(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Garbled> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = input[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&input[at..at + line]).map_err(|_| Garbled)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| Garbled)?;
        let begin = at + line + 2;
        let Some(chunk) = begin.checked_add(size).and_then(|end| input.get(begin..end)) else {
            return Ok(None);
        };
        if input.len() < begin + size + 2 {
            return Ok(None);
        }
        body.extend_from_slice(chunk);
        at = begin + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cursor: &str, holds: bool, body: &str, length: usize) -> Answer {
        Answer { status: 200, cursor: cursor.into(), holds, body: body.into(), length }
    }

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let plain =
            "HTTP/1.1 200 OK\r\nX-Palisade-Cursor: T1\r\nx-palisade-wait: 60\r\nContent-Length: 2\r\n\r\n{}";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        for (text, expected) in [
            (plain, answer("T1", true, "{}", plain.len())),
            (chunked, answer("", false, "{}", chunked.len())),
        ] {
            for end in 0..text.len() {
                assert_eq!(whole(&text.as_bytes()[..end]), Ok(None), "{end} bytes of {text}");
            }
            assert_eq!(whole(format!("{text}HTTP").as_bytes()), Ok(Some(expected)));
        }
    }

    #[test]
    fn what_will_never_be_whole_is_refused() {
        for text in [
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
        ] {
            assert_eq!(whole(text.as_bytes()), Err(Garbled), "{text}");
        }
    }
}
