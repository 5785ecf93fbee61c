//! Files of ACME: the account's key, certificates, orders under way and failed attempts.
//!
//! Each directory URL has a folder of its own, so that certificates of a test directory are never presented in place of
//! those of the real one. All files are replaced by renaming, so that a crash leaves the old or the new one, and are
//! readable by the owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::super::error::TlsError;
use super::super::pem_file::MAX_FILE_BYTES;

/// The files of one directory URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    folder: PathBuf,
}

/// A kind of file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    /// The account's private key, PEM.
    AccountKey,
    /// The private key and the chain of a name, PEM, in one file, so that they always belong together.
    Certificate(&'a str),
    /// The order under way for a name: its URL and the key of the certificate, JSON.
    Order(&'a str),
    /// Failed attempts for a name, JSON.
    Attempts(&'a str),
}

impl Storage {
    /// Creates the folder if it is missing.
    pub(super) fn open(storage: &Path, directory: &str) -> Result<Self, TlsError> {
        let opened = Self { folder: storage.join(folder_name(directory)) };
        DirBuilder::new().recursive(true).mode(0o700).create(&opened.folder).map_err(|c| opened.failed(c))?;
        // Found here rather than when a certificate has been obtained that then cannot be kept.
        rustix::fs::access(&opened.folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
            .map_err(|errno| opened.failed(errno.into()))?;
        Ok(opened)
    }

    fn failed(&self, cause: io::Error) -> TlsError {
        TlsError::Storage { path: self.folder.clone(), cause }
    }

    /// `None` when there is no such file.
    pub(super) fn read(&self, kind: Kind<'_>) -> io::Result<Option<String>> {
        let file = match File::open(self.path(kind)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    pub(super) fn write(&self, kind: Kind<'_>, content: &str) -> io::Result<()> {
        let path = self.path(kind);
        let staged = path.with_added_extension("new");
        let written = (|| {
            // Not truncated but made anew: the mode applies to new files only.
            match fs::remove_file(&staged) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
            file.write_all(content.as_bytes())?;
            // Before the rename: otherwise a power failure may leave the new name with no contents.
            file.sync_all()?;
            fs::rename(&staged, &path)?;
            File::open(&self.folder)?.sync_all()
        })();
        written
            .map_err(|cause: io::Error| io::Error::new(cause.kind(), format!("{}: {cause}", path.display())))
    }

    pub(super) fn remove(&self, kind: Kind<'_>) -> io::Result<()> {
        match fs::remove_file(self.path(kind)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }

    /// Names are host names, which have no separators of paths in them.
    pub(super) fn path(&self, kind: Kind<'_>) -> PathBuf {
        match kind {
            Kind::AccountKey => self.folder.join("account.key"),
            Kind::Certificate(name) => self.folder.join(format!("{name}.pem")),
            Kind::Order(name) => self.folder.join(format!("{name}.order.json")),
            Kind::Attempts(name) => self.folder.join(format!("{name}.attempts.json")),
        }
    }
}

/// The host of the URL for people, and a part of its hash because several directories may be on one host.
fn folder_name(directory: &str) -> String {
    let host = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    let host: String = host
        .chars()
        .take_while(|&letter| letter != '/')
        .map(
            |letter| {
                if letter.is_ascii_alphanumeric() || letter == '.' || letter == '-' { letter } else { '_' }
            },
        )
        .take(100)
        .collect();
    let hash: String =
        digest(&SHA256, directory.as_bytes()).as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}-{hash}", host.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_readable_by_the_owner_only_and_each_directory_has_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let open = |url| Storage::open(&folder.path().join("acme"), url).unwrap();
        let (real, test) = (open("https://ca.test/directory"), open("https://ca.test/staging/../directory"));
        assert_ne!(real, test);
        let kind = Kind::Certificate("example.org");
        assert_eq!(real.read(kind).unwrap(), None);
        real.write(kind, "first").unwrap();
        real.write(kind, "second").unwrap();
        assert_eq!(real.read(kind).unwrap().as_deref(), Some("second"));
        assert_eq!(test.read(kind).unwrap(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&real.path(kind)), mode(&real.folder)), (0o600, 0o700));
        // What a crash in the middle of writing leaves.
        fs::write(real.path(kind).with_added_extension("new"), "half").unwrap();
        assert_eq!(real.read(kind).unwrap().as_deref(), Some("second"));
        real.write(kind, "third").unwrap();
        assert_eq!((real.read(kind).unwrap().as_deref(), mode(&real.path(kind))), (Some("third"), 0o600));
        real.remove(kind).unwrap();
        real.remove(kind).unwrap();
        assert_eq!(real.read(kind).unwrap(), None);
    }

    #[test]
    fn a_folder_name_is_a_plain_name_whatever_the_url() {
        for url in ["https://../../etc", "https://host:14000/dir", "", "/", "https://..", "https://a\0b/"] {
            let name = folder_name(url);
            assert!(!name.contains('/') && !name.starts_with('.') && !name.contains('\0'), "{name}");
        }
        assert!(folder_name("https://host:14000/dir").starts_with("host_14000-"));
    }
}
