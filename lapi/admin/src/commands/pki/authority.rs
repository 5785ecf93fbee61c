//! The authority: its key and certificate, the certificates it signs, its revocation list. All are PEM files in one
//! folder. Existing keys and certificates are never overwritten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_wire::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use crate::failure::Failure;

const DAY: u64 = 24 * 3600;
/// Ten years: every host has to get the next one.
const AUTHORITY_DAYS: u64 = 3650;
/// The units that docs/multi-server.md and CrowdSec's own guide use.
const MACHINE_UNIT: &str = "agent-ou";
const BOUNCER_UNIT: &str = "bouncer-ou";

/// What a certificate is for.
pub(super) enum Role<'n> {
    /// A LAPI with these names.
    Server(&'n [String]),
    Machine,
    Bouncer,
}

/// Files that were written.
pub(super) struct Issued {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The serial number of a revoked certificate, and when it was revoked, in seconds since 1970.
type Revoked = (Vec<u8>, i64);

/// An authority that can sign.
pub(super) struct Authority {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority in `folder`.
    pub(super) fn create(folder: &Path) -> Result<(), Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed("make", folder, &error))?;
        let mut params = params("Palisade CA", None, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(unmade)?;
        let certificate = params.self_signed(&key).map_err(unmade)?;
        write_pair(
            &folder.join("ca.pem"),
            &certificate.pem(),
            &folder.join("ca-key.pem"),
            &key.serialize_pem(),
        )?;
        // So that `crl_path` can be set from the start.
        Self::open(folder)?.write_list(Vec::new(), 1)
    }

    /// Opens the authority in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
        let key_text = read(&key)?;
        let key_pair = KeyPair::from_pem(&key_text).map_err(|error| unusable(&key, error))?;
        let text = read(&certificate)?;
        let der =
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| unusable(&certificate, error))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unusable(&certificate, error))?;
        if *parsed.public_key().subject_public_key.data != *key_pair.public_key_raw() {
            return Err(Failure::Command(format!(
                "{} does not belong to {}: restore both from one backup",
                key.display(),
                certificate.display()
            )));
        }
        if parsed.validity().not_after.timestamp() < seconds() {
            return Err(Failure::Command(format!(
                "{} has expired; make a new authority with `palisade pki init --out DIR`",
                certificate.display()
            )));
        }
        let issuer =
            Issuer::from_ca_cert_der(&der, key_pair).map_err(|error| unusable(&certificate, error))?;
        Ok(Self { folder: folder.to_owned(), certificate: der, issuer })
    }

    /// Makes `NAME.pem` and `NAME-key.pem`.
    pub(super) fn issue(&self, name: &str, role: &Role<'_>, days: u32) -> Result<Issued, Failure> {
        let (hosts, unit, purpose) = match role {
            Role::Server(names) => (Some(*names), None, ExtendedKeyUsagePurpose::ServerAuth),
            Role::Machine => (None, Some(MACHINE_UNIT), ExtendedKeyUsagePurpose::ClientAuth),
            Role::Bouncer => (None, Some(BOUNCER_UNIT), ExtendedKeyUsagePurpose::ClientAuth),
        };
        let mut params = params(name, hosts, u64::from(days))?;
        if let Some(unit) = unit {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(unmade)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(unmade)?;
        let made = Issued {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}-key.pem")),
        };
        write_pair(&made.certificate, &certificate.pem(), &made.key, &key.serialize_pem())?;
        Ok(made)
    }

    /// Adds certificates to the list, and returns how many are on it.
    pub(super) fn revoke(&self, certificates: &[PathBuf]) -> Result<usize, Failure> {
        let (mut serials, number) = self.revoked()?;
        for path in certificates {
            let text = read(path)?;
            let der =
                CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| unusable(path, error))?;
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| unusable(path, error))?;
            let (_, own) =
                X509Certificate::from_der(&self.certificate).map_err(|error| unusable(path, error))?;
            if certificate.verify_signature(Some(own.public_key())).is_err() || certificate.is_ca() {
                return Err(Failure::Command(format!(
                    "{} was not signed by the authority in {}; give the folder with --out",
                    path.display(),
                    self.folder.display()
                )));
            }
            let serial = certificate.raw_serial().to_vec();
            if !serials.iter().any(|(known, _)| *known == serial) {
                serials.push((serial, seconds()));
            }
        }
        let count = serials.len();
        self.write_list(serials, number + 1)?;
        Ok(count)
    }

    /// The serial numbers on the list with the times they were put there, and the list's own number.
    fn revoked(&self) -> Result<(Vec<Revoked>, u64), Failure> {
        let path = self.folder.join("crl.pem");
        let text = read(&path)?;
        let der = CertificateRevocationListDer::from_pem_slice(text.as_bytes())
            .map_err(|error| unusable(&path, error))?;
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|error| unusable(&path, error))?;
        let number = list.crl_number().and_then(|number| u64::try_from(number).ok()).unwrap_or(1);
        let entries = list.iter_revoked_certificates();
        Ok((
            entries.map(|one| (one.raw_serial().to_vec(), one.revocation_date.timestamp())).collect(),
            number,
        ))
    }

    /// Replaces the list in one step, so that no reader sees half of it.
    fn write_list(&self, serials: Vec<Revoked>, number: u64) -> Result<(), Failure> {
        let epoch = date_time_ymd(1970, 1, 1);
        let params = CertificateRevocationListParams {
            this_update: epoch + since_epoch(0),
            // The list is replaced by hand and not on a schedule.
            next_update: epoch + since_epoch(AUTHORITY_DAYS),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials
                .into_iter()
                .map(|(serial, seconds)| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = params.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(unmade)?;
        let (path, fresh) = (self.folder.join("crl.pem"), self.folder.join("crl.pem.new"));
        let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &path));
        written.map_err(|error| failed("write", &path, &error))
    }
}

