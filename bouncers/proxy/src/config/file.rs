//! Defines the keys of the configuration file, before validation.

use serde::Deserialize;

/// Keys that this file reads.
pub const PROXY_KEYS: &[&str] = &["listen"];

/// The file as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigFile {}
