//! The configuration file as it is written: merged and expanded, and not checked.

use std::path::Path;

use palisade_daemon::{ConfigError, Document};
use serde::de::DeserializeOwned;

use crate::config::Config;

impl Config {
    /// Reads the file and its `.local` into any type, such as a JSON tree. Keys are CrowdSec's.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or is not YAML, or a value does not fit the type.
    pub fn written<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
        Document::load(path)?.parse()
    }
}
