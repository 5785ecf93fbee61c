//! Creates the instance name, which distinguishes machines that share a key and is stable over restarts.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::OnceLock;

use palisade_wire::follow::MAX_INSTANCE_NAME;

/// The file in the state directory.
const FILE: &str = "instance";
/// Number of hexadecimal digits that distinguish machines with the same host name.
const DIGITS: usize = 8;

/// The name, such as `HOST/1f3a09c2`.
pub(super) fn name(state_dir: Option<&Path>, host: &str) -> String {
    // Random and stored, since host names repeat, in containers for example.
    let digits = match state_dir.map(persisted) {
        Some(Ok(digits)) => digits,
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot store the instance name; the LAPI will list this machine under another name after a restart");
            process_digits()
        }
        None => process_digits(),
    };
    // The name is sent in an HTTP header.
    let host: String =
        host.chars().filter(char::is_ascii_graphic).take(MAX_INSTANCE_NAME - DIGITS - 1).collect();
    format!("{}/{digits}", if host.is_empty() { "host" } else { &host })
}

/// Whether a configured name can be sent.
pub(super) fn is_sendable(name: &str) -> bool {
    (1..=MAX_INSTANCE_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The digits of this process.
fn process_digits() -> String {
    // The same after a reload, or the LAPI would list another machine.
    static DIGITS: OnceLock<String> = OnceLock::new();
    DIGITS.get_or_init(random_digits).clone()
}

/// The stored digits, created if missing or invalid.
fn persisted(state_dir: &Path) -> io::Result<String> {
    // Decisions may not have been persisted yet.
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let path = state_dir.join(FILE);
    // Opening a pipe or reading a device could take for ever.
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is no regular file"));
    }
    match fs::read_to_string(&path) {
        Ok(text) if is_digits(text.trim()) => return Ok(text.trim().to_owned()),
        // An unreadable file must not be replaced: it may hold the name.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    not_special(&path)?;
    let digits = random_digits();
    // Written to a new file and renamed: a name cut by a crash would be another name.
    let staged = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    writeln!(file, "{digits}")?;
    file.sync_all()?;
    fs::rename(&staged, &path)?;
    Ok(digits)
}

/// Renaming over a device or a pipe would replace it.
fn not_special(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("it is no regular file")),
        _ => Ok(()),
    }
}

fn is_digits(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn random_digits() -> String {
    format!("{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_persisted_and_unique_on_the_host() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = name(Some(one.path()), "web-1");
        assert!(first.starts_with("web-1/") && first.len() == "web-1/".len() + DIGITS, "{first}");
        assert_eq!(name(Some(one.path()), "web-1"), first);
        assert_ne!(name(Some(two.path()), "web-1"), first);
        let below = two.path().join("not/there/yet");
        assert_eq!(name(Some(&below), "web-1"), name(Some(&below), "web-1"));
        for junk in ["", "1234567", "123456789", "ghijklmn", "\u{0}"] {
            fs::write(one.path().join(FILE), junk).unwrap();
            let mended = name(Some(one.path()), "web-1");
            assert!(is_sendable(&mended), "{mended}");
            assert_eq!(name(Some(one.path()), "web-1"), mended);
        }
    }

    #[test]
    fn every_host_has_a_name_that_can_be_sent() {
        for host in ["", "hôst\n", &"x".repeat(300), "(none)"] {
            let name = name(None, host);
            assert!(is_sendable(&name), "{name:?}");
        }
        // A directory cannot be created below a file.
        let nowhere = name(Some(Path::new("/dev/null/below")), "web-1");
        assert!(is_sendable(&nowhere));
        assert_eq!((name(None, "web-1"), name(None, "web-1")), (nowhere.clone(), nowhere), "over reloads");
        assert!(!is_sendable("") && !is_sendable("a b") && !is_sendable(&"x".repeat(97)));
    }
}
