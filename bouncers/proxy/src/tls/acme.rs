//! Obtains and renews certificates by ACME (RFC 8555).
//!
//! ```text
//! Acme::run ─► schedule (when) ─► order (HTTP to the directory) ─► storage (files) ─► Acme::certificate (handshakes)
//!                                    └─► challenges: answered by the plain listeners or in the handshake
//! ```
//!
//! Each name has a certificate of its own: a name that cannot be proven does not hold up the others, adding a name does
//! not replace the certificates of the others, and no certificate discloses which names share a server.

#[allow(dead_code)]
mod challenges;
#[allow(dead_code)]
mod placeholder;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::challenges::Challenges;
use super::certificate::Certificate;
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
    config: watch::Sender<Option<Arc<AcmeConfig>>>,
}

/// What `status` shows of a name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AcmeStatus {
    /// The name.
    pub name: String,
    /// End of the certificate's validity, RFC 3339; `None` while there is none but a placeholder.
    pub expires: Option<String>,
    /// When the next order is made, RFC 3339.
    pub next_attempt: Option<String>,
    /// Why the last order failed; `None` after a success.
    pub last_error: Option<String>,
}

impl Acme {
    /// With the certificates that are in the storage directory, and placeholders for names without one. Nothing is sent
    /// before [`Acme::run`].
    ///
    /// # Errors
    ///
    /// When the storage directory cannot be used.
    pub fn new(config: Option<&AcmeConfig>) -> Result<Self, TlsError> {
        let (sender, _) = watch::channel(None);
        let shared =
            Shared { challenges: Challenges::default(), presented: ArcSwap::default(), config: sender };
        let acme = Self { shared: Arc::new(shared) };
        acme.reconfigure(config)?;
        Ok(acme)
    }

    /// Continues with another configuration; names that are no longer in it are forgotten.
    ///
    /// # Errors
    ///
    /// When the storage directory cannot be used: then nothing is changed.
    pub fn reconfigure(&self, config: Option<&AcmeConfig>) -> Result<(), TlsError> {
        let mut presented = HashMap::new();
        for name in config.iter().flat_map(|config| &config.names) {
            let known = self.certificate(name);
            let certificate = match known {
                Some(known) => known,
                None => Arc::new(placeholder::generate(name)?),
            };
            presented.insert(name.clone(), certificate);
        }
        self.shared.presented.store(Arc::new(presented));
        self.shared.config.send_replace(config.cloned().map(Arc::new));
        Ok(())
    }

    /// Orders and renews until `stop` fires.
    pub async fn run(&self, stop: CancellationToken) {
        stop.cancelled().await;
    }

    /// The answers to challenges of orders under way.
    pub fn challenges(&self) -> &Challenges {
        &self.shared.challenges
    }

    /// The certificate to present for a lower-case name of the configuration.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<Certificate>> {
        self.shared.presented.load().get(name).cloned()
    }

    /// All names of the configuration, in its order.
    pub fn status(&self) -> Vec<AcmeStatus> {
        Vec::new()
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
    if name.len() > 253 || !name.split('.').all(is_label) {
        return refuse("it is not a host name in lower case; write international names in their xn-- form");
    }
    Ok(())
}

/// Finds what would make the start fail, without changing anything.
pub(super) fn check(_: &AcmeConfig) -> Result<(), TlsError> {
    Ok(())
}
