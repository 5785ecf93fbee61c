//! The certificates of one listener: which one a handshake gets, and keeping them up to date with their files.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::ACME_TLS_ALPN;
use super::acme::Acme;
use super::certificate::{Certificate, unix_now};
use super::error::TlsError;
use super::file_certificate::{FileCertificate, timestamp};
use super::names::canonical;
use super::table::{Table, select};
use crate::config::TlsConfig;

/// How often files are checked for changes, and OCSP responses for their end.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The certificates of one listener. Clones share them.
#[derive(Debug, Clone)]
pub struct Certificates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Replaced as a whole, so that handshakes take no lock.
    table: ArcSwap<Table>,
    /// Locked shortly, never while a file is read.
    files: std::sync::Mutex<Vec<FileCertificate>>,
    /// Names whose certificates come from `acme`.
    acme_names: HashSet<String>,
    /// The first of them.
    acme_default: Option<String>,
    acme: Acme,
    provider: CryptoProvider,
}

/// What `status` shows of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CertificateStatus {
    /// The file, or `acme`.
    pub source: String,
    /// The names it is valid for.
    pub names: Vec<String>,
    /// End of the validity, RFC 3339.
    pub expires: String,
    /// Whether an OCSP response is sent to clients.
    pub stapled: bool,
    /// Why newer files are not used; `None` when they are.
    pub failure: Option<String>,
}

impl fmt::Display for CertificateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, valid until {}", self.names.join(" "), self.expires)?;
        if self.stapled {
            f.write_str(", with OCSP response")?;
        }
        match &self.failure {
            Some(failure) => write!(f, "; the files as they are now are not used: {failure}"),
            None => Ok(()),
        }
    }
}

impl Certificates {
    /// Reads the files of `config`. For a reload, `previous` are the certificates in use: where their files cannot be
    /// used any more, they stay in use.
    ///
    /// # Errors
    ///
    /// When a file cannot be used that was not in use before.
    pub fn load(config: &TlsConfig, acme: &Acme, previous: Option<&Self>) -> Result<Self, TlsError> {
        let provider = aws_lc_rs::default_provider();
        let old = previous.map(|previous| lock(&previous.inner.files).clone()).unwrap_or_default();
        let mut files = Vec::with_capacity(config.certificates.len());
        for wanted in &config.certificates {
            match FileCertificate::load(wanted, &provider) {
                Ok(loaded) => files.push(loaded),
                Err(cause) => {
                    let Some(old) = old.iter().find(|old| old.files == *wanted) else { return Err(cause) };
                    let mut kept = old.clone();
                    kept.keep_after(&cause);
                    files.push(kept);
                }
            }
        }
        let table = ArcSwap::from_pointee(Table::new(files.iter().map(|file| &file.current)));
        let inner = Inner {
            table,
            files: std::sync::Mutex::new(files),
            acme_names: config.acme_names.iter().cloned().collect(),
            acme_default: config.acme_names.first().cloned(),
            acme: acme.clone(),
            provider,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads files that changed since they were last read. Files that cannot be used are logged once, and the
    /// certificate from before stays in use.
    pub fn refresh(&self) {
        self.refresh_at(unix_now());
    }

    pub(super) fn refresh_at(&self, now: i64) {
        let inner = &self.inner;
        // A copy: reading may take long, and `status` must not wait for it.
        let mut files = lock(&inner.files).clone();
        let mut changed = false;
        for file in &mut files {
            changed |= file.refresh(&inner.provider, now);
        }
        if changed {
            inner.table.store(Arc::new(Table::new(files.iter().map(|file| &file.current))));
        }
        *lock(&inner.files) = files;
    }

    /// Calls [`Certificates::refresh`] each minute until `stop` fires.
    pub async fn watch(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await.is_some() {
            let certificates = self.clone();
            // Files may be on a slow or unreachable network file system.
            if tokio::task::spawn_blocking(move || certificates.refresh()).await.is_err() {
                warn!(
                    "certificate files could not be checked for changes; they are checked again in a minute"
                );
            }
        }
    }

    /// Whether a request for `host` (without port) may be served on a connection that asked for `server_name`: the
    /// certificate that such a connection gets must cover both. Otherwise a client that reuses a connection for another
    /// name could pass by that name's own TLS settings; it is to be answered 421.
    pub fn same_certificate(&self, server_name: &str, host: &str) -> bool {
        let (server_name, host) = (canonical(server_name), canonical(host));
        // The name that was asked for, whatever certificate there is for it: it is the client who has to accept that.
        server_name == host
            || self.inner.with_candidates(Some(&server_name), |candidates| {
                candidates.iter().all(|certificate| certificate.names.covers(&host))
            })
    }

    /// Whether one of the certificates covers `host`.
    pub fn covers(&self, host: &str) -> bool {
        let host = canonical(host);
        self.inner.with_candidates(Some(&host), |candidates| {
            candidates.iter().any(|certificate| certificate.names.covers(&host))
        })
    }

    /// The certificates from files, for `status`. Those of ACME are part of [`Acme::status`].
    pub fn status(&self) -> Vec<CertificateStatus> {
        let describe = |file: &FileCertificate| CertificateStatus {
            source: file.files.certificate.display().to_string(),
            names: file.current.names.to_texts(),
            expires: timestamp(file.current.validity.until),
            stapled: file.current.key.ocsp.is_some(),
            failure: file.failure.clone(),
        };
        lock(&self.inner.files).iter().map(describe).collect()
    }
}

impl Inner {
    /// Calls `use_them` with the certificates for a lower-case server name, of which there is at least one if the
    /// listener has any.
    fn with_candidates<R>(&self, name: Option<&str>, use_them: impl FnOnce(&[Arc<Certificate>]) -> R) -> R {
        let table = self.table.load();
        if let Some(candidates) = name.and_then(|name| table.exact(name)) {
            return use_them(candidates);
        }
        if let Some(name) = name
            && self.acme_names.contains(name)
            && let Some(certificate) = self.acme.certificate(name)
        {
            return use_them(&[certificate]);
        }
        if let Some(candidates) = name.and_then(|name| table.wildcard(name)) {
            return use_them(candidates);
        }
        if let Some(candidates) = table.fallback() {
            return use_them(candidates);
        }
        match self.acme_default.as_ref().and_then(|name| self.acme.certificate(name)) {
            Some(certificate) => use_them(&[certificate]),
            None => use_them(&[]),
        }
    }
}

/// Answers rustls. A type of its own, because the trait's method must not be called by others.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Certificates);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let inner = &self.0.inner;
        let name = hello.server_name().map(canonical);
        let only_challenge = hello.alpn().is_some_and(|mut offered| {
            offered.next().is_some_and(|protocol| protocol == ACME_TLS_ALPN) && offered.next().is_none()
        });
        if only_challenge {
            // Without a challenge for the name the handshake fails: nothing else is spoken in this protocol.
            return inner.acme.challenges().certificate(name.as_deref()?);
        }
        inner.with_candidates(name.as_deref(), |candidates| {
            select(candidates, hello.signature_schemes()).map(|certificate| certificate.key.clone())
        })
    }
}

/// A lock that a panic elsewhere does not make unusable: what it guards is consistent after each statement.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
