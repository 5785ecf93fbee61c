//! How a Palisade daemon starts and stops: configuration files, flags, logs, metrics, signals, readiness.
pub mod metrics;
