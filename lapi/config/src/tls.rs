//! Checks `api.server.tls`.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use palisade_daemon::{
    Problems,
    listen::tls::{ClientVerification, TlsFiles},
};
use palisade_wire::GoDuration;

use crate::{file, paths::absolute};

/// The default of `cache_expiration`.
const CACHE_EXPIRATION: Duration = Duration::from_secs(3600);

/// TLS settings of the LAPI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// `cert_file`, `key_file`, `ca_cert_path` and `client_verification`.
    pub files: TlsFiles,
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

/// Go's names of what clients must present.
fn client_verification(word: &str) -> Option<ClientVerification> {
    Some(match word {
        "NoClientCert" => ClientVerification::None,
        "RequestClientCert" => ClientVerification::Request,
        "RequireAnyClientCert" => ClientVerification::RequireAny,
        "VerifyClientCertIfGiven" => ClientVerification::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientVerification::RequireAndVerify,
        _ => return None,
    })
}

/// Checks the block; `None` when it names neither certificate nor key.
pub(crate) fn check(written: file::Tls, wrong: &mut Problems) -> Option<TlsConfig> {
    let verification = match written.client_verification.as_deref() {
        None | Some("") => ClientVerification::default(),
        Some(word) => client_verification(word).unwrap_or_else(|| {
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
        // Negative counts as zero.
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
    let ca_cert_path = absolute(written.ca_cert_path);
    if verification == ClientVerification::RequireAndVerify && ca_cert_path.is_none() {
        wrong.add(
            "api.server.tls.ca_cert_path",
            "missing; RequireAndVerifyClientCert would refuse every client without it",
        );
    }
    match (absolute(written.cert_file), absolute(written.key_file)) {
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
            files: TlsFiles {
                certificate: cert_file,
                key: key_file,
                client_authorities: ca_cert_path,
                client_verification: verification,
            },
            server_name: written.server_name.filter(|name| !name.is_empty()),
            agents_allowed_ou,
            bouncers_allowed_ou,
            crl_path: absolute(written.crl_path),
            cache_expiration,
        }),
    }
}
