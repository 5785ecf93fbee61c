//! Persistent storage of alerts, decisions, machines, bouncers and allowlists, in SQLite or PostgreSQL.
//!
//! ```text
//!    add_alerts, end_decisions, …  ──► queue ──► one writer ──► one transaction per group of jobs ──► results
//!   alerts, machines, …           ──► readers (a pool)
//!    load, changes_since           ──► readers, in one snapshot          replayed by the server's replica
//! ```
//!
//! Every write that changes decisions takes the next [`Commit`] inside its transaction, so commits are ordered and
//! without gaps whichever process writes: the server or the admin CLI.

mod alert_query;
mod alerts;
mod allowlists;
mod bouncers;
mod config;
mod crowdsec;
mod decisions;
mod engine;
mod error;
mod head;
mod import;
mod machines;
mod prefix_bounds;
mod replay;
mod retention;
mod settings;
mod timeline;
mod usage;

pub use alert_query::{AlertQuery, QueryError, SortOrder};
pub use alerts::{Added, CommitSink, Deleted, NewAlert, Stored};
pub use allowlists::{AddedItems, Allowlist, AllowlistIndex, AllowlistItem, NewAllowlistItem, RemovedItems};
pub use bouncers::{
    Bouncer, BouncerDeletion, BouncerInstance, BouncerUpdate, InstanceReport, NewBouncer, base_name, hash_key,
};
pub use config::{DbConfig, Engine, PostgresServer, SslMode};
pub use crowdsec::{
    CrowdSecDatabase, FirstStart, ImportCounts, ImportProgress, ImportReport, OnProgress, own_file,
};
pub use decisions::Ended;
pub use engine::{Leadership, Listener, Notice, SyncRequest};
pub use error::StoreError;
pub use head::{Head, Store};
pub use machines::{
    MAX_PASSWORD_BYTES, Machine, MachineUpdate, NewMachine, has_other_cost, hash_password, password_matches,
};
pub use palisade_model::{Commit, NewDecision};
pub use retention::{Autodelete, Flushed, Retention};
pub use usage::{UsageKind, UsageRow};
