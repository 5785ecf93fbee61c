//! Where alerts, decisions, machines, bouncers and allowlists are kept: SQLite or PostgreSQL.
//!
//! ```text
//!   add_alerts, end_decisions, …  ──► queue ──► one writer ──► one transaction for all that waited ──► answers
//!   alerts, machines, …           ──► readers (a pool)
//!   load, changes_since           ──► readers, in one snapshot          the memory of the server replays these
//! ```
//!
//! Every write that touches decisions takes the next [`Commit`] inside its transaction, so
//! commits are in order and without gaps whoever writes: the server, or the admin CLI in another process.

mod alert_query;
mod alerts;
mod allowlists;
mod bouncers;
mod config;
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
pub use alerts::{Added, Deleted, NewAlert, NewDecision, Stored};
pub use allowlists::{AddedItems, Allowlist, AllowlistIndex, AllowlistItem, NewAllowlistItem};
pub use bouncers::{
    Bouncer, BouncerDeletion, BouncerInstance, BouncerUpdate, InstanceReport, NewBouncer, base_name,
};
pub use config::{DbConfig, Engine, PostgresServer, SslMode};
pub use decisions::Ended;
pub use engine::{Leadership, Listener, Notice};
pub use error::StoreError;
pub use head::{Head, Store};
pub use machines::{Machine, MachineUpdate, NewMachine};
pub use palisade_active::Commit;
pub use retention::{Autodelete, Flushed, Retention};
pub use usage::{UsageKind, UsageRow};
