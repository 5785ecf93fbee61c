//! Reads PEM and DER files of the TLS configuration, with a bound on their size.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

/// The largest file that is read. A chain with its key is a few kilobytes, a file of authorities some hundred.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 20;

/// Tells whether a file was changed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// `None` when the file cannot be examined; that it cannot be read either is found on reading.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

pub(super) fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |cause: io::Error| TlsError::Unreadable { what, path: path.to_owned(), cause };
    let file = File::open(path).map_err(unreadable)?;
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(unusable(what, path, format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(content)
}

pub(super) fn certificates(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(unusable(
            what,
            path,
            "there is no certificate in it; it must begin with -----BEGIN CERTIFICATE-----".to_owned(),
        )),
        Err(cause) => Err(unusable(what, path, format!("it is not PEM ({cause})"))),
    }
}

pub(super) fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|cause| {
        let reason = match is_encrypted_key(pem) {
            true => format!(
                "it is encrypted; write it without passphrase, with `openssl pkey -in {} -out FILE`",
                path.display()
            ),
            false => format!("there is no private key in it ({cause})"),
        };
        unusable("key", path, reason)
    })
}

/// Whether a PEM file holds an encrypted private key, in either of OpenSSL's forms.
fn is_encrypted_key(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

pub(super) fn unusable(what: &'static str, path: &Path, reason: String) -> TlsError {
    TlsError::Unusable { what, path: path.to_owned(), reason }
}
