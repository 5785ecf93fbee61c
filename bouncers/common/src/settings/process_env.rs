//! What a process finds around it, as data.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use palisade_client::ProxyConfig;

/// Everything outside the configuration file that has a say in the settings.
pub struct ProcessEnv<'a> {
    /// The folder of the unit's credentials (`$CREDENTIALS_DIRECTORY`).
    pub credentials: Option<PathBuf>,
    /// Where the program keeps its state unless the file says otherwise.
    pub state_dir: Option<PathBuf>,
    /// The proxy of the environment.
    pub proxy: ProxyConfig,
    /// Reads the file of a key.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl ProcessEnv<'static> {
    /// Those of this process. The state is kept where systemd says (`StateDirectory=`), else in
    /// `/var/lib/<program>`.
    pub fn of_process(program: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        // systemd separates several folders by colons; the first is the unit's main one.
        let state = variable("STATE_DIRECTORY")
            .and_then(|folders| folders.split(':').next().map(PathBuf::from))
            .unwrap_or_else(|| Path::new("/var/lib").join(program));
        Self {
            credentials: variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            state_dir: Some(state),
            proxy: ProxyConfig::from_environment(|name| std::env::var(name).ok()),
            read: &|path| {
                let mut bytes = Vec::new();
                // Never the whole of a device or a log that was named by mistake.
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
