//! The unix socket: bound at start, removed at shutdown.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, chmod, chownat, fchmod, fstat, open},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Gid, geteuid},
};
use tokio::net::UnixListener;

use super::{
    bind::{BACKLOG, ListenError},
    socket_access::{SocketAccess, usable_group},
};

/// The longest socket path the system accepts, in bytes.
const MAX_PATH_BYTES: usize = 107;

/// The socket's file. Removed on drop, unless another process has replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file that was created.
    made: (u64, u64),
    /// An open descriptor, so that the inode is not reused.
    pinned: OwnedFd,
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
pub fn bind_socket(path: &Path, access: &SocketAccess) -> Result<(UnixListener, SocketFile), ListenError> {
    let failed = failure(path);
    let group = check_path(path, access).map_err(&failed)?;
    if path.exists() {
        remove_stale(path).map_err(&failed)?;
    }
    let (listener, file) =
        create(path, access, group).map_err(|cause| failed(format!("cannot make it: {cause}")))?;
    let listener = UnixListener::from_std(listener).map_err(|cause| failed(cause.to_string()))?;
    Ok((listener, file))
}

/// Finds what [`bind_socket`] would refuse whether or not another process is serving there.
///
/// # Errors
///
/// As [`bind_socket`].
pub fn check_socket(path: &Path, access: &SocketAccess) -> Result<(), ListenError> {
    check_path(path, access).map(drop).map_err(failure(path))
}

fn failure(path: &Path) -> impl Fn(String) -> ListenError {
    move |what| ListenError::Socket { path: path.to_owned(), what }
}

/// Checks path and group; returns the group.
fn check_path(path: &Path, access: &SocketAccess) -> Result<Option<Gid>, String> {
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(format!(
            "the path has {length} bytes, {MAX_PATH_BYTES} are possible; choose a shorter one"
        ));
    }
    let group = access.group.as_deref().map(usable_group).transpose()?;
    match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause.to_string()),
        Ok(there) if !there.file_type().is_socket() => {
            return Err("there is a file that is no socket; remove it or choose another path".to_owned());
        }
        Ok(_) => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::metadata(folder) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => return Err(format!("{} is no folder", folder.display())),
        Err(cause) => return Err(format!("cannot make it in the folder {}: {cause}", folder.display())),
    }
    // With the rights of the process, as for everything else.
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|cause| format!("cannot make it in the folder {}: {cause}", folder.display()))?;
    Ok(group)
}

/// Removes a socket's file that outlived its process, which `bind` would refuse.
fn remove_stale(path: &Path) -> Result<(), String> {
    // Connecting is the only way to find out whether it is in use.
    match UnixStream::connect(path) {
        Ok(_) => Err("another process is serving there; stop it first".to_owned()),
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|cause| format!("cannot remove the old socket: {cause}"))
        }
        Err(cause) => Err(format!("cannot tell whether it is in use: {cause}")),
    }
}

fn create(
    path: &Path,
    access: &SocketAccess,
    group: Option<Gid>,
) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file gets the mode of the unbound socket, less the umask: only the owner can connect before its group is
    // set, and the process's umask, which all threads share, stays.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    let pinned = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let there = fstat(&pinned)?;
    if !FileType::from_raw_mode(there.st_mode).is_socket() || there.st_uid != geteuid().as_raw() {
        return Err(io::Error::other("another process has replaced it"));
    }
    let descriptor = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    // From here on the file is removed on an error.
    let file = SocketFile { path: path.to_owned(), made: (there.st_dev, there.st_ino), pinned };
    listen(&socket, i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    // Through the descriptor: in a folder that others can write to, the path may lead elsewhere by now.
    if let Some(group) = group {
        chownat(&file.pinned, "", None, Some(group), AtFlags::EMPTY_PATH)?;
    }
    chmod(descriptor, Mode::from_raw_mode(access.mode))?;
    Ok((socket.into(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stale_sockets_are_replaced_and_live_ones_respected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lapi.sock");
        let (listener, file) = bind_socket(&path, &SocketAccess::default()).unwrap();
        let error = bind_socket(&path, &SocketAccess::default()).unwrap_err().to_string();
        assert!(error.contains("another process is serving there"), "{error}");
        drop(listener);
        // As after SIGKILL.
        std::mem::forget(file);
        assert!(path.exists());
        let (_listener, file) = bind_socket(&path, &SocketAccess::default()).unwrap();
        drop(file);
        assert!(!path.exists(), "removed at the end");

        fs::write(&path, "notes").unwrap();
        assert!(bind_socket(&path, &SocketAccess::default()).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        let long = dir.path().join("x".repeat(120));
        assert!(
            bind_socket(&long, &SocketAccess::default())
                .unwrap_err()
                .to_string()
                .contains("choose a shorter one")
        );
    }

    #[tokio::test]
    async fn mode_and_group_do_not_depend_on_the_umask() {
        use std::os::unix::fs::MetadataExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lapi.sock");
        let own = rustix::process::getegid().as_raw();
        for mode in [0o660, 0o600, 0o666, 0o700] {
            let access = SocketAccess { mode, group: Some(own.to_string()) };
            let (_listener, file) = bind_socket(&path, &access).unwrap();
            let there = fs::metadata(&path).unwrap();
            assert_eq!((there.mode() & 0o7777, there.gid()), (mode, own));
            drop(file);
        }
        let (_listener, _file) = bind_socket(&path, &SocketAccess::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
    }

    #[tokio::test]
    async fn what_would_be_refused_is_found_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "notes").unwrap();
        let default = SocketAccess::default();
        let group = SocketAccess { group: Some("no-such-group".to_owned()), ..default.clone() };
        for (name, access, text) in [
            ("file", &default, "no socket"),
            ("missing/x.sock", &default, "No such file or directory"),
            ("file/x.sock", &default, "Not a directory"),
            (&*"x".repeat(120), &default, "choose a shorter one"),
            ("x.sock", &group, "there is no group no-such-group"),
        ] {
            let path = dir.path().join(name);
            let error = check_socket(&path, access).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            assert_eq!(bind_socket(&path, access).unwrap_err().to_string(), error);
        }
        let path = dir.path().join("x.sock");
        check_socket(&path, &default).unwrap();
        assert!(!path.exists(), "nothing is made");
        let (_listener, _file) = bind_socket(&path, &default).unwrap();
        check_socket(&path, &default).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "notes");
    }

    #[tokio::test]
    async fn the_socket_of_another_program_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lapi.sock");
        let (listener, file) = bind_socket(&path, &SocketAccess::default()).unwrap();
        drop(listener);
        let (_theirs, theirs) = bind_socket(&path, &SocketAccess::default()).unwrap();
        drop(file);
        assert!(path.exists());
        drop(theirs);
    }
}
