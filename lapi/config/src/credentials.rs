//! `local_api_credentials.yaml`: the credentials of a machine.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use palisade_daemon::{ConfigError, Document, Problems, file_access::exposed_secret};
use serde::Deserialize;

use crate::config::unknown;

/// All keys of the file. Any other key is an error.
pub const CREDENTIALS_KEYS: &[&str] =
    &["url", "login", "password", "ca_cert_path", "cert_path", "key_path", "papi_url"];

/// A machine's LAPI and credentials, as written; empty values are absent.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// The LAPI: its root URL without `/v1`, or the path of a unix socket.
    ///
    /// - example: `http://127.0.0.1:8080/`
    pub url: Option<String>,
    /// The machine's name.
    ///
    /// - example: `web-1`
    pub login: Option<String>,
    /// Its password. Not together with a certificate.
    ///
    /// - example: `PASSWORD`
    pub password: Option<String>,
    /// Authorities (PEM) that are trusted besides the system's, for a LAPI with https.
    ///
    /// - default: the system's
    /// - example: `/etc/crowdsec/tls/ca.pem`
    pub ca_cert_path: Option<PathBuf>,
    /// A client certificate (PEM), instead of a password; with `key_path`.
    ///
    /// - default: none
    /// - example: `/etc/crowdsec/tls/web-1.pem`
    pub cert_path: Option<PathBuf>,
    /// Its key (PEM).
    ///
    /// - default: none
    /// - example: `/etc/crowdsec/tls/web-1-key.pem`
    pub key_path: Option<PathBuf>,
    /// The console's address. Without effect yet.
    ///
    /// - default: none
    /// - example: `https://papi.example.org/`
    pub papi_url: Option<String>,
}

/// Omits the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("url", &self.url)
            .field("login", &self.login)
            .field("password", &self.password.as_ref().map(|_| "[redacted]"))
            .field("cert_path", &self.cert_path)
            .finish_non_exhaustive()
    }
}

/// Why credentials cannot be read or written. Scripts search for these texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file does not exist or cannot be read.
    #[error("loading api client: while reading yaml file: open {}: {}", path.display(), plain(cause))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error; part of the text above.
        cause: io::Error,
    },
    /// The file is empty.
    #[error("loading api client: no credentials or URL found in api client configuration '{}'", .0.display())]
    Empty(PathBuf),
    /// Not a credentials file.
    #[error("loading api client: failed to parse api client credential configuration file '{}': {cause}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with lines; part of the text above.
        cause: ConfigError,
    },
    /// Both a password and a certificate.
    #[error("loading api client: user/password authentication and TLS authentication are mutually exclusive")]
    Both,
    /// TLS keys for a unix socket, which is always plain.
    #[error("loading api client: cannot use TLS with a unix socket")]
    TlsOverSocket,
    /// The file cannot be written.
    #[error("write api credentials in '{}' failed: {}", path.display(), plain(cause))]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The operating system's error; part of the text above.
        cause: io::Error,
    },
}

pub(crate) fn plain(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => cause.to_string(),
    }
}

impl Credentials {
    /// Warnings of secrets in the file at `path`, its `.local` and the key it names that every user can read.
    pub fn exposed_secrets(path: &Path) -> Vec<String> {
        let files = Document::load(path).map(|document| document.secret_files()).unwrap_or_default();
        files.iter().filter_map(|file| exposed_secret(file)).collect()
    }

