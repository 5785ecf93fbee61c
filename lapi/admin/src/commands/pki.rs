//! `pki`: a small certificate authority for connections between this suite's parts. Works on files only.

mod authority;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use self::authority::{Authority, Role};
use crate::failure::Failure;
use crate::output::print;

/// The default folder of the authority.
const FOLDER: &str = "/etc/crowdsec/pki";
/// The longest name of a file; also the limit of a certificate's common name (RFC 5280).
const MAX_NAME: usize = 64;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a certificate authority, valid for 10 years
    Init(Init),
    /// Make a certificate for a LAPI
    Server(Server),
    /// Make a certificate for a machine or a bouncer
    Client(Client),
    /// Put certificates on the authority's revocation list
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Folder {
    /// folder of the authority and its certificates
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Server {
    /// host name or address in the URL of clients; may be repeated, and the first one names the files
    #[arg(long = "name", value_name = "HOST", required = true)]
    names: Vec<String>,
    /// how long the certificate is valid
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650), default_value = "730")]
    days: u32,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Client {
    /// name of a machine: a log processor, or a host with this command (unit agent-ou)
    #[arg(long, value_name = "NAME", required_unless_present = "bouncer", conflicts_with = "bouncer")]
    machine: Option<String>,
    /// name of a bouncer (unit bouncer-ou)
    #[arg(long, value_name = "NAME")]
    bouncer: Option<String>,
    /// how long the certificate is valid
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650), default_value = "730")]
    days: u32,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// certificates that this authority has signed
    #[arg(value_name = "CERTIFICATE.pem", required = true)]
    certificates: Vec<PathBuf>,
    #[command(flatten)]
    folder: Folder,
}

impl Command {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Init(Init { folder }) => {
                Authority::create(&folder.out)?;
                let out = folder.out.display();
                print(&format!(
                    "{out}/ca.pem      the authority's certificate, which every host needs\n\
                     {out}/ca-key.pem  its key; whoever has it can make certificates, keep it here\n\
                     {out}/crl.pem     its revocation list, still empty, for the LAPI\n"
                ))
            }
            Self::Server(Server { names, days, folder }) => {
                for name in names {
                    check_host(name)?;
                }
                let first = names.first().map(String::as_str).unwrap_or_default();
                issue(&folder.out, first, &Role::Server(names), *days)
            }
            Self::Client(Client { machine, bouncer, days, folder }) => {
                let (name, role) = match (machine, bouncer) {
                    (Some(name), _) => (name, Role::Machine),
                    (None, name) => (name.as_ref().ok_or_else(no_name)?, Role::Bouncer),
                };
                check_name(name)?;
                issue(&folder.out, name, &role, *days)
            }
            Self::Revoke(Revoke { certificates, folder }) => {
                let count = Authority::open(&folder.out)?.revoke(certificates)?;
                let list = folder.out.join("crl.pem");
                print(&format!(
                    "{} has {count} certificate(s) now; copy it to the LAPI's crl_path\n",
                    list.display()
                ))
            }
        }
    }
}

/// clap has refused this line already.
fn no_name() -> Failure {
    Failure::Usage("give --machine NAME or --bouncer NAME".to_owned())
}

fn issue(folder: &Path, name: &str, role: &Role<'_>, days: u32) -> Result<(), Failure> {
    let made = Authority::open(folder)?.issue(name, role, days)?;
    print(&format!(
        "{}  the certificate, valid for {days} days\n{}  its key; only this file's owner can read it\n",
        made.certificate.display(),
        made.key.display()
    ))
}

/// The name becomes part of file names, of `NAME@ADDRESS` in lists, and of a certificate.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with(['.', '-']) || !name.chars().all(is_plain)
    {
        return Err(Failure::Command(format!(
            "{name:?} cannot be a name: use 1 to {MAX_NAME} letters, digits, dots, dashes and underscores"
        )));
    }
    Ok(())
}

fn check_host(name: &str) -> Result<(), Failure> {
    check_name(name)?;
    if name.contains(':') && name.parse::<IpAddr>().is_err() {
        return Err(Failure::Command(format!(
            "{name:?} is no host: give a name or an address as in the URL, without scheme and port"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_files_too() {
        for name in ["web-1", "lapi.example.org", "10.0.0.1", "2001:db8::1", "a_b"] {
            assert!(check_host(name).is_ok(), "{name}");
        }
        let long = "a".repeat(65);
        for name in ["", ".", "../ca", "a/b", "-x", "a b", "é", "lapi:8080", "https://lapi", &long] {
            assert!(check_host(name).is_err(), "{name}");
        }
    }
}
