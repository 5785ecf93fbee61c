//! Makes the application of the throw-away network a page that a browser on this machine can open.
//!
//! ```text
//!  browser ─► 127.0.0.1:PORT (the run outside) ─► unix socket ─► visitor (inside) ─► proxy
//! ```
//!
//! Files are shared with the namespaces and sockets are not, so a unix socket leads inside.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use palisade_e2e::{Doing as _, Host, Outcome};

/// Tells the run inside the page's port.
pub(crate) const PORT: &str = "PALISADE_DEMO_PAGE_PORT";
const NAME: &str = "page.sock";
/// The page's port, if it is free.
const PREFERRED_PORT: u16 = 8088;

/// Listens on the loopback of this machine; returns the port.
pub(crate) fn open_outside(folder: &Path) -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PREFERRED_PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .doing("listening for a browser")?;
    let port = listener.local_addr()?.port();
    let socket = folder.join(NAME);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let socket = socket.clone();
            std::thread::spawn(move || UnixStream::connect(socket).and_then(|inside| join(client, inside)));
        }
    });
    Ok(port)
}

/// Leads the connections of the run outside from `visitor` to `proxy`; returns the page's URL.
pub(crate) fn open_inside(folder: &Path, visitor: &Host, proxy: SocketAddr) -> Outcome<String> {
    let port = std::env::var(PORT).doing("reading the page's port")?;
    let path = folder.join(NAME);
    let listener = UnixListener::bind(&path).doing(format_args!("binding {}", path.display()))?;
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
    Ok(format!("http://127.0.0.1:{port}/"))
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
