//! Files that a change-over makes: drop-ins of units.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A drop-in of a unit below `/etc/systemd/system`, made by `adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropIn {
    /// The unit, with its type.
    pub unit: &'static str,
    /// The name of the file.
    pub name: &'static str,
}

impl DropIn {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        Path::new("/etc/systemd/system").join(format!("{}.d", self.unit)).join(self.name)
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Writes it. Takes effect when the units are loaded again.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, text: &str) -> anyhow::Result<()> {
        let path = self.path();
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write_file(&path, text, 0o644).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes it, and its folder when that is empty.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        let path = self.path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        // Drop-ins of others stay.
        if let Some(folder) = path.parent() {
            let _not_empty = fs::remove_dir(folder);
        }
        Ok(())
    }
}

/// Writes a file so that it is either as before or complete.
///
/// # Errors
/// It cannot be written.
pub fn write_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // Left by a run that was killed.
    let _absent = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        write_file(&path, "one", 0o644).unwrap();
        fs::write(folder.path().join("a.conf.new"), "half of a").unwrap();
        write_file(&path, "two", 0o640).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_drop_in_is_beside_its_unit() {
        let drop_in = DropIn { unit: "a.service", name: "palisade.conf" };
        assert_eq!(drop_in.path(), Path::new("/etc/systemd/system/a.service.d/palisade.conf"));
    }
}
