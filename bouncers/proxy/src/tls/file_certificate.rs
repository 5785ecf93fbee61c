//! A certificate from files, kept up to date with them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use tracing::{error, info, warn};

use super::certificate::{Certificate, unix_now};
use super::error::TlsError;
use super::ocsp::{self, OcspError};
use super::pem_file::{self, Stamp};
use crate::config::CertificateFiles;

/// A certificate and the state of its files when they were last read.
#[derive(Debug, Clone)]
pub(super) struct FileCertificate {
    pub(super) files: CertificateFiles,
    pub(super) current: Arc<Certificate>,
    /// Of certificate and key, as last read, whether they could be used or not.
    read: [Option<Stamp>; 2],
    staple: Staple,
    /// Whether the end of the validity was logged.
    expired: bool,
    /// Why the files as they are now are not used.
    pub(super) failure: Option<String>,
}

/// The state of the OCSP response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Staple {
    read: Option<Stamp>,
    /// Until when it is stapled; `None` when it is not.
    until: Option<i64>,
    problem: Option<String>,
}

impl FileCertificate {
    /// Reads the files and logs what clients may refuse.
    pub(super) fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let read = stamps(files);
        let current = Arc::new(read_certificate(files, provider)?);
        let mut loaded = Self {
            files: files.clone(),
            current,
            read,
            staple: Staple::default(),
            expired: false,
            failure: None,
        };
        loaded.log_doubts(unix_now());
        loaded.refresh_staple(unix_now());
        Ok(loaded)
    }

    /// Whether certificate or key is not the one last read.
    fn has_changed(&self) -> bool {
        stamps(&self.files) != self.read
    }

    /// Reads what has changed; returns whether another certificate or OCSP response is to be presented. Files that
    /// cannot be used change nothing.
    pub(super) fn refresh(&mut self, provider: &CryptoProvider, now: i64) -> bool {
        let replaced = self.has_changed() && self.reload(provider, now);
        if !replaced {
            self.log_expiry(now);
        }
        self.refresh_staple(now) || replaced
    }

    /// Reads certificate and key again, whether they changed or not.
    fn reload(&mut self, provider: &CryptoProvider, now: i64) -> bool {
        self.read = stamps(&self.files);
        match read_certificate(&self.files, provider) {
            Ok(certificate) => {
                let changed = certificate.key.cert != self.current.key.cert || self.failure.is_some();
                self.current = Arc::new(certificate);
                self.failure = None;
                // For the new certificate, the response is read again.
                self.staple = Staple::default();
                self.expired = false;
                if changed {
                    info!(
                        certificate = %self.files.certificate.display(),
                        names = self.current.names.to_texts().join(" "),
                        expires = %timestamp(self.current.validity.until),
                        "certificate reloaded"
                    );
                }
                self.log_doubts(now);
                true
            }
            Err(cause) => {
                self.keep_after(&cause);
                false
            }
        }
    }

    /// Goes on with the current certificate although the files cannot be used. Logged once for each cause.
    pub(super) fn keep_after(&mut self, cause: &TlsError) {
        let reason = match std::error::Error::source(cause) {
            Some(source) => format!("{cause}: {source}"),
            None => cause.to_string(),
        };
        if self.failure.as_ref() != Some(&reason) {
            error!(
                certificate = %self.files.certificate.display(),
                error = reason,
                "the certificate cannot be reloaded; the previous one stays in use until the files are right"
            );
        }
        self.failure = Some(reason);
    }

    fn log_doubts(&mut self, now: i64) {
        for doubt in self.current.doubts_at(now) {
            warn!(certificate = %self.files.certificate.display(), reason = %doubt, "clients may refuse a certificate");
        }
        self.expired = now >= self.current.validity.until;
    }

    fn log_expiry(&mut self, now: i64) {
        if !self.expired && now >= self.current.validity.until {
            self.expired = true;
            error!(certificate = %self.files.certificate.display(), "a certificate has expired; replace it");
        }
    }

    /// Reads the OCSP response if it changed or expired; returns whether another one is to be stapled.
    fn refresh_staple(&mut self, now: i64) -> bool {
        let Some(path) = &self.files.ocsp else { return false };
        let stamp = Stamp::of(path);
        let first = self.staple == Staple::default();
        let expired = self.staple.until.is_some_and(|until| until <= now);
        if !first && stamp == self.staple.read && !expired {
            return false;
        }
        let result = match pem_file::read("OCSP response", path) {
            Ok(response) => ocsp::valid_until(&response, &self.current.subject, now)
                .map(|until| (response, until))
                .map_err(|cause| (cause == OcspError::Revoked, cause.to_string())),
            Err(cause) => Err((false, cause.to_string())),
        };
        let (response, staple) = match result {
            Ok((response, until)) => {
                (Some(response), Staple { read: stamp, until: Some(until), problem: None })
            }
            Err((revoked, problem)) => {
                // Not again each minute while a response is overdue.
                if self.staple.problem.as_ref() != Some(&problem) {
                    let (file, reason) = (path.display(), &problem);
                    match revoked {
                        true => error!(%file, %reason, "an OCSP response is not sent to clients"),
                        false => warn!(%file, %reason, "an OCSP response is not sent to clients"),
                    }
                }
                (None, Staple { read: stamp, until: None, problem: Some(problem) })
            }
        };
        let changed = response != self.current.key.ocsp;
        if changed {
            self.current = Arc::new(self.current.with_staple(response));
        }
        self.staple = staple;
        changed
    }
}

fn stamps(files: &CertificateFiles) -> [Option<Stamp>; 2] {
    [Stamp::of(&files.certificate), Stamp::of(&files.key)]
}

fn read_certificate(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Certificate, TlsError> {
    let pem = pem_file::read("certificate", &files.certificate)?;
    let chain = pem_file::certificates("certificate", &files.certificate, &pem)?;
    let key = pem_file::private_key(&files.key, &pem_file::read("key", &files.key)?)?;
    Certificate::new(chain, key, provider).map_err(|cause| {
        let reason = match files.key == files.certificate {
            true => cause.to_string(),
            false => format!("{cause} (key: {})", files.key.display()),
        };
        pem_file::unusable("certificate", &files.certificate, reason)
    })
}

/// RFC 3339 in UTC.
pub(super) fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
