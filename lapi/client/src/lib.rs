//! HTTP clients of a CrowdSec Local API: a bouncer's, which receives decisions and reports usage, and a machine's.
//!
//! ```text
//!   ClientConfig ──► Client ──► GET /v1/decisions/stream ──► Continuation ──► StreamSink::begin
//!                       │                                └─► StreamDecoder ──► StreamSink::item, as it arrives
//!                       └─────► POST /v1/usage-metrics
//!    PullError ──► shortest_retry() ──► Backoff ──► delay
//! ```
//!
//! A [`MachineClient`] is used by log processors and the admin CLI: it logs in, posts alerts, and lists and deletes
//! alerts and decisions.
//!
//! Every await has a deadline and every body a minimum rate. Redirects are never followed, since the key would be sent
//! along. A bouncer's request is never retried here: that is up to the caller, with [`Backoff`]. A machine's request is
//! retried according to [`Retries`].
//!
//! ```no_run
//! use palisade_client::{Auth, Client, ClientConfig, Secret, StreamItem, StreamQuery, UserAgent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new("http://127.0.0.1:8080", Auth::Key(Secret::new("the key")));
//! let client = Client::new(&config, &UserAgent::new("palisade-firewall", "v0.1.0")?)?;
//! let everything = StreamQuery { startup: true, ..StreamQuery::default() };
//! let mut staged = 0;
//! let answer = client.decision_stream(&everything, &mut |_: StreamItem<'_>| staged += 1).await?;
//! println!("{} new decisions in {} bytes", answer.items_new, answer.bytes);
//! # Ok(())
//! # }
//! ```

mod backoff;
mod check;
mod client;
mod config;
mod continuation;
mod decisions;
mod diagnosis;
mod endpoint;
mod error;
mod lapi_pool;
mod machine;
mod progress;
mod request_log;
mod setting_names;
mod token;
mod transport;

pub use backoff::{Backoff, EARLY, EARLY_LONGEST, RetryPolicy};
pub use check::{CheckResult, CheckStep, LapiStatus};
pub use client::{Client, StreamAnswer};
pub use config::{Auth, ClientConfig, ProxyConfig, Secret, UserAgent};
pub use continuation::{Continuation, StreamSink};
pub use decisions::DecisionTarget;
pub use error::{BuildError, Credential, PullError, PushError};
pub use lapi_pool::LapiPool;
pub use machine::{EndedDecisions, MachineClient, Registered};
pub use palisade_wire::about::LapiState;
pub use palisade_wire::{StreamItem, StreamQuery, UsageMetrics};
pub use setting_names::SettingNames;
pub use token::{MachineAuth, MachineConfig, MachineError, Retries};
