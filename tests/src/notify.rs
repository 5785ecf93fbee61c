//! The service manager's side of readiness: the socket named in `NOTIFY_SOCKET`.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::outcome::{Doing, Outcome};

/// Collects a service's notifications to its manager.
pub struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
    notifications: Vec<String>,
}

impl Notify {
    /// Listens at a new path, for `NOTIFY_SOCKET`.
    ///
    /// # Errors
    /// When the path is taken, or too long for a socket.
    pub fn bind(path: PathBuf) -> Outcome<Self> {
        let socket = UnixDatagram::bind(&path).doing(format_args!("binding {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path, notifications: Vec::new() })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every assignment received so far, such as `READY=1`, oldest first.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn notifications(&mut self) -> Outcome<&[String]> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    self.notifications.extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(&self.notifications),
                Err(error) => return Err(error).doing("reading the notify socket"),
            }
        }
    }
}
