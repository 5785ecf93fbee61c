//! Obtains and renews certificates by ACME (RFC 8555).
//!
//! ```text
//! Acme::run ─► schedule (when) ─► order (HTTP to the directory) ─► storage (files) ─► Acme::certificate (handshakes)
//!                                    └─► challenges: answered by the plain listeners or in the handshake
//! ```
//!
//! Each name has a certificate of its own: a name that cannot be proven does not hold up the others, adding a name does
//! not replace the certificates of the others, and no certificate discloses which names share a server.

mod challenges;
mod failure;
mod http;
mod name_state;
mod order;
mod placeholder;
mod renewal;
mod schedule;
mod storage;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustix::fs::Access;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::challenges::Challenges;
use self::http::Http;
pub use self::name_state::AcmeStatus;
use self::name_state::NameState;
use self::storage::Storage;
use super::certificate::{Certificate, unix_now};
use super::error::TlsError;
use crate::config::AcmeConfig;

/// Certificates by ACME for all listeners. Clones share them.
#[derive(Debug, Clone)]
pub struct Acme {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    challenges: Challenges,
    /// What is presented for each name: the certificate obtained last, or a placeholder.
    presented: ArcSwap<HashMap<String, Arc<Certificate>>>,
    /// In the order of the configuration. Locked shortly, never while waiting.
    names: Mutex<Vec<NameState>>,
    setup: watch::Sender<Option<Arc<Setup>>>,
    /// Where a relative storage directory is.
    state_dir: Option<PathBuf>,
}

/// What does not change until a reload.
#[derive(Debug)]
struct Setup {
    config: AcmeConfig,
    storage: Storage,
    http: Http,
}

impl Acme {
    /// With the certificates that are in the storage directory, and placeholders for names without one. Nothing is sent
    /// before [`Acme::run`]. A relative storage directory is below `state_dir`.
    ///
    /// # Errors
    ///
    /// When the storage directory cannot be used.
    pub fn new(config: Option<&AcmeConfig>, state_dir: Option<&Path>) -> Result<Self, TlsError> {
        let shared = Shared {
            challenges: Challenges::default(),
            presented: ArcSwap::default(),
            names: Mutex::default(),
            setup: watch::channel(None).0,
            state_dir: state_dir.map(Path::to_owned),
        };
        let acme = Self { shared: Arc::new(shared) };
        acme.reconfigure(config)?;
        Ok(acme)
    }

    /// Continues with another configuration. Names that are no longer in it are forgotten, but their files are kept;
    /// names that failed are tried again.
    ///
    /// # Errors
    ///
    /// When the storage directory or the file of authorities cannot be used: then nothing is changed.
    pub fn reconfigure(&self, config: Option<&AcmeConfig>) -> Result<(), TlsError> {
        let setup = match config {
            Some(config) => Some(Arc::new(Setup {
                storage: Storage::open(&self.storage(config)?, &config.directory)?,
                http: Http::new(config)?,
                config: config.clone(),
            })),
            None => None,
        };
        let mut known = self.shared.names();
        let previous = self.shared.setup.borrow().clone();
        let mut names = Vec::new();
        let mut presented = HashMap::new();
        if let Some(setup) = &setup {
            let same_storage = previous.is_some_and(|previous| previous.storage == setup.storage);
            for name in &setup.config.names {
                let kept = known.iter().find(|state| same_storage && state.name == *name);
                let state = match kept {
                    Some(kept) => kept.clone().after_reload(),
                    None => NameState::load(name, &setup.storage, unix_now()),
                };
                let certificate = match state.certificate.clone().or_else(|| self.certificate(name)) {
                    Some(certificate) => certificate,
                    None => Arc::new(placeholder::generate(name)?),
                };
                presented.insert(name.clone(), certificate);
                names.push(state);
            }
        }
        *known = names;
        self.shared.presented.store(Arc::new(presented));
        // Still locked, so that no order of the previous setup is recorded in between.
        self.shared.setup.send_replace(setup);
        Ok(())
    }

    fn storage(&self, config: &AcmeConfig) -> Result<PathBuf, TlsError> {
        match &self.shared.state_dir {
            Some(state_dir) => Ok(state_dir.join(&config.storage)),
            None if config.storage.is_absolute() => Ok(config.storage.clone()),
            None => Err(TlsError::NoStorage),
        }
    }

    /// Orders and renews until `stop` fires, one name after the other. An order that is under way then is continued
    /// after the next start.
    pub async fn run(&self, stop: CancellationToken) {
        // Cancelled as a whole: each step is safe to be cut off, as by the end of the process.
        stop.run_until_cancelled(renewal::run(&self.shared)).await;
    }

    /// The answers to challenges of orders under way.
    pub fn challenges(&self) -> &Challenges {
        &self.shared.challenges
    }

    /// The certificate to present for a lower-case name of the configuration. One that has expired is presented until
    /// there is another: clients then say what is wrong, which a placeholder would hide.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<Certificate>> {
        self.shared.presented.load().get(name).cloned()
    }

    /// All names of the configuration, in its order.
    pub fn status(&self) -> Vec<AcmeStatus> {
        self.shared.names().iter().map(NameState::status).collect()
    }
}

impl Shared {
    /// What is guarded is consistent after each statement, so a panic elsewhere does not make it unusable.
    fn names(&self) -> MutexGuard<'_, Vec<NameState>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a certificate can be obtained for `name`.
pub(super) fn check_name(name: &str) -> Result<(), TlsError> {
    let refuse = |reason| Err(TlsError::AcmeName { name: name.to_owned(), reason });
    if name.starts_with("*.") {
        return refuse(
            "a wildcard needs a challenge by DNS, which is not supported; list the names one by one",
        );
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return refuse("it is an address; certificates are obtained for host names");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Names are also names of files, which end in something.
    if name.len() > 200 || !name.split('.').all(is_label) {
        return refuse("it is not a host name in lower case; write international names in their xn-- form");
    }
    Ok(())
}

/// Finds what would make the start fail, without changing anything.
pub(super) fn check(config: &AcmeConfig) -> Result<(), TlsError> {
    if !config.directory.starts_with("https://") {
        return Err(TlsError::Directory { url: config.directory.clone() });
    }
    config.names.iter().try_for_each(|name| check_name(name))?;
    Http::new(config)?;
    // Below the state directory, which is checked elsewhere.
    if config.storage.is_relative() {
        return Ok(());
    }
    // The directory may be missing, but then it must be possible to create it.
    let Some(existing) = config.storage.ancestors().find(|path| path.exists()) else { return Ok(()) };
    let failed = |cause| TlsError::Storage { path: config.storage.clone(), cause };
    if !existing.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| failed(errno.into()))
}
