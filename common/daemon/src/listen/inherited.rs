//! Listening sockets passed by the service manager (`LISTEN_FDS`, systemd's socket activation).

use std::{
    env, io,
    net::TcpListener as StdTcpListener,
    os::unix::net::UnixListener as StdUnixListener,
    sync::{Mutex, OnceLock, PoisonError},
};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::{bind::ListenError, options::ListenSocket};

/// What systemd calls a socket whose unit sets no `FileDescriptorName=` and which has no unit name either.
const UNNAMED: &str = "unknown";

/// A socket of the service manager. Kept for the life of the process, so that a listener that is removed and added again
/// by a reload finds it.
struct Inherited {
    name: String,
    socket: Socket,
}

enum Socket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
    /// Anything else, and why it cannot be used.
    Unusable(io::Error),
}

fn all() -> &'static Mutex<Vec<Inherited>> {
    static ALL: OnceLock<Mutex<Vec<Inherited>>> = OnceLock::new();
    ALL.get_or_init(|| {
        // Before `ListenFd` removes the variables that child processes must not see.
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut sockets = ListenFd::from_env();
        let inherited = (0..sockets.len()).map(|position| Inherited {
            name: names.next().filter(|name| !name.is_empty()).unwrap_or_else(|| UNNAMED.to_owned()),
            socket: take(&mut sockets, position),
        });
        Mutex::new(inherited.collect())
    })
}

fn take(sockets: &mut ListenFd, position: usize) -> Socket {
    let none = || Socket::Unusable(io::ErrorKind::NotFound.into());
    if let Ok(socket) = sockets.take_tcp_listener(position) {
        return socket.map_or_else(none, Socket::Tcp);
    }
    match sockets.take_unix_listener(position) {
        Ok(socket) => socket.map_or_else(none, Socket::Unix),
        Err(cause) => Socket::Unusable(cause),
    }
}

/// The listening sockets that the service manager has passed under this name (`FileDescriptorName=`), at least one. May
/// be called again for the same sockets.
///
/// The first call reads and removes environment variables: it belongs at the start, before other threads read them.
///
/// # Errors
///
/// When there is none of this name, or one that is neither a TCP nor a unix stream socket.
pub fn inherited(name: &str) -> Result<Vec<ListenSocket>, ListenError> {
    let all = all().lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |what: String| ListenError::Inherited { name: name.to_owned(), what };
    let named = all.iter().filter(|inherited| inherited.name == name);
    let sockets: Vec<_> = named
        .map(|inherited| reopen(&inherited.socket))
        .collect::<io::Result<_>>()
        .map_err(|cause| failed(format!("{cause}; use ListenStream= in the socket unit, and Accept=no")))?;
    if sockets.is_empty() {
        let names: Vec<_> = all.iter().map(|inherited| inherited.name.as_str()).collect();
        let there = if names.is_empty() {
            "it passed none".to_owned()
        } else {
            format!("it passed {}", names.join(", "))
        };
        return Err(failed(format!(
            "the service manager passed no such socket ({there}); set FileDescriptorName={name} in the socket unit"
        )));
    }
    Ok(sockets)
}

/// Another descriptor of the same socket.
fn reopen(socket: &Socket) -> io::Result<ListenSocket> {
    match socket {
        Socket::Tcp(socket) => {
            let socket = socket.try_clone()?;
            socket.set_nonblocking(true)?;
            // Also refuses a datagram socket.
            Ok(ListenSocket::Tcp(TcpListener::from_std(socket)?))
        }
        Socket::Unix(socket) => {
            let socket = socket.try_clone()?;
            socket.set_nonblocking(true)?;
            Ok(ListenSocket::Unix(UnixListener::from_std(socket)?))
        }
        Socket::Unusable(cause) => Err(io::Error::new(cause.kind(), cause.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_the_error_says_so() {
        let error = inherited("https").unwrap_err().to_string();
        assert!(error.contains("socket https: ") && error.contains("it passed none"), "{error}");
    }
}
