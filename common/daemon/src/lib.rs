//! The common parts of Palisade's daemons: configuration files, flags, listeners, logs, metrics,
//! signals, readiness.

pub mod adopt;
mod config;
pub mod file_access;
pub mod flags;
pub mod listen;
pub mod logs;
pub mod metrics;
pub mod runtime;

pub use config::{ConfigError, Document, Problem, Problems, SourceLocation, UnknownKey};
