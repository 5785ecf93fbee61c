//! What Palisade's LAPI and clients say to each other in `GET /v1/decisions/stream` beyond the stock protocol.
//!
//! ```text
//!   client ──► ?startup=true&cursor=            X-Palisade-Instance: web-1/5f3a09c2
//!   LAPI   ──► everything                       X-Palisade-Cursor: T1   X-Palisade-Content: everything; start
//!   client ──► ?cursor=T1&wait=25
//!   LAPI   ──► (held until there is something)  X-Palisade-Cursor: T2   X-Palisade-Content: changes   X-Palisade-Wait: 25
//! ```
//!
//! A stock LAPI ignores the parameters and sends none of the headers: that is how a client knows. A stock client sends
//! no `cursor` and gets none of the headers.
//!
//! The cursor is the client's: the LAPI keeps nothing for it, so a request may be repeated, sent to another LAPI on the
//! same database, or given up, and nothing is lost. A client takes over a new cursor only after the whole answer came.

/// Response header: the cursor to send next, once the whole answer has been taken. Opaque.
pub const CURSOR_HEADER: &str = "x-palisade-cursor";
/// Response header: what the answer holds, as [`Content`] writes it.
pub const CONTENT_HEADER: &str = "x-palisade-content";
/// Response header: how long, in whole seconds, the LAPI holds a request that asks to `wait`. Absent when it would not
/// have held this one at all: the client then asks at its interval.
pub const WAIT_HEADER: &str = "x-palisade-wait";
/// Request header: which of the machines that share a key this is. Shown to operators, never decided by.
pub const INSTANCE_HEADER: &str = "x-palisade-instance";
/// Longest instance name that is taken; more is cut off.
pub const MAX_INSTANCE_NAME: usize = 96;

/// What an answer to a request with a cursor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// What changed since the cursor.
    Changes,
    /// Everything in force: what the client holds and the answer does not list no longer holds.
    Everything(FullReason),
}

/// Why everything is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FullReason {
    /// It was asked for, or the client has no cursor yet.
    Start,
    /// The history does not reach back to the cursor.
    TooOld,
    /// The cursor is of another database, or the database went back.
    OtherDatabase,
    /// The cursor was got for other filters.
    OtherFilter,
    /// The cursor is not one this LAPI or its siblings have made.
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

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(why, _)| *why == self).map_or("start", |(_, word)| word)
    }
}

impl Content {
    /// As the header holds it.
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

    /// Reads the header. A reason that is not known yet is taken as [`FullReason::Start`]; a word that is not known is `None`.
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
