//! The links by which the file of a stock service becomes that of ours.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The file of the unit and its `.local`.
#[derive(Debug)]
pub(super) struct ConfigLinks {
    config: PathBuf,
}

impl ConfigLinks {
    pub(super) fn new(config: &Path) -> Self {
        Self { config: config.to_owned() }
    }

    /// What the file is a link to.
    pub(super) fn target(&self) -> Option<PathBuf> {
        fs::read_link(&self.config).ok()
    }

    /// Checks that the file of the unit holds no configuration of the operator's own: only that of the package, with the
    /// key and the LAPI.
    ///
    /// # Errors
    /// It does.
    pub(super) fn check_replaceable(&self, packaged: &Path) -> anyhow::Result<()> {
        let is_link = fs::symlink_metadata(&self.config).map_or(true, |metadata| metadata.is_symlink());
        let lines = |path: &Path| -> io::Result<Vec<String>> {
            let text = fs::read_to_string(path)?;
            let of_lapi = |line: &&str| line.starts_with("api_key:") || line.starts_with("api_url:");
            Ok(text.lines().filter(|line| !of_lapi(line)).map(str::to_owned).collect())
        };
        let is_packaged =
            || lines(&self.config).ok() == lines(packaged).ok() && !local_of(&self.config).exists();
        ensure!(
            is_link || is_packaged(),
            "{} has been edited, and one service reads one file; add what the stock service does as an endpoint there (see \
             docs/webhook.md), or move the file away",
            self.config.display()
        );
        Ok(())
    }

    /// Makes the links, and keeps the files that were there.
    ///
    /// # Errors
    /// A file cannot be renamed, or a link not made.
    pub(super) fn make(&self, stock: &Path) -> anyhow::Result<()> {
        for (ours, theirs) in self.pairs(stock) {
            if fs::read_link(&ours).is_ok_and(|target| target == theirs) {
                continue;
            }
            if fs::symlink_metadata(&ours).is_ok() {
                rename(&ours, &before_of(&ours))?;
            }
            // A `.local` that is made later is read as well.
            symlink(&theirs, &ours).with_context(|| format!("cannot make the link {}", ours.display()))?;
        }
        Ok(())
    }

    /// Removes the links, and puts the files back that were there.
    ///
    /// # Errors
    /// A link cannot be removed, or a file not be renamed.
    pub(super) fn remove(&self, stock: &Path) -> anyhow::Result<()> {
        for (ours, theirs) in self.pairs(stock) {
            if fs::read_link(&ours).is_ok_and(|target| target == theirs) {
                fs::remove_file(&ours)
                    .with_context(|| format!("cannot remove the link {}", ours.display()))?;
            }
            let before = before_of(&ours);
            if before.exists() && !ours.exists() {
                rename(&before, &ours)?;
            }
        }
        Ok(())
    }

    fn pairs(&self, stock: &Path) -> [(PathBuf, PathBuf); 2] {
        [(self.config.clone(), stock.to_owned()), (local_of(&self.config), local_of(stock))]
    }
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

fn local_of(path: &Path) -> PathBuf {
    with_ending(path, ".local")
}

fn before_of(path: &Path) -> PathBuf {
    with_ending(path, ".before-adopt")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        fs::write(path("ours"), "api_key: secret\nendpoints: []\n").unwrap();
        fs::write(path("packaged"), "api_key: ${API_KEY}\nendpoints: []\n").unwrap();
        fs::write(path("stock"), "bin_path: /bin/true\n").unwrap();
        let links = ConfigLinks::new(&path("ours"));
        links.check_replaceable(&path("packaged")).unwrap();
        // Twice: a run that was killed is repeated.
        for _ in 0..2 {
            links.make(&path("stock")).unwrap();
            assert_eq!(links.target(), Some(path("stock")));
            links.check_replaceable(&path("packaged")).unwrap();
        }
        fs::write(path("stock.local"), "api_key: k\n").unwrap();
        assert_eq!(
            (read("ours"), read("ours.local")),
            ("bin_path: /bin/true\n".into(), "api_key: k\n".into())
        );
        for _ in 0..2 {
            links.remove(&path("stock")).unwrap();
            assert_eq!(read("ours"), "api_key: secret\nendpoints: []\n");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        assert_eq!(read("stock.local"), "api_key: k\n");
    }

    #[test]
    fn a_file_of_the_operators_own_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, packaged) = (folder.path().join("ours"), folder.path().join("packaged"));
        fs::write(&packaged, "a: 1\n").unwrap();
        let links = ConfigLinks::new(&ours);
        links.check_replaceable(&packaged).unwrap();
        fs::write(&ours, "a: 2\n").unwrap();
        let refused = links.check_replaceable(&packaged).unwrap_err().to_string();
        assert!(refused.contains("has been edited"), "{refused}");
    }
}
