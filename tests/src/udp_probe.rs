//! A steady stream of datagrams, to detect gaps that single connections would miss.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::wait::eventually;

/// The interval between datagrams.
const PERIOD: Duration = Duration::from_micros(500);

/// Sends a datagram every half millisecond from one host to another and counts the received ones, until dropped.
pub struct UdpProbe {
    sent: Arc<AtomicU64>,
    arrived: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl UdpProbe {
    /// Starts over IPv4.
    ///
    /// # Errors
    /// When a host gives no socket.
    pub fn start(from: &Host, to: &Host) -> Outcome<Self> {
        Self::between(from, to, to.v4())
    }

    /// Starts over IPv6.
    ///
    /// # Errors
    /// When a host gives no socket.
    pub fn start_v6(from: &Host, to: &Host) -> Outcome<Self> {
        Self::between(from, to, to.v6())
    }

    fn between(from: &Host, to: &Host, at: IpAddr) -> Outcome<Self> {
        let bucket = to.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).doing("opening the bucket")?;
        bucket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let to = SocketAddr::new(at, bucket.local_addr()?.port());
        let any: SocketAddr = if at.is_ipv6() { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
        let tap = from.run(|| UdpSocket::bind(any)).doing("opening the tap")?;
        let probe = Self { sent: Arc::default(), arrived: Arc::default(), stop: Arc::default() };
        let (sent, stop) = (Arc::clone(&probe.sent), Arc::clone(&probe.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // A rejected datagram counts as lost.
                let _ = tap.send_to(b".", to);
                sent.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PERIOD);
            }
        });
        let (arrived, stop) = (Arc::clone(&probe.arrived), Arc::clone(&probe.stop));
        std::thread::spawn(move || count(&bucket, &arrived, &stop));
        let enough = probe.sent() + 20;
        eventually("the probe has begun", || probe.sent() >= enough)?;
        Ok(probe)
    }

    /// The number of sent datagrams.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The number of received datagrams.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// The number received while `doing` runs, and shortly after.
    ///
    /// # Errors
    /// When `doing` fails.
    pub fn during(&self, doing: impl FnOnce() -> Outcome) -> Outcome<u64> {
        let before = self.arrived();
        doing()?;
        let enough = self.sent() + 20;
        eventually("the probe goes on", || self.sent() >= enough)?;
        Ok(self.arrived() - before)
    }
}

fn count(bucket: &UdpSocket, arrived: &AtomicU64, stop: &AtomicBool) {
    let mut buffer = [0; 8];
    while !stop.load(Ordering::Relaxed) {
        match bucket.recv(&mut buffer) {
            Ok(_) => {
                arrived.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

impl Drop for UdpProbe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
