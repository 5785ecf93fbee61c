//! Keeps a ledger of decisions in sync with a CrowdSec Local API.
//!
//! ```text
//!  Source ──StreamItem──► Admission ──Batch──► Ledger ──Snapshot──► Publisher ═══► CacheHandle (readers)
//!  (LAPI)                 (parse, count)       (one owner: Follower)                    │
//!                              ▲                                                        ▼
//!                             StateFile ◄───────────────── keep(): the last state ── on disk
//! ```
//!
//! [`Follower`] owns the ledger and is the only task that changes it. [`Schedule`] decides when to send which request,
//! without clock or socket, and owns the cursor. Readers hold a [`CacheHandle`].

mod admit;
mod cadence;
mod clock;
mod follow;
mod long_poll_window;
mod persist;
mod publish;
mod schedule;
mod source;

pub use admit::{Admission, Admitted, MAX_FIELD_BYTES, MAX_ID, MAX_SCENARIO_BYTES, Refusal, admit};
pub use cadence::{Cadence, Peer, PullKind, Request, ResyncReason};
pub use clock::now;
pub use follow::{Ended, Follower};
pub use palisade_client::{Continuation, StreamSink};
#[doc(hidden)]
pub use persist::fuzz_decode;
pub use persist::{PersistError, PersistedState, StateFile, keep};
pub use publish::{CacheHandle, Freshness, Published, Publisher, SnapshotGuard, channel, channel_with};
pub use schedule::{Failure, Next, ResponseSummary, Schedule};
pub use source::{Lapi, PullFault, Source};
