//! The unix socket: bound at start, removed at shutdown.

use std::{
    fs, io,
    os::fd::OwnedFd,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixListener;

use super::bind::ListenError;

/// The longest socket path the system accepts, in bytes.
const MAX_PATH_BYTES: usize = 107;

/// The socket's file. Removed on drop, unless another process has replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file that was created.
    made: (u64, u64),
    /// An open descriptor, so that the inode is not reused.
    _pinned: OwnedFd,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A new process may have bound the same path already, while this one is shutting down.
        if identity(&self.path).is_ok_and(|there| there == self.made) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// Binds `path`. A stale socket that no process listens on is removed first.
///
/// # Errors
///
/// When the path is too long, is something else than a socket, is in use, or cannot be made.
pub fn bind_socket(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let wrong = |what: String| ListenError::Socket { path: path.to_owned(), what };
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(wrong(format!(
            "the path has {length} bytes, {MAX_PATH_BYTES} are possible; choose a shorter one"
        )));
    }
    match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(wrong(cause.to_string())),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(wrong(
                "there is a file that is no socket; remove it or choose another path".to_owned(),
            ));
        }
        // A socket's file outlives its process, and `bind` refuses an existing one. Connecting is the only way to
        // find out whether it is in use.
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(wrong("another process is serving there; stop it first".to_owned())),
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)
                    .map_err(|cause| wrong(format!("cannot remove the old socket: {cause}")))?;
            }
            Err(cause) => return Err(wrong(format!("cannot tell whether it is in use: {cause}"))),
        },
    }
    let listener = UnixListener::bind(path).map_err(|cause| wrong(format!("cannot make it: {cause}")))?;
    let pinned = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let pinned = pinned.map_err(|cause| wrong(cause.to_string()))?;
    let made = identity(path).map_err(|cause| wrong(cause.to_string()))?;
    Ok((listener, SocketFile { path: path.to_owned(), made, _pinned: pinned }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stale_sockets_are_replaced_and_live_ones_respected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lapi.sock");
        let (listener, file) = bind_socket(&path).unwrap();
        let error = bind_socket(&path).unwrap_err().to_string();
        assert!(error.contains("another process is serving there"), "{error}");
        drop(listener);
        // As after SIGKILL.
        std::mem::forget(file);
        assert!(path.exists());
        let (_listener, file) = bind_socket(&path).unwrap();
        drop(file);
        assert!(!path.exists(), "removed at the end");

        fs::write(&path, "notes").unwrap();
        assert!(bind_socket(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let long = dir.path().join("x".repeat(120));
        assert!(bind_socket(&long).unwrap_err().to_string().contains("choose a shorter one"));
    }

    #[tokio::test]
    async fn the_socket_of_another_program_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lapi.sock");
        let (listener, file) = bind_socket(&path).unwrap();
        drop(listener);
        let (_theirs, theirs) = bind_socket(&path).unwrap();
        drop(file);
        assert!(path.exists());
        drop(theirs);
    }
}
