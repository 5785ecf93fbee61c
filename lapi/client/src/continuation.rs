//! What the head of an answer says beyond the stock protocol (see [`palisade_wire::follow`]), and who is told.

use std::time::Duration;

use palisade_wire::StreamItem;
use palisade_wire::follow::{CONTENT_HEADER, CURSOR_HEADER, Content, WAIT_HEADER};
use reqwest::header::HeaderMap;

/// The longest cursor that is kept: it has to fit into a request's line again.
const MAX_CURSOR_BYTES: usize = 2048;

/// How to go on after an answer. Only a LAPI that keeps cursors says so; a stock one does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The cursor to send next, once the whole answer has been taken. Opaque, never empty.
    pub cursor: String,
    /// What the answer holds, whatever was asked.
    pub content: Content,
    /// For how long the LAPI holds a request; `None` when it would not hold one.
    pub wait: Option<Duration>,
}

/// What takes an answer as it arrives. A closure over the items is one that does not care about the head.
pub trait StreamSink: Send {
    /// An answer begins; `None` from a stock LAPI.
    fn begin(&mut self, head: Option<&Continuation>);

    /// The next item.
    fn item(&mut self, item: StreamItem<'_>);
}

impl<F: FnMut(StreamItem<'_>) + Send> StreamSink for F {
    fn begin(&mut self, _head: Option<&Continuation>) {}

    fn item(&mut self, item: StreamItem<'_>) {
        self(item);
    }
}

/// Reads the headers; `None` when they are a stock LAPI's. What cannot be understood comes back with its name.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Continuation>, (&'static str, String)> {
    let text = |name: &'static str| match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => Err((name, String::from_utf8_lossy(value.as_bytes()).into_owned())),
        },
    };
    let Some(cursor) = text(CURSOR_HEADER)? else { return Ok(None) };
    if cursor.is_empty() || cursor.len() > MAX_CURSOR_BYTES {
        return Err((CURSOR_HEADER, cursor));
    }
    let content = text(CONTENT_HEADER)?.unwrap_or_default();
    let content = Content::read(&content).ok_or((CONTENT_HEADER, content))?;
    let wait = match text(WAIT_HEADER)? {
        None => None,
        Some(seconds) => match seconds.parse::<u32>() {
            Ok(seconds) => Some(Duration::from_secs(seconds.into())).filter(|wait| !wait.is_zero()),
            Err(_) => return Err((WAIT_HEADER, seconds)),
        },
    };
    Ok(Some(Continuation { cursor, content, wait }))
}

#[cfg(test)]
mod tests {
    use palisade_wire::follow::FullReason;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn read_of(lines: &[(&'static str, &str)]) -> Result<Option<Continuation>, &'static str> {
        let headers = lines.iter().map(|(name, text)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(text.as_bytes()).unwrap())
        });
        read(&headers.collect()).map_err(|(name, _)| name)
    }

    #[test]
    fn a_stock_lapi_is_known_by_its_silence() {
        assert_eq!(read_of(&[]), Ok(None));
        assert_eq!(read_of(&[(CONTENT_HEADER, "changes"), (WAIT_HEADER, "5")]), Ok(None));
    }

    #[test]
    fn the_head_is_read_whole_or_named() {
        let held = |wait: Option<u64>, content| {
            Ok(Some(Continuation { cursor: "T1".into(), content, wait: wait.map(Duration::from_secs) }))
        };
        let everything = Content::Everything(FullReason::TooOld);
        let long = "x".repeat(MAX_CURSOR_BYTES + 1);
        for (cursor, content, wait, expected) in [
            ("T1", "changes", Some("25"), held(Some(25), Content::Changes)),
            (" T1 ", "changes", None, held(None, Content::Changes)),
            ("T1", "everything; too-old", Some("0"), held(None, everything)),
            ("", "changes", None, Err(CURSOR_HEADER)),
            ("\u{e9}", "changes", None, Err(CURSOR_HEADER)),
            (long.as_str(), "changes", None, Err(CURSOR_HEADER)),
            ("T1", "", None, Err(CONTENT_HEADER)),
            ("T1", "some", None, Err(CONTENT_HEADER)),
            ("T1", "changes", Some("soon"), Err(WAIT_HEADER)),
            ("T1", "changes", Some("-1"), Err(WAIT_HEADER)),
        ] {
            let mut lines = vec![(CURSOR_HEADER, cursor), (CONTENT_HEADER, content)];
            lines.extend(wait.map(|wait| (WAIT_HEADER, wait)));
            assert_eq!(read_of(&lines), expected, "{lines:?}");
        }
    }
}
