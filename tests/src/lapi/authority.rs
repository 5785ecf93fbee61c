//! A private certificate authority, and the certificates of a LAPI and of its bouncers.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use crate::outcome::Outcome;
use crate::world::World;

/// A private certificate authority, with its certificates in a folder of the world.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The address of its servers, besides the loopback.
    router: IpAddr,
    /// The number of issued certificates, used as serial numbers.
    issued: AtomicU64,
}

/// A certificate and its private key, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Its serial number, for revocation.
    pub serial: u64,
}

impl Authority {
    /// Creates the authority.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(world: &World) -> Outcome<Self> {
        let folder = world.fresh_path("authority");
        std::fs::create_dir_all(&folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("authority of the story", "");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(folder.join("ca.pem"), issuer.pem())?;
        Ok(Self { folder, issuer, router: world.router.v4(), issued: AtomicU64::new(1) })
    }

    /// Its own certificate, which clients must trust.
    pub fn path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Rewrites its revocation list with these certificates, and returns the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn revoke(&self, revoked: &[&Certificate]) -> Outcome<PathBuf> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2120, 1, 1),
            crl_number: SerialNumber::from(revoked.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|one| RevokedCertParams {
                    serial_number: SerialNumber::from(one.serial),
                    revocation_time: date_time_ymd(2020, 1, 1),
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = self.folder.join("crl.pem");
        // Replaced atomically, so that no reader sees half a list.
        let fresh = self.folder.join("crl.pem.new");
        write(&fresh, &params.signed_by(&self.issuer)?.pem()?)?;
        std::fs::rename(fresh, &list)?;
        Ok(list)
    }

    /// A certificate for a server on the router: 127.0.0.1, or the router's own address.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn server(&self) -> Outcome<Certificate> {
        self.issue("server", "", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same, but expired for years.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn expired_server(&self) -> Outcome<Certificate> {
        self.issue_until("expired", "", ExtendedKeyUsagePurpose::ServerAuth, 2020)
    }

    /// A certificate for a client: its name, and its organisational unit, by which a LAPI distinguishes machines and
    /// bouncers.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn client(&self, name: &str, unit: &str) -> Outcome<Certificate> {
        self.issue(name, unit, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for a web site with these names, written to files that begin with `file`: replaced one after the
    /// other when they exist, as programs that renew certificates do.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn site(&self, file: &str, names: &[&str], key: &KeyPair) -> Outcome<Certificate> {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        let serial = self.issued.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name = named(file, "");
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(key, &self.issuer)?;
        let made = Certificate {
            cert: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
            serial,
        };
        for (path, text) in [(&made.cert, cert.pem() + &self.issuer.pem()), (&made.key, key.serialize_pem())]
        {
            let fresh = path.with_extension("new");
            write(&fresh, &text)?;
            std::fs::rename(fresh, path)?;
        }
        Ok(made)
    }

    /// Writes the authority's key beside its certificate, for tools that sign with it, and returns the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn key(&self) -> Outcome<PathBuf> {
        let path = self.folder.join("ca.key");
        write(&path, &self.issuer.key().serialize_pem())?;
        Ok(path)
    }

    fn issue(&self, name: &str, unit: &str, purpose: ExtendedKeyUsagePurpose) -> Outcome<Certificate> {
        self.issue_until(name, unit, purpose, 4096)
    }

    fn issue_until(
        &self,
        name: &str,
        unit: &str,
        purpose: ExtendedKeyUsagePurpose,
        year: i32,
    ) -> Outcome<Certificate> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), self.router] {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        params.not_after = date_time_ymd(year, 1, 1);
        let serial = self.issued.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name = named(name, unit);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        let made = Certificate { cert: file("pem"), key: file("key"), serial };
        write(&made.cert, &cert.pem())?;
        write(&made.key, &key.serialize_pem())?;
        Ok(made)
    }
}

fn named(name: &str, unit: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    if !unit.is_empty() {
        named.push(DnType::OrganizationalUnitName, unit);
    }
    named
}

fn write(path: &Path, text: &str) -> Outcome {
    Ok(std::fs::write(path, text)?)
}
