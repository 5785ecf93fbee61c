//! The work of the Local API, without HTTP. Each part takes the store, the clock and the other parts that it needs:
//!
//! ```text
//! ingest ──► allowlists ◄──┐                     jobs (on the leader of the database)
//!   │ commits              │ reloads               │
//!   ▼                      │                       ▼
//! replication ─────────────┴──► registry         retention ──► replication
//!   │ commits
//!   ▼
//! long_poll
//! ```

pub mod alert_counts;
pub mod allowlists;
pub mod clock;
pub mod ingest;
pub mod jobs;
pub mod long_poll;
pub mod registry;
pub mod replication;
pub mod retention_job;
