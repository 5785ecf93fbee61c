//! Takes over a CrowdSec database: machines, bouncers, allowlists, alerts, decisions and usage reports.
//!
//! ```text
//!  crowdsec.db, -wal ──copy──► private copy ─┐
//!                                            ├─► Source ─► Import (one transaction) ─► our database
//!  PostgreSQL, one read-only snapshot ───────┘
//! ```
//!
//! CrowdSec's data is only read; ours lies beside it. Another import takes what came since.

mod alerts;
mod allowlists;
mod bouncers;
mod columns;
mod copy;
mod decisions;
mod first_start;
mod holder;
mod import;
mod known;
mod machines;
mod report;
mod source;
mod usage;

pub(crate) use first_start::check;
pub use first_start::{FirstStart, own_file};
pub use import::OnProgress;
pub use report::{ImportCounts, ImportProgress, ImportReport};
pub use source::CrowdSecDatabase;
