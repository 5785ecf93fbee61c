//! How a Palisade daemon starts and stops: configuration files, flags, logs, metrics, signals, readiness.

mod config;
pub mod flags;
pub mod life;
pub mod logs;
pub mod metrics;

pub use config::{ConfigError, Document, Place, Problem, Problems, UnknownKey};
