//! Decisions in memory: lookups in nanoseconds while one writer applies changes.
//!
//! ```text
//!  Batch ──apply──► Ledger ──snapshot──► Snapshot ──verdict(ip)──► Decision
//!   (one response)  (all decisions,       (immutable,  ├─hosts, ranges─► what an enforcer puts in force
//!                    one writer)           shared)     └─diff(older)───► what it has to change
//! ```
//!
//! Pure: no runtime, no clock, no wire format; `now` is an argument.
//!
//! ```
//! use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};
//!
//! let mut ledger = Ledger::new(Policy::default(), 0);
//! let mut response = Batch::new();
//! let reason = Reason { remediation: "ban", origin: "cscli", scenario: "manual" };
//! response.announce_net("192.0.2.0/24".parse()?, reason, Timestamp::from_millis(60_000), 1);
//! ledger.apply(Mode::Everything, response);
//!
//! let snapshot = ledger.snapshot();
//! let verdict = snapshot.verdict("192.0.2.7".parse()?).expect("the range covers it");
//! assert_eq!((verdict.remediation, verdict.origin), ("ban", "cscli"));
//!
//! ledger.expire(Timestamp::from_millis(60_000));
//! assert!(ledger.snapshot().verdict("192.0.2.7".parse()?).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod chunked;
mod decision;
mod diff;
mod family;
mod index;
mod labels;
mod ledger;
mod named;
mod policy;
mod prefix;
mod ranges;
mod snapshot;
mod table;
mod targets;
mod time;

pub use batch::{Batch, Lift, Reason};
pub use decision::{Decision, Target};
pub use diff::DecisionChange;
pub use ledger::{Applied, Ledger, Mode};
pub use policy::Policy;
pub use snapshot::{Count, Snapshot};
pub use time::Timestamp;
