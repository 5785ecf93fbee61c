//! The work of the Local API, without HTTP: each part takes the store and the other parts it needs.
//!
//! ```text
//!           ingest ────► allowlists ◄────┐                 jobs (one LAPI per database):
//!             │                          │                   retention ──► ingest, replication
//!  commits    ▼                          │
//!  store ─► replication ──── polls ──────┴─► registry
//!             │ commits
//!             ▼
//!           long_poll
//! ```

pub mod alert_counts;
pub mod allowlists;
pub mod clock;
pub mod ingest;
pub mod jobs;
pub mod long_poll;
pub mod registry;
pub mod replication;
pub mod retention;
