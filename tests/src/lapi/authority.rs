//! A private certificate authority, and the certificates of a LAPI and of its bouncers.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use crate::outcome::Outcome;
use crate::world::World;

/// An authority no system trusts, with its certificates in a folder of the world.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its private key, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Founds it.
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
        Ok(Self { folder, issuer })
    }

    /// Its own certificate: what clients must trust.
    pub fn path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for a server on 127.0.0.1.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn server(&self) -> Outcome<Certificate> {
        self.issue("server", "", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a bouncer: its name and its organisational unit, by which a LAPI knows bouncers.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn client(&self, name: &str, unit: &str) -> Outcome<Certificate> {
        self.issue(name, unit, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, unit: &str, purpose: ExtendedKeyUsagePurpose) -> Outcome<Certificate> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name = named(name, unit);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        let made = Certificate { cert: file("pem"), key: file("key") };
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
