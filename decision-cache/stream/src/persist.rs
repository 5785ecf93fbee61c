//! Persists decisions on disk, so that a rebooted host enforces them before the LAPI answers.
//!
//! ```text
//!    decisions          the whole state: written to a new file, synced, renamed over the old one
//!    decisions.journal  the changes since, one checksummed record per response, appended and synced
//! ```
//!
//! A reader sees either the old or the new state: of the journal it uses the records up to the first incomplete one,
//! and only if the journal belongs to the file. [`keep()`] decides what is written when.

mod disk;
mod error;
mod file;
mod format;
mod journal;
mod keep;
mod record;
mod state;

use palisade_cache::Timestamp;

pub use self::error::PersistError;
pub use self::file::StateFile;
pub use self::keep::keep;
pub(crate) use self::record::Record;
pub use self::state::PersistedState;

/// Checks that arbitrary bytes, as a file or as a journal, are decoded or refused without panicking. For fuzzing.
#[doc(hidden)]
pub fn fuzz_decode(bytes: &[u8]) -> Option<usize> {
    let identity = state::Identity { lapis: vec!["x".to_owned()], kind: "fuzz".to_owned() };
    journal::read(bytes, state::Written { checksum: 0, bytes: 0 }, &mut PersistedState::default());
    format::decode(bytes, &identity, Timestamp::default()).ok().map(|(found, _)| found.base.announced())
}

#[cfg(test)]
mod tests;
