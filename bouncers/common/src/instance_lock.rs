//! Locks the state folder, so that two daemons cannot keep the same tables and undo each other's changes for ever.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tracing::warn;

/// Another process holds the lock.
#[derive(Debug, thiserror::Error)]
#[error(
    "another bouncer already runs with the state folder {}; stop it first, or give this one a `state_dir` \
     and table names of its own", folder.display()
)]
pub(crate) struct AlreadyRunning {
    folder: PathBuf,
}

/// The lock; the kernel releases it however the process ends.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _lock: Option<File>,
}

/// Locks the state folder. Without write access a warning is logged, and there is no lock.
///
/// # Errors
/// Another process holds it.
pub(crate) fn claim(folder: &Path) -> Result<InstanceLock, AlreadyRunning> {
    match try_claim(folder) {
        Ok(lock) => Ok(InstanceLock { _lock: Some(lock) }),
        Err(TryLockError::WouldBlock) => Err(AlreadyRunning { folder: folder.to_owned() }),
        // A read-only file system, for example. Enforcing matters more than the protection against a second daemon.
        Err(TryLockError::Error(cause)) => {
            warn!(
                "cannot claim the state folder {}: {cause}; a second bouncer would not be noticed",
                folder.display()
            );
            Ok(InstanceLock { _lock: None })
        }
    }
}

fn try_claim(folder: &Path) -> Result<File, TryLockError> {
    let open = || -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Opening a pipe could take for ever.
        if fs::metadata(folder.join("lock")).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::other("its file \"lock\" is no regular file"));
        }
        fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))
    };
    let lock = open().map_err(TryLockError::Error)?;
    // An advisory lock of the kernel and not a file with a process id: it ends with the process, also after a crash.
    lock.try_lock()?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_kept_out_until_the_first_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = claim(&state).unwrap();
        let refused = claim(&state).unwrap_err().to_string();
        assert!(refused.contains(&*state.to_string_lossy()), "{refused}");
        drop(first);
        claim(&state).unwrap();
    }

    #[test]
    fn an_unwritable_folder_does_not_prevent_the_start() {
        let _first = claim(Path::new("/proc/nowhere")).unwrap();
        claim(Path::new("/proc/nowhere")).unwrap();
    }
}
