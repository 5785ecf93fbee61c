//! TLS to upstreams: trusted authorities, the client's certificate, ALPN.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_bouncer::outbound::AnyCertificate;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{PoolConfig, UpstreamProtocol};
use crate::upstream::error::PoolError;

/// The content of the files of a pool's TLS. Compared on a reload: a renewed certificate needs new connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsMaterial {
    ca: Option<Vec<u8>>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// What rustls is configured with, by the protocols that are offered.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfigs {
    pub(crate) configured: Arc<ClientConfig>,
    pub(crate) http1: Arc<ClientConfig>,
}

impl TlsMaterial {
    pub(crate) fn load(pool: &PoolConfig) -> Result<Self, PoolError> {
        let read = |key: &'static str, path: &Path| {
            std::fs::read(path).map_err(|source| PoolError::Read {
                pool: pool.name.clone(),
                key,
                path: path.to_owned(),
                source,
            })
        };
        let ca = pool.tls.ca.as_deref().map(|path| read("ca", path)).transpose()?;
        let certificate = match &pool.tls.client_certificate {
            Some((chain, key)) => Some((read("client_certificate", chain)?, read("client_key", key)?)),
            None => None,
        };
        Ok(Self { ca, certificate })
    }

    /// What rustls is configured with; `None` when no upstream of the pool uses TLS.
    pub(crate) fn client_config(&self, pool: &PoolConfig) -> Result<Option<TlsConfigs>, PoolError> {
        if !pool.servers.iter().any(|server| server.tls) {
            return Ok(None);
        }
        let tls = |source| PoolError::Tls { pool: pool.name.clone(), source };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(tls)?;
        let builder = match &self.ca {
            _ if pool.tls.insecure_skip_verify => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
            }
            Some(pem) => builder.with_root_certificates(self.roots(pool, pem)?),
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(tls)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key) = client_certificate(pool, chain, key)?;
                builder.with_client_auth_cert(chain, key).map_err(tls)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols = alpn(pool);
        Ok(Some(TlsConfigs { configured: Arc::new(config), http1 }))
    }

    fn roots(&self, pool: &PoolConfig, pem: &[u8]) -> Result<RootCertStore, PoolError> {
        let path = pool.tls.ca.clone().unwrap_or_default();
        let unusable = |reason| content(pool, "ca", &path, reason);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() { Err(unusable("it contains no certificate".to_owned())) } else { Ok(roots) }
    }
}

fn client_certificate(
    pool: &PoolConfig,
    chain: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PoolError> {
    let (chain_path, key_path) = pool.tls.client_certificate.clone().unwrap_or_default();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let certificates =
        certificates.map_err(|error| content(pool, "client_certificate", &chain_path, error.to_string()))?;
    if certificates.is_empty() {
        return Err(content(
            pool,
            "client_certificate",
            &chain_path,
            "it contains no certificate".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| content(pool, "client_key", &key_path, error.to_string()))?;
    Ok((certificates, key))
}

fn content(pool: &PoolConfig, key: &'static str, path: &Path, reason: String) -> PoolError {
    PoolError::Content { pool: pool.name.clone(), key, path: PathBuf::from(path), reason }
}

fn alpn(pool: &PoolConfig) -> Vec<Vec<u8>> {
    let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
    match pool.protocol {
        // A connection with a PROXY protocol header serves one client, which HTTP/2 is not made for.
        _ if pool.send_proxy_protocol.is_some() => vec![h1],
        UpstreamProtocol::Http1 => vec![h1],
        UpstreamProtocol::Http2 => vec![h2],
        UpstreamProtocol::Auto => vec![h2, h1],
    }
}
