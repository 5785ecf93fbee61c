//! Metrics: a registry that is a value, and the `/metrics` endpoint.
//!
//! ```
//! use palisade_daemon::metrics::Metrics;
//! use prometheus_client::metrics::counter::Counter;
//!
//! let metrics = Metrics::new();
//! let requests: Counter = Counter::default();
//! metrics.register(|registry| registry.register("lapi_requests", "Requests sent to the LAPI", requests.clone()));
//! requests.inc();
//! assert!(metrics.text().contains("\nlapi_requests_total 1\n"));
//! ```

mod keys;
mod process;
mod registry;
mod serve;
mod text;

pub use self::{
    keys::{Listen, PROMETHEUS_KEYS, Port, PrometheusKeys},
    process::ProcessCollector,
    registry::Metrics,
    serve::{check, serve},
};
