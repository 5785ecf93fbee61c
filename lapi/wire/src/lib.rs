//! The wire format of CrowdSec's Local API (LAPI): types, durations, the incremental stream decoder. No I/O.
//!
//! ```text
//!   bytes of a body ──► StreamDecoder ──► StreamItem::{New, Deleted, Unreadable} ──► the caller's staging
//!   StreamQuery ──► "origins=…&startup=true"        UsageMetrics ──► JSON        ErrorBody ◄── any non-2xx body
//! ```
//!
//! ```
//! use palisade_wire::{StreamDecoder, StreamItem};
//!
//! let body = br#"{"new":[{"id":7,"origin":"cscli","scenario":"manual","scope":"Ip","type":"ban",
//!                         "value":"192.0.2.1","duration":"3h59m58s"}],"deleted":null}"#;
//! let mut banned = Vec::new();
//! let mut decoder = StreamDecoder::new();
//! for chunk in body.chunks(16) {
//!     decoder.push(chunk, &mut |item| {
//!         if let StreamItem::New(decision) = item {
//!             banned.push(decision.value.into_owned());
//!         }
//!     })?;
//! }
//! decoder.finish()?; // only now may the items be applied
//! assert_eq!(banned, ["192.0.2.1"]);
//! # Ok::<(), palisade_wire::DecodeError>(())
//! ```

pub mod about;
mod alert;
mod allowlist;
mod boundary;
mod decision;
mod decoder;
mod ended;
mod error_body;
pub mod follow;
mod object_reader;
mod posted;
mod query;
mod request_body;
mod scope;
mod time;
mod usage;
mod usage_report;
mod value;
mod watcher;

pub use alert::{Alert, Decision, Event, MetaItem, Posting, Source};
pub use allowlist::{
    Allowlist, AllowlistItem, BulkCheckAnswer, BulkCheckRequest, BulkCheckResult, CheckAnswer, NO_EXPIRATION,
    read_bulk_check,
};
pub use decision::{ElementFault, StreamDecision, StreamItem};
pub use decoder::{DecodeError, MAX_VALUE_BYTES, StreamDecoder};
pub use ended::{EndedDecision, LIST_ENDED, MAX_ENDED};
pub use error_body::ErrorBody;
pub use palisade_go_compat::{DurationError, GoDuration};
pub use posted::{
    PostedAlert, PostedDecision, PostedEvent, PostedMeta, PostedSource, ValidAlert, ValidDecision,
    read_alerts,
};
pub use query::StreamQuery;
pub use request_body::{BodyError, BorrowedText, Unused, body_text};
pub use scope::Scope;
pub use time::UnixMillis;
pub use usage::{
    MAX_METRIC_TEXT, MetricItem, MetricMeta, MetricsWindow, OsInfo, RemediationComponent, UsageMetrics,
    clip_metric_text,
};
pub use usage_report::{HubItem, LogProcessor, UsageReport, UsageSender, read_usage_metrics};
pub use watcher::{Login, LoginAnswer, Registration, read_certificate_login, read_login, read_registration};
