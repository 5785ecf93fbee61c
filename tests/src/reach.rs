//! Real packets: TCP round trips with a deadline, and the echo service that answers them.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Connects, sends one byte and reads it back. The connection is reset at the end, so that probing thousands of
/// times leaves no state behind.
pub(crate) fn round_trip(from: Option<IpAddr>, to: SocketAddr, deadline: Duration) -> io::Result<Duration> {
    let start = Instant::now();
    let mut stream = connect(from, to, deadline)?;
    let left = deadline.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.write_all(b"?")?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(start.elapsed())
}

/// Opens a connection for a test of established flows. Call it through [`Host::run`](crate::Host::run).
///
/// # Errors
/// When it does not open within `deadline`.
pub fn connect(from: Option<IpAddr>, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.connect_timeout(&to.into(), deadline)?;
    Ok(socket.into())
}

/// Whether an open flow still carries a byte in both directions.
pub fn still_answers(flow: &mut TcpStream, deadline: Duration) -> bool {
    let mut answer = [0];
    let asked = flow.set_read_timeout(Some(deadline)).and_then(|()| flow.write_all(b"?"));
    asked.and_then(|()| flow.read_exact(&mut answer)).is_ok()
}

/// A service that sends back what it receives, over TCP and UDP, until dropped.
pub struct Echo {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Echo {
    /// Starts it in the network namespace of the calling thread.
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        let tcp = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        tcp.set_only_v6(false)?;
        tcp.set_reuse_address(true)?;
        tcp.bind(&any.into())?;
        tcp.listen(128)?;
        let tcp: TcpListener = tcp.into();
        let port = tcp.local_addr()?.port();
        let udp = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        udp.set_only_v6(false)?;
        udp.bind(&SocketAddr::new(any.ip(), port).into())?;
        let udp: UdpSocket = udp.into();
        udp.set_read_timeout(Some(Duration::from_millis(50)))?;
        tcp.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        // Threads inherit the namespace of the thread that starts them.
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || answer_connections(&tcp, &stopped));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || answer_datagrams(&udp, &stopped));
        Ok(Self { port, stop })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer_connections(listener: &TcpListener, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => drop(std::thread::spawn(move || echo(stream))),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    if stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true)).is_err() {
        return;
    }
    // Ends with the connection: a read of nothing, or a reset.
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn answer_datagrams(socket: &UdpSocket, stopped: &AtomicBool) {
    let mut buffer = [0; 512];
    while !stopped.load(Ordering::Relaxed) {
        // A timeout is the chance to stop; an undeliverable reply is ignored.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_answers_until_it_is_dropped() {
        let echo = Echo::start(0).unwrap();
        let here = SocketAddr::new("127.0.0.1".parse().unwrap(), echo.port());
        round_trip(None, here, Duration::from_secs(5)).unwrap();
        let mut flow = connect(None, here, Duration::from_secs(5)).unwrap();
        assert!(still_answers(&mut flow, Duration::from_secs(5)));
        drop(echo);
        crate::eventually("the port is closed", || round_trip(None, here, Duration::from_secs(1)).is_err())
            .unwrap();
    }
}
