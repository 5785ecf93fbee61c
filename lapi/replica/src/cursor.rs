//! A bouncer's position in the stream.

use palisade_model::Commit;
use palisade_wire::UnixMillis;

/// The position, returned with its next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The last commit of the snapshot that was sent.
    pub commit: Commit,
    /// The time it was sent for.
    pub time: UnixMillis,
}

impl Default for Cursor {
    /// Before everything.
    fn default() -> Self {
        Self { commit: Commit(0), time: UnixMillis(i64::MIN) }
    }
}
