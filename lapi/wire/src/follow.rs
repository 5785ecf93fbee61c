//! The extension of `GET /v1/decisions/stream` between Palisade's LAPI and clients: cursors and long polling.
//!
//! ```text
//!    client ──► ?startup=true&cursor=            X-Palisade-Instance: web-1/5f3a09c2
//!    LAPI   ──► all decisions                    X-Palisade-Cursor: T1   X-Palisade-Content: everything; start
//!   client ──► ?cursor=T1&wait=25
//!    LAPI   ──► (parked until there are changes) X-Palisade-Cursor: T2   X-Palisade-Content: changes   X-Palisade-Wait: 25
//! ```
//!
//! A stock LAPI ignores the parameters and sends none of the headers, which is how a client recognises it. A stock
//! client sends no `cursor` and gets none of the headers.
//!
//! The client keeps the cursor and the LAPI keeps nothing: a request may be repeated, aborted, or sent to another LAPI
//! on the same database without loss. A client uses a new cursor only after the whole response has arrived.

/// Response header: the cursor of the next request, valid once the whole response was processed. Opaque.
pub const CURSOR_HEADER: &str = "x-palisade-cursor";
/// Response header: what the response contains, in the form of [`Content`].
pub const CONTENT_HEADER: &str = "x-palisade-content";
/// Response header: how long, in whole seconds, the LAPI parks a request with `wait`. Absent when it would not park
/// this one: the client then polls at its interval.
pub const WAIT_HEADER: &str = "x-palisade-wait";
/// Request header: the instance name, which tells machines that share a key apart. Shown to operators only.
pub const INSTANCE_HEADER: &str = "x-palisade-instance";
/// The longest instance name; longer ones are truncated.
pub const MAX_INSTANCE_NAME: usize = 96;

/// What a response to a request with a cursor contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// The changes since the cursor.
    Changes,
    /// All decisions in force: decisions the client holds that are not included are no longer in force.
    Everything(FullReason),
}

/// Why all decisions were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FullReason {
    /// Requested, or the client has no cursor yet.
    Start,
    /// The history does not reach back to the cursor.
    TooOld,
    /// The cursor is of another database, or the database was restored.
    OtherDatabase,
    /// The cursor is for other filters.
    OtherFilter,
    /// The cursor was not signed with the database's key.
    Forged,
}

impl FullReason {
    const WORDS: [(Self, &'static str); 5] = [
        (Self::Start, "start"),
        (Self::TooOld, "too-old"),
        (Self::OtherDatabase, "other-database"),
        (Self::OtherFilter, "other-filter"),
        (Self::Forged, "forged"),
    ];

    /// The value in the header.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(why, _)| *why == self).map_or("start", |(_, word)| word)
    }
}

impl Content {
    /// The header's value.
    pub fn text(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Everything(FullReason::Start) => "everything; start",
            Self::Everything(FullReason::TooOld) => "everything; too-old",
            Self::Everything(FullReason::OtherDatabase) => "everything; other-database",
            Self::Everything(FullReason::OtherFilter) => "everything; other-filter",
            Self::Everything(FullReason::Forged) => "everything; forged",
        }
    }

    /// Parses the header. An unknown reason is read as [`FullReason::Start`]; an unknown content is `None`.
    pub fn read(text: &str) -> Option<Self> {
        let (word, why) = text.split_once(';').unwrap_or((text, ""));
        match word.trim() {
            "changes" => Some(Self::Changes),
            "everything" => {
                let why = FullReason::WORDS.iter().find(|(_, word)| *word == why.trim());
                Some(Self::Everything(why.map_or(FullReason::Start, |(why, _)| *why)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (why, word) in FullReason::WORDS {
            let content = Content::Everything(why);
            assert_eq!((Content::read(content.text()), why.as_str()), (Some(content), word));
        }
        assert_eq!(Content::read("changes"), Some(Content::Changes));
        assert_eq!(Content::read("everything;  later-word"), Some(Content::Everything(FullReason::Start)));
        assert_eq!(Content::read("some"), None);
    }
}
