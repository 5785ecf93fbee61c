//! Follows a snapshot that is sent to an endpoint from its first mark to its last. Pure.

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The first mark is to be sent.
    Wanted,
    /// The first mark is under way.
    Starting,
    /// The state as of the accepted mark is to be gone through.
    Accepted,
    /// Its values are sent.
    Sweeping,
    /// All values have been found; the last are under way. With `keep_history`: those up to this number of the queue.
    Draining(Option<u64>),
    /// The last mark is under way.
    Completing,
}

impl Stage {
    /// Whether its first mark has been accepted.
    pub(super) fn is_begun(self) -> bool {
        !matches!(self, Self::Wanted | Self::Starting)
    }
}

/// A snapshot under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotRun {
    pub(super) number: u64,
    /// What the ids of its marks follow from. Its number alone is there again once a store was lost.
    pub(super) sequence: u64,
    pub(super) stage: Stage,
    /// Events accepted as its parts.
    pub(super) events: u64,
}

impl SnapshotRun {
    /// Whether all of its values are still to be sent.
    pub(super) fn is_ahead(&self) -> bool {
        matches!(self.stage, Stage::Wanted | Stage::Starting | Stage::Accepted)
    }
}
