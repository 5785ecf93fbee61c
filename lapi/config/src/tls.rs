//! Checks `api.server.tls`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use palisade_daemon::Problems;
use palisade_wire::GoDuration;

use crate::{config::absolute, file};

/// The default of `cache_expiration`.
const CACHE_EXPIRATION: Duration = Duration::from_secs(3600);

/// TLS settings of the LAPI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Certificate authority of client certificates, PEM. No other is trusted, not even the system's.
    pub ca_cert_path: Option<PathBuf>,
    /// What clients must present.
    pub client_verification: ClientVerification,
    /// Accepted and ignored; a server does not need it.
    pub server_name: Option<String>,
    /// Organisational units of machine certificates.
    pub agents_allowed_ou: BTreeSet<String>,
    /// Organisational units of bouncer certificates.
    pub bouncers_allowed_ou: BTreeSet<String>,
    /// Certificate revocation lists, PEM.
    pub crl_path: Option<PathBuf>,
    /// How long revocation results are cached.
    pub cache_expiration: Duration,
}

/// What clients must present in the TLS handshake. The names are Go's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientVerification {
    /// `NoClientCert`: nothing is requested.
    None,
    /// `RequestClientCert`: a certificate is optional and not verified.
    Request,
    /// `RequireAnyClientCert`: a certificate is required and not verified.
    RequireAny,
    /// `VerifyClientCertIfGiven`: a certificate is optional and verified.
    #[default]
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: a certificate is required and verified.
    RequireAndVerify,
}

impl ClientVerification {
    fn parse(word: &str) -> Option<Self> {
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
        Some(word) => ClientVerification::parse(word).unwrap_or_else(|| {
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
