//! Response bodies, generated in chunks as they are read.

use bytes::Bytes;
use palisade_wire::UnixMillis;

use crate::cursor::Cursor;
use crate::delta::Delta;
use crate::json::push_decision;
use crate::matcher::Selection;

/// Approximate size of a chunk. A slow reader holds one at a time.
const PIECE: usize = 64 * 1024;

/// The JSON body of a stream response, in chunks. The first chunk is available at once, the others are generated on
/// demand.
///
/// `new` comes first, then `deleted`; both are always arrays in ascending id. No combination of value, type and
/// scope is in both lists unless de-duplication is off. A client that applies `deleted` and then `new` has the
/// decisions in force.
#[derive(Debug)]
pub struct Answer {
    /// The cursor to keep for the bouncer after the body was sent successfully.
    pub next: Cursor,
    /// Whether the response is a full list rather than changes, whether or not it was requested.
    pub everything: bool,
    delta: Delta,
    stage: Stage,
    /// Whether the current list has an element already.
    comma: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    New,
    Deleted,
    Done,
}

impl Answer {
    pub(crate) fn new(delta: Delta, next: Cursor) -> Self {
        Self { next, everything: delta.is_everything(), delta, stage: Stage::Start, comma: false }
    }
}

impl Iterator for Answer {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Start => {
                self.stage = Stage::New;
                // A chunk of its own, so that the head of the response can be sent before the first row is found.
                return Some(Bytes::from_static(b"{\"new\": ["));
            }
            Stage::Done => return None,
            Stage::New | Stage::Deleted => {}
        }
        let mut piece = Vec::new();
        // A row seldom takes more than 1 KiB, so the buffer below seldom has to grow.
        while piece.len() < PIECE - 1024 {
            let now = self.next.time;
            if let Some(row) = self.delta.next() {
                // Reserved with the first row: thousands of responses without rows need only a few bytes each.
                if piece.capacity() == 0 {
                    piece.reserve_exact(PIECE);
                }
                if self.comma {
                    piece.push(b',');
                }
                self.comma = true;
                // The time at the response's start for every row, as the cursor's time is that too.
                push_decision(&mut piece, row, now, true);
            } else if self.stage == Stage::New {
                piece.extend_from_slice(b"], \"deleted\": [");
                self.delta.start_deleted();
                (self.stage, self.comma) = (Stage::Deleted, false);
            } else {
                piece.extend_from_slice(b"]}");
                self.stage = Stage::Done;
                break;
            }
        }
        Some(Bytes::from(piece))
    }
}

impl std::iter::FusedIterator for Answer {}

/// The JSON body of a live query, in chunks: an array, or `null` when nothing matches.
#[derive(Debug)]
pub struct LiveAnswer {
    rows: Selection,
    now: UnixMillis,
    any: bool,
    done: bool,
}

impl LiveAnswer {
    pub(crate) fn new(rows: Selection, now: UnixMillis) -> Self {
        Self { rows, now, any: false, done: false }
    }
}

impl Iterator for LiveAnswer {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut piece = Vec::new();
        while piece.len() < PIECE - 1024 {
            let Some(row) = self.rows.next() else {
                self.done = true;
                piece.extend_from_slice(if self.any { b"]" } else { b"null" });
                break;
            };
            piece.push(if self.any { b',' } else { b'[' });
            self.any = true;
            push_decision(&mut piece, row, self.now, false);
        }
        Some(Bytes::from(piece))
    }
}

impl std::iter::FusedIterator for LiveAnswer {}
