//! `api.server.tls`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use palisade_daemon::Problems;
use palisade_wire::GoDuration;

use crate::{config::absolute, file};

/// How long a verdict on a certificate is kept when `cache_expiration` is absent.
const CACHE_EXPIRATION: Duration = Duration::from_secs(3600);

/// How the LAPI shows itself over TLS, and which client certificates it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Who signs client certificates, PEM. Nobody else is trusted, the system's roots neither.
    pub ca_cert_path: Option<PathBuf>,
    /// What is asked of clients.
    pub client_verification: ClientVerification,
    /// Accepted; a server has no use for it.
    pub server_name: Option<String>,
    /// Organisational units whose certificates are machines.
    pub agents_allowed_ou: BTreeSet<String>,
    /// Organisational units whose certificates are bouncers.
    pub bouncers_allowed_ou: BTreeSet<String>,
    /// Revoked certificates: PEM, one list or more.
    pub crl_path: Option<PathBuf>,
    /// How long a verdict on a certificate is kept.
    pub cache_expiration: Duration,
}

/// What is asked of clients in the TLS handshake. The names are Go's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientVerification {
    /// `NoClientCert`: nothing.
    None,
    /// `RequestClientCert`: a certificate if they have one, whoever signed it.
    Request,
    /// `RequireAnyClientCert`: a certificate, whoever signed it.
    RequireAny,
    /// `VerifyClientCertIfGiven`: a certificate of ours if they have one.
    #[default]
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: a certificate of ours.
    RequireAndVerify,
}

impl ClientVerification {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "NoClientCert" => Self::None,
            "RequestClientCert" => Self::Request,
            "RequireAnyClientCert" => Self::RequireAny,
            "VerifyClientCertIfGiven" => Self::VerifyIfGiven,
            "RequireAndVerifyClientCert" => Self::RequireAndVerify,
            _ => return None,
        })
    }
}

/// Checks the block; `None` when it names neither certificate nor key.
pub(crate) fn check(written: file::Tls, wrong: &mut Problems) -> Option<TlsConfig> {
    let given = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty()).map(absolute);
    let client_verification = match written.client_verification.as_deref() {
        None | Some("") => ClientVerification::default(),
        Some(word) => ClientVerification::from_word(word).unwrap_or_else(|| {
            wrong.add(
                "api.server.tls.client_verification",
                format!(
                    "unknown TLS client_verification value: {word}; use NoClientCert, RequestClientCert, \
                     RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
                ),
            );
            ClientVerification::default()
        }),
    };
    let cache_expiration = match written.cache_expiration.as_deref().map(str::parse::<GoDuration>) {
        None => CACHE_EXPIRATION,
        Some(Ok(span)) => span.to_std().unwrap_or_default(),
        Some(Err(cause)) => {
            wrong.add("api.server.tls.cache_expiration", cause.to_string());
            CACHE_EXPIRATION
        }
    };
    let mut ous = |key: &str, list: Option<Vec<String>>| -> BTreeSet<String> {
        let list = list.unwrap_or_default();
        if list.iter().any(String::is_empty) {
            wrong.add(
                format!("api.server.tls.{key}"),
                "allowed_ou configuration contains invalid empty string",
            );
        }
        list.into_iter().collect()
    };
    let agents_allowed_ou = ous("agents_allowed_ou", written.agents_allowed_ou);
    let bouncers_allowed_ou = ous("bouncers_allowed_ou", written.bouncers_allowed_ou);
    let ca_cert_path = given(written.ca_cert_path);
    if client_verification == ClientVerification::RequireAndVerify && ca_cert_path.is_none() {
        wrong.add(
            "api.server.tls.ca_cert_path",
            "missing; RequireAndVerifyClientCert would refuse everybody without it",
        );
    }
    match (given(written.cert_file), given(written.key_file)) {
        (None, None) => None,
        (Some(_), None) => {
            wrong.add("api.server.tls.key_file", "missing TLS key file");
            None
        }
        (None, Some(_)) => {
            wrong.add("api.server.tls.cert_file", "missing TLS cert file");
            None
        }
        (Some(cert_file), Some(key_file)) => Some(TlsConfig {
            cert_file,
            key_file,
            ca_cert_path,
            client_verification,
            server_name: written.server_name.filter(|name| !name.is_empty()),
            agents_allowed_ou,
            bouncers_allowed_ou,
            crl_path: given(written.crl_path),
            cache_expiration,
        }),
    }
}
