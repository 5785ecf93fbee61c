//! Makes the application of the throw-away network a page that a browser on this machine can open.
//!
//! ```text
//!  browser ─► 127.0.0.1:PORT (a process outside) ─► unix socket ─► visitor 198.51.100.77 ─► proxy
//! ```
//!
//! Files are shared with the namespaces and sockets are not, so a unix socket leads inside.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use palisade_e2e::{Doing as _, Host, Outcome, tools};

/// The argument of the process outside, followed by the socket's path and the port.
pub(crate) const RELAY: &str = "--relay";
/// Tells the run inside where the page is: `PORT PATH`.
const PAGE: &str = "PALISADE_DEMO_PAGE";
/// Where the page is, if the port is free.
const PREFERRED_PORT: u16 = 8088;

/// Starts the process outside; it ends with this one. To be called before the namespaces are entered.
pub(crate) fn open_outside() -> Outcome {
    let socket = std::env::temp_dir().join(format!("palisade-demo-{}.sock", std::process::id()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PREFERRED_PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    // The process binds it again; nothing else on this machine is likely to take it in between.
    drop(listener);
    let mut relay = tools::command("setpriv")?;
    relay
        .args(["--pdeathsig", "KILL"])
        .arg(std::env::current_exe()?)
        .arg(RELAY)
        .arg(&socket)
        .arg(port.to_string());
    relay.stdin(Stdio::null()).spawn().doing("starting the relay of the page")?;
    PAGE_PLACE.set((port, socket)).ok();
    Ok(())
}

static PAGE_PLACE: std::sync::OnceLock<(u16, PathBuf)> = std::sync::OnceLock::new();

/// The environment of the run inside.
pub(crate) fn environment() -> Option<(&'static str, String)> {
    let (port, socket) = PAGE_PLACE.get()?;
    Some((PAGE, format!("{port} {}", socket.display())))
}

/// Leads connections of the process outside from `visitor` to `proxy`; returns the page's URL.
pub(crate) fn open_inside(visitor: &Host, proxy: SocketAddr) -> Outcome<Option<String>> {
    let Ok(place) = std::env::var(PAGE) else { return Ok(None) };
    let (port, socket) = place.split_once(' ').doing("the page has a port and a socket")?;
    let listener = UnixListener::bind(socket).doing(format_args!("binding {socket}"))?;
    // Found by the process outside, which has opened it by the time the program ends.
    let visitor = visitor.clone();
    std::thread::spawn(move || {
        for outer in listener.incoming().flatten() {
            let visitor = visitor.clone();
            std::thread::spawn(move || {
                let inner = visitor.run(|| TcpStream::connect(proxy));
                inner.and_then(|inner| join(inner, outer))
            });
        }
    });
    Ok(Some(format!("http://127.0.0.1:{port}/")))
}

/// Removes the socket's file.
pub(crate) fn close() {
    if let Some((_, socket)) = std::env::var(PAGE).ok().as_deref().and_then(|place| place.split_once(' ')) {
        let _ = std::fs::remove_file(socket);
    }
}

/// The process outside.
pub(crate) fn relay(socket: &Path, port: u16) -> io::Result<()> {
    for client in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming().flatten() {
        let socket = socket.to_owned();
        std::thread::spawn(move || UnixStream::connect(socket).and_then(|inside| join(client, inside)));
    }
    Ok(())
}

fn join(tcp: TcpStream, unix: UnixStream) -> io::Result<()> {
    let (mut from_tcp, mut to_tcp) = (tcp.try_clone()?, tcp);
    let (mut from_unix, mut to_unix) = (unix.try_clone()?, unix);
    let forth = std::thread::spawn(move || {
        let done = io::copy(&mut from_tcp, &mut to_unix);
        to_unix.shutdown(Shutdown::Write).and(done)
    });
    let back = io::copy(&mut from_unix, &mut to_tcp);
    let _ = to_tcp.shutdown(Shutdown::Write);
    drop(forth.join());
    back.map(drop)
}