/// What all certificates have in common. Keys are ECDSA P-256, which every client of a LAPI can use.
fn params(name: &str, hosts: Option<&[String]>, days: u64) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(hosts.unwrap_or_default()).map_err(unmade)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let mut serial = uuid::Uuid::new_v4().into_bytes().to_vec();
    // Positive and not zero in the first byte, so that every library prints the same number.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial));
    let epoch = date_time_ymd(1970, 1, 1);
    // An hour back, for hosts whose clock is behind.
    params.not_before = epoch + since_epoch(0) - Duration::from_secs(3600);
    params.not_after = epoch + since_epoch(days);
    Ok(params)
}

fn seconds() -> i64 {
    UnixMillis::now().0 / 1000
}

/// From 1970 until so many days from now.
fn since_epoch(days: u64) -> Duration {
    Duration::from_secs(u64::try_from(seconds()).unwrap_or_default() + days * DAY)
}

/// Writes a key, readable by its owner only, and its certificate; neither, if one of them exists.
fn write_pair(certificate: &Path, certificate_pem: &str, key: &Path, key_pem: &str) -> Result<(), Failure> {
    for path in [certificate, key] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Failure::Command(format!(
                "{} exists and is not overwritten; to make a new one, revoke it if it is lost, and move it away",
                path.display()
            )));
        }
    }
    write_new(key, key_pem, 0o600)?;
    write_new(certificate, certificate_pem, 0o644).inspect_err(|_| {
        // Without its certificate it is of no use, and would be in the way of the next attempt.
        let _ = fs::remove_file(key);
    })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| failed("write", path, &error))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        let failure = failed("read", path, &error);
        match (error.kind(), path.file_name().and_then(|name| name.to_str())) {
            (io::ErrorKind::NotFound, Some("ca-key.pem" | "ca.pem" | "crl.pem")) => Failure::advised(
                failure.to_string(),
                "make an authority with `palisade pki init --out DIR`, or name the folder of yours with --out",
            ),
            _ => failure,
        }
    })
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Command(format!("cannot {verb} {}: {error}", path.display()))
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Command(format!("{} cannot be used: {error}", path.display()))
}

fn unmade(error: rcgen::Error) -> Failure {
    Failure::Command(format!("cannot make a certificate: {error}"))
}
