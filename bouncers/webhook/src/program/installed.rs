//! Checks whether a program can be started, without starting it.

use std::io;
use std::path::PathBuf;

use rustix::fs::{Access, access};

use crate::config::ProgramConfig;

/// Why a program cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum NotInstalled {
    /// It is missing, or a directory on its path is, or may not be searched.
    #[error("the program {0} cannot be found: {1}; install it, or correct its path")]
    Missing(PathBuf, #[source] io::Error),
    /// It is a directory, for instance.
    #[error("{0} is not a program but a directory or device; correct its path")]
    NoFile(PathBuf),
    /// Its mode forbids it.
    #[error("the program {0} is not executable by this user: {1}; chmod +x makes it so")]
    NotExecutable(PathBuf, #[source] io::Error),
}

/// Whether this user may execute the program.
///
/// # Errors
/// Why not.
pub fn check(config: &ProgramConfig) -> Result<(), NotInstalled> {
    let path = || config.path.clone();
    let metadata = config.path.metadata().map_err(|error| NotInstalled::Missing(path(), error))?;
    if !metadata.is_file() {
        return Err(NotInstalled::NoFile(path()));
    }
    access(&config.path, Access::EXEC_OK).map_err(|error| NotInstalled::NotExecutable(path(), error.into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::ProgramMode;
    use crate::program::test_support::{config, script};

    fn found(path: &Path) -> Result<(), String> {
        let mode = ProgramMode::Arguments { timeout: Duration::from_secs(1) };
        check(&config(path.into(), mode)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_prevents_the_start_of_a_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), "exit 0");
        assert_eq!(found(&path), Ok(()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = found(&path).unwrap_err();
        assert!(error.contains("is not executable by this user") && error.contains("chmod +x"), "{error}");
        assert!(found(folder.path()).unwrap_err().contains("is not a program but a directory"));
        let error = found(&folder.path().join("missing")).unwrap_err();
        assert!(error.contains("cannot be found: No such file"), "{error}");
    }
}
