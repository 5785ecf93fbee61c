//! Certificates, OCSP responses and handshakes for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::client::ClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs as provider;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::der::tag;
use super::ocsp::Subject;
use crate::config::{CertificateFiles, TlsConfig};

/// An authority whose certificates are written to a directory.
pub(super) struct Authority {
    pub(super) directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), issuer }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Issues a certificate for `names` and writes it to files that begin with `file`.
    pub(super) fn issue(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.issue_for(file, &KeyPair::generate().unwrap(), names)
    }

    pub(super) fn issue_for(&self, file: &str, key: &KeyPair, names: &[&str]) -> CertificateFiles {
        self.issue_with(file, key, names, |_| ())
    }

    pub(super) fn issue_with(
        &self,
        file: &str,
        key: &KeyPair,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let files = CertificateFiles {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
            ocsp: None,
        };
        replace(&files.certificate, (certificate.pem() + &self.issuer.pem()).as_bytes());
        replace(&files.key, key.serialize_pem().as_bytes());
        files
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(super) fn client(&self) -> Client {
        Client { alpn: Vec::new(), schemes: None }
    }
}

/// Replaces a file as programs that renew certificates do.
pub(super) fn replace(path: &Path, content: &[u8]) {
    let staged = path.with_extension("staged");
    fs::write(&staged, content).unwrap();
    fs::rename(staged, path).unwrap();
}

pub(super) fn listener(certificates: Vec<CertificateFiles>) -> TlsConfig {
    TlsConfig { certificates, acme_names: Vec::new(), client_ca: None, tls12: true }
}

/// A client that trusts everyone.
pub(super) struct Client {
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) schemes: Option<Vec<SignatureScheme>>,
}

/// What a client saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) ocsp: Vec<u8>,
    pub(super) alpn: Option<Vec<u8>>,
}

impl Client {
    /// A handshake in memory that asks for `name`; without one, no server name is sent.
    pub(super) fn connect(
        &self,
        server: &Arc<ServerConfig>,
        name: Option<&str>,
    ) -> Result<Seen, rustls::Error> {
        let crypto = Arc::new(provider::default_provider());
        let schemes = self
            .schemes
            .clone()
            .unwrap_or_else(|| crypto.signature_verification_algorithms.supported_schemes());
        let verifier = Arc::new(Recorder { schemes, ocsp: std::sync::Mutex::default() });
        let mut config = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = name.is_some();
        let asked = ServerName::try_from(name.unwrap_or("unnamed.test").to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), asked).unwrap();
        let mut server = ServerConnection::new(server.clone()).unwrap();
        shake_hands(&mut client, &mut server)?;
        Ok(Seen {
            certificate: client.peer_certificates().unwrap()[0].clone().into_owned(),
            ocsp: verifier.ocsp.lock().unwrap().clone(),
            alpn: client.alpn_protocol().map(<[u8]>::to_vec),
        })
    }
}

pub(super) fn shake_hands(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> Result<(), rustls::Error> {
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

/// Verifies nothing, and records the OCSP response.
#[derive(Debug)]
struct Recorder {
    schemes: Vec<SignatureScheme>,
    ocsp: std::sync::Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.ocsp.lock().unwrap() = ocsp.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    // Not even these: certificates of challenges have a critical extension that the verifier does not know.
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    out.extend(content);
    out
}

/// An OCSP response with an invalid signature: `status` is 0 for good, 1 for revoked, 2 for unknown.
pub(super) fn ocsp_response(subject: &Subject, status: u8, from: i64, until: Option<i64>) -> Vec<u8> {
    let time = |seconds: i64| {
        let time = jiff::Timestamp::from_second(seconds).unwrap().strftime("%Y%m%d%H%M%SZ").to_string();
        der(tag::GENERALIZED_TIME, time.as_bytes())
    };
    let sha1 = |content: &[u8]| der(tag::OCTET_STRING, digest(&SHA1_FOR_LEGACY_USE_ONLY, content).as_ref());
    let algorithm = der(tag::SEQUENCE, &der(tag::OBJECT_IDENTIFIER, &[0x2b, 0x0e, 0x03, 0x02, 0x1a]));
    let key = subject.issuer_key.clone().unwrap_or_default();
    let id =
        [algorithm.clone(), sha1(&subject.issuer), sha1(&key), der(tag::INTEGER, &subject.serial)].concat();
    let status = match status {
        1 => der(0xa1, &time(from)),
        status => vec![0x80 | status, 0],
    };
    let next = until.map(|until| der(0xa0, &time(until))).unwrap_or_default();
    let single = der(tag::SEQUENCE, &[der(tag::SEQUENCE, &id), status, time(from), next].concat());
    let responder = der(0xa2, &der(tag::OCTET_STRING, b"key"));
    let data = der(tag::SEQUENCE, &[responder, time(from), der(tag::SEQUENCE, &single)].concat());
    let basic = der(tag::SEQUENCE, &[data, algorithm, der(tag::BIT_STRING, &[0, 1, 2])].concat());
    let basic_oid = der(tag::OBJECT_IDENTIFIER, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01]);
    let bytes = der(tag::SEQUENCE, &[basic_oid, der(tag::OCTET_STRING, &basic)].concat());
    der(tag::SEQUENCE, &[der(tag::ENUMERATED, &[0]), der(0xa0, &bytes)].concat())
}