    /// Reads the file and its `.local`, with environment variables expanded. A missing URL is not an error: the file
    /// may be completed later.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is empty, has unknown keys, or mixes two ways to log in.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let invalid = |cause| CredentialsError::Invalid { path: path.to_owned(), cause };
        let document = match Document::load(path) {
            Ok(document) => document,
            Err(ConfigError::Unreadable { path, cause }) => {
                return Err(CredentialsError::Unreadable { path, cause });
            }
            // A file without any key is not a YAML map.
            Err(_) if fs::read_to_string(path).is_ok_and(|text| is_blank(&text)) => {
                return Err(CredentialsError::Empty(path.to_owned()));
            }
            Err(cause) => return Err(invalid(cause)),
        };
        let mut wrong: Problems = unknown(&document, CREDENTIALS_KEYS);
        let read: Option<Self> = document.parse_into(&mut wrong);
        let credentials = wrong.or(read).map_err(|wrong| invalid(wrong.into()))?.unwrap_or_default();
        credentials.tidy().checked(path)
    }

    fn tidy(self) -> Self {
        let text = |value: Option<String>| value.filter(|value| !value.is_empty());
        let file = |value: Option<PathBuf>| value.filter(|value| !value.as_os_str().is_empty());
        Self {
            url: text(self.url),
            login: text(self.login),
            password: text(self.password),
            ca_cert_path: file(self.ca_cert_path),
            cert_path: file(self.cert_path),
            key_path: file(self.key_path),
            papi_url: text(self.papi_url),
        }
    }

    fn checked(self, path: &Path) -> Result<Self, CredentialsError> {
        let certificate = self.cert_path.is_some() || self.key_path.is_some();
        if self == Self::default() {
            Err(CredentialsError::Empty(path.to_owned()))
        } else if self.socket().is_some() && (certificate || self.ca_cert_path.is_some()) {
            Err(CredentialsError::TlsOverSocket)
        } else if certificate && (self.login.is_some() || self.password.is_some()) {
            Err(CredentialsError::Both)
        } else {
            Ok(self)
        }
    }

    /// The unix socket, when the URL is one: a path, or `unix://` and a path.
    pub fn socket(&self) -> Option<&Path> {
        let url = self.url.as_deref()?;
        let path = url.strip_prefix("unix://").unwrap_or(url);
        path.starts_with('/').then(|| Path::new(path))
    }

    /// The URL in canonical form: with `http://` if there is no scheme, and a final `/`; a socket's path unchanged.
    pub fn base_url(&self) -> Option<String> {
        let url = self.url.as_deref()?;
        if let Some(socket) = self.socket() {
            return Some(socket.display().to_string());
        }
        let scheme = if url.contains("://") { "" } else { "http://" };
        let slash = if url.ends_with('/') { "" } else { "/" };
        Some(format!("{scheme}{url}{slash}"))
    }

    /// The file's text.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                text.push_str(&format!("{key}: {}\n", quoted(value)));
            }
        };
        let path = |value: &Option<PathBuf>| value.as_ref().map(|path| path.display().to_string());
        line("url", self.url.as_deref());
        line("login", self.login.as_deref());
        line("password", self.password.as_deref());
        line("ca_cert_path", path(&self.ca_cert_path).as_deref());
        line("cert_path", path(&self.cert_path).as_deref());
        line("key_path", path(&self.key_path).as_deref());
        line("papi_url", self.papi_url.as_deref());
        text
    }

    /// Writes the file, readable by its owner only, by renaming a new file, so that no partial file is ever visible. The
    /// new file has the owner of the replaced one, or else of its folder: root often runs the command for a service.
    /// What is no regular file, such as a pipe or `/dev/stdout`, is written to instead of replaced.
    ///
    /// # Errors
    ///
    /// When the folder or the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CredentialsError> {
        let unwritable = |cause| CredentialsError::Unwritable { path: path.to_owned(), cause };
        // For a symbolic link, the file it points to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            // Through the path as given: a link in /proc to a pipe or a deleted file has no other.
            let written = fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(self.to_yaml().as_bytes()));
            return written.map_err(unwritable);
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:08x}.tmp", fastrand::u32(..)));
        let new = target.with_file_name(name);
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
            let like = fs::metadata(&target).or_else(|_| fs::metadata(folder.unwrap_or(Path::new("."))));
            if let Ok(like) = like {
                // Fails without root privileges; the file then has the right owner already.
                std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid())).ok();
            }
            file.write_all(self.to_yaml().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &target)
        };
        write().map_err(|cause| {
            let _ = fs::remove_file(&new);
            unwritable(cause)
        })
    }
}

fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    })
}

/// As YAML: plain where that is safe, otherwise in double quotes. `$` need not be escaped: unset variables are left as
/// they are.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@');
    let bare = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && value.chars().all(plain)
        && !value.ends_with(':')
        && !matches!(
            value.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if bare {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
