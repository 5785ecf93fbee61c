//! The active decisions in memory, from which all stream requests are answered. No I/O and no clock.
//!
//! ```text
//!    store ──load──► Loading ──┐                       ┌─► View::answer ──► Answer: chunks of a JSON body
//!                             ▼                       │
//!   commits ──apply──► ActiveSet ──view (a few counters)──► View::live, query, ids, counts
//!    clock ──expire──►
//! ```
//!
//! ```
//! use std::time::Duration;
//! use palisade_model::{Change, Commit, StoredDecision, Target};
//! use palisade_replica::{ActiveSet, Filter};
//! use palisade_wire::UnixMillis;
//!
//! let now = UnixMillis(1_000_000);
//! let row = StoredDecision {
//!     id: 1, commit: Commit(1), until: UnixMillis(now.0 + 60_000), alert: 1, simulated: false, uuid: None,
//!     origin: "cscli".into(), scenario: "by hand".into(), remediation: "ban".into(),
//!     target: Target::parse("Ip", "192.0.2.1")?,
//! };
//! let mut set = ActiveSet::new(Duration::from_secs(3600), 100_000);
//! set.apply(now, Commit(1), vec![Change::Put(row)])?;
//!
//! let request = Filter::for_stream(&[])?;
//! let answer = set.view().answer(&request, None, now);
//! let cursor = answer.next; // to be kept after the body was sent
//! let body: Vec<u8> = answer.flatten().collect();
//! assert!(body.starts_with(br#"{"new": [{"duration":"1m0s","id":1,"#));
//!
//! let body: Vec<u8> = set.view().answer(&request, Some(cursor), now).flatten().collect();
//! assert_eq!(body, br#"{"new": [], "deleted": []}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addresses;
mod answer;
mod cursor;
mod cursor_token;
mod delta;
mod filter;
mod json;
mod label;
mod load;
mod matcher;
mod packed;
mod paged;
mod set;
mod tables;
mod view;
mod wait_groups;

pub use answer::{Answer, LiveAnswer};
pub use cursor::Cursor;
pub use cursor_token::{CursorLookup, CursorScope, CursorSigner, CursorToken};
pub use filter::{Filter, FilterError, StreamRequest};
pub use load::Loading;
pub use set::{ActiveSet, OutOfOrder};
pub use view::{Count, CursorStatus, View};
pub use wait_groups::{Broadcast, WaitGroups};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod rule_tests;
