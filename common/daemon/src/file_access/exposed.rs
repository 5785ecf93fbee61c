//! Files with secrets that every user of the host can read or change.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

/// Permission bits of others.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// A warning when others may read or change `path`, which holds a secret: the file, its mode, and the command that mends
/// it. Symbolic links are followed. Nothing when the file is missing or empty.
pub fn exposed_secret(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok().filter(|file| file.is_file() && file.len() > 0)?;
    let mode = file.permissions().mode() & 0o7777;
    let exposure = match (mode & OTHERS_READ != 0, mode & OTHERS_WRITE != 0) {
        (false, false) => return None,
        (true, false) => "can be read",
        (true, true) => "can be read and changed",
        (false, true) => "can be changed",
    };
    // The group keeps its right to read: the unit's user may depend on it.
    let mended = if mode & 0o040 == 0 { "0600" } else { "0640" };
    let path = path.display();
    Some(format!(
        "{path} holds a secret and {exposure} by every user (mode {mode:04o}); run: chmod {mended} {path}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_its_mode_and_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("key"), folder.path().join("link"));
        fs::write(&path, "secret").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for (mode, words) in [
            (0o600, None),
            (0o640, None),
            (0o660, None),
            (0o644, Some(("can be read by", "(mode 0644)", "chmod 0640"))),
            (0o604, Some(("can be read by", "(mode 0604)", "chmod 0600"))),
            (0o666, Some(("can be read and changed by", "(mode 0666)", "chmod 0640"))),
            (0o602, Some(("can be changed by", "(mode 0602)", "chmod 0600"))),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            for shown in [&path, &link] {
                let warning = exposed_secret(shown);
                assert_eq!(warning.is_some(), words.is_some(), "{mode:o}: {warning:?}");
                let Some((exposure, shown_mode, command)) = words else { continue };
                let command = format!("run: {command} {}", shown.display());
                for part in [exposure, shown_mode, &command] {
                    assert!(warning.as_ref().is_some_and(|text| text.contains(part)), "{warning:?}: {part}");
                }
            }
        }
        fs::write(&path, "").unwrap();
        assert_eq!(exposed_secret(&path), None, "nothing in it");
        assert_eq!(exposed_secret(&folder.path().join("missing")), None);
        assert_eq!(exposed_secret(folder.path()), None, "a directory");
    }
}
