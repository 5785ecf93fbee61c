//! Represents the process environment as data, so that the settings can be tested without it.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use palisade_client::ProxyConfig;

/// Everything outside the configuration file that affects the settings.
pub struct ProcessEnv<'a> {
    /// The directory of the unit's credentials (`$CREDENTIALS_DIRECTORY`).
    pub credentials: Option<PathBuf>,
    /// The default state directory.
    pub state_dir: Option<PathBuf>,
    /// The proxy from the environment.
    pub proxy: ProxyConfig,
    /// Reads a key file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl ProcessEnv<'static> {
    /// The environment of this process.
    pub fn of_process(program: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        // `StateDirectory=` of the unit. systemd separates directories by colons; the first is the unit's main one.
        let state = variable("STATE_DIRECTORY")
            .and_then(|folders| folders.split(':').next().map(PathBuf::from))
            .unwrap_or_else(|| Path::new("/var/lib").join(program));
        Self {
            credentials: variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            state_dir: Some(state),
            proxy: ProxyConfig::from_environment(|name| std::env::var(name).ok()),
            read: &|path| {
                let mut bytes = Vec::new();
                // Bounded, in case the path names a device or a log.
                std::fs::File::open(path)?.take(64 * 1024).read_to_end(&mut bytes)?;
                Ok(bytes)
            },
        }
    }
}

impl fmt::Debug for ProcessEnv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessEnv")
            .field("credentials", &self.credentials)
            .field("state_dir", &self.state_dir)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}
