//! The response headers that extend the stock protocol (see [`palisade_wire::follow`]), and the sink of a response.

use std::time::Duration;

use palisade_wire::StreamItem;
use palisade_wire::follow::{CONTENT_HEADER, CURSOR_HEADER, Content, WAIT_HEADER};
use reqwest::header::HeaderMap;

/// The longest accepted cursor: it must fit into a request line.
const MAX_CURSOR_BYTES: usize = 2048;

/// How to continue after a response. Sent by LAPIs that keep cursors, not by stock ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// The cursor of the next request, once the whole response was processed. Opaque, never empty.
    pub cursor: String,
    /// What the response contains, whatever was requested.
    pub content: Content,
    /// How long the LAPI would park a request; `None` if it would not.
    pub wait: Option<Duration>,
}

/// Receives a response as it arrives. A closure over items is a sink that ignores the head.
pub trait StreamSink: Send {
    /// The head of the response; `None` from a stock LAPI.
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

/// Parses the headers; `None` for a stock LAPI. The error is the name and value of a malformed header.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Continuation>, (&'static str, String)> {
    let text = |name: &'static str| match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => Err((name, String::from_utf8_lossy(value.as_bytes()).into_owned())),
        },
    };
    // The cursor alone decides what kind of LAPI it is. With one, the other headers must be correct: taking changes
    // for everything, or the reverse, would leave wrong decisions in force.
    let Some(cursor) = text(CURSOR_HEADER)? else { return Ok(None) };
    if cursor.is_empty() || cursor.len() > MAX_CURSOR_BYTES {
        return Err((CURSOR_HEADER, cursor));
    }
    let content = text(CONTENT_HEADER)?.unwrap_or_default();
    let content = Content::read(&content).ok_or((CONTENT_HEADER, content))?;
    let wait = match text(WAIT_HEADER)? {
        None => None,
        Some(seconds) => match seconds.parse::<u32>() {
            // Zero is the same as no header: it would not park a request.
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
