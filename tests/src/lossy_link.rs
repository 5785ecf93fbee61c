//! A link that loses, delays and breaks, as with `tc netem`, also on kernels that lack it.
//!
//! ```text
//!   host ─ eth0 ═╗ VXLAN                     VXLAN ╔═ to-NAME ─ router
//!                ╚═ datagrams ─► relay ─► datagrams ╝
//! ```
//! The host's packets travel to the router inside datagrams, and a relay between the two forwards each one, delays it,
//! or drops it. TCP's reaction is the kernel's own: it retransmits, backs off and gives up as on a real network.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::veth::{address_ends, lay};
use crate::world::World;

/// VXLAN's own port.
const PORT: u16 = 4789;
/// Interval at which a thread checks whether the link still exists.
const LOOK: Duration = Duration::from_millis(100);

/// Conditions of a link, in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LinkConditions {
    /// No effect.
    Fair,
    /// Delays all packets and loses this share of them, 0 to 1.
    Bad {
        /// The delay of a packet.
        delay: Duration,
        /// The share of lost packets.
        loss: f64,
    },
    /// Loses all packets: the link is cut without any signal.
    Cut,
}

/// The link between a host and the router; without effect at first, and cut when dropped.
pub struct LossyLink {
    shared: Arc<Shared>,
}

struct Shared {
    conditions: Mutex<LinkConditions>,
    over: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
}

impl World {
    /// Creates a host that is joined to the router by a link with adjustable conditions: its networks, `/24` and `/64`,
    /// must be new here.
    ///
    /// # Errors
    /// When the kernel refuses something, or `ethtool` is missing.
    pub fn host_over_a_line(&self, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<(Host, LossyLink)> {
        let host = Host::new(name, v4, v6)?;
        let relay = Host::new(&format!("relay-{name}"), v4, v6)?;
        let number = self.number();
        lay(&host, "under", &relay, "near")?;
        lay(&self.router, &format!("under-{number}"), &relay, "far")?;
        // Four addresses of a network that is never routed.
        let at = |n: u8| Ipv4Addr::new(169, 254, u8::try_from(number % 256).unwrap_or(0), n);
        let tunnel = |device: &str, to: Ipv4Addr, over: &str| {
            // One packet at a time and whole: no segmentation or checksum offload.
            format!(
                "link add {device} type vxlan id {number} remote {to} dstport {PORT} dev {over}\n\
                 link set {device} gso_max_segs 1\n"
            )
        };
        relay.feed(
            ["ip", "-batch", "-"],
            &format!("address add {}/30 dev near\naddress add {}/30 dev far\n", at(1), at(5)),
        )?;
        let ends =
            [(&host, "eth0", "under", at(2), at(1)), (&self.router, &format!("to-{name}"), "", at(6), at(5))];
        for (end, device, over, address, to) in ends {
            let over = if over.is_empty() { format!("under-{number}") } else { over.to_owned() };
            end.feed(
                ["ip", "-batch", "-"],
                &format!("address add {address}/30 dev {over}\n{}", tunnel(device, to, &over)),
            )?;
            end.tool(["ethtool", "-K", device, "tx", "off"])?;
            end.feed(["ip", "-batch", "-"], &format!("link set {device} up\n"))?;
        }
        let line = LossyLink::lay(&relay, [(at(1), at(2)), (at(5), at(6))])?;
        address_ends(&self.router, &host)?;
        Ok((host, line))
    }
}

impl LossyLink {
    /// Starts the relay between two pairs of an own address and a peer's.
    fn lay(relay: &Host, ends: [(Ipv4Addr, Ipv4Addr); 2]) -> Outcome<Self> {
        let shared = Arc::new(Shared {
            conditions: Mutex::new(LinkConditions::Fair),
            over: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let open = |(own, _): (Ipv4Addr, Ipv4Addr)| -> Outcome<UdpSocket> {
            let socket = relay.run(|| UdpSocket::bind((own, PORT))).doing("opening an end of a line")?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok(socket)
        };
        let (near, far) = (open(ends[0])?, open(ends[1])?);
        let both = [(near.try_clone()?, far.try_clone()?, ends[1].1, 1), (far, near, ends[0].1, 2)];
        for (from, to, peer, seed) in both {
            let (sender, receiver) = channel();
            let there = SocketAddr::from((peer, PORT));
            let line = Arc::clone(&shared);
            std::thread::spawn(move || line.take_in(&from, &sender, seed));
            let line = Arc::clone(&shared);
            std::thread::spawn(move || line.hand_out(&receiver, &to, there));
        }
        Ok(Self { shared })
    }

    /// Sets the conditions from now on; packets in flight arrive under the old ones, unless the link is cut.
    pub fn set(&self, conditions: LinkConditions) {
        *self.shared.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// The number of forwarded and of lost packets, both directions together.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.passed.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn conditions(&self) -> LinkConditions {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives datagrams and decides on each.
    fn take_in(&self, from: &UdpSocket, queue: &Sender<(Instant, Vec<u8>)>, seed: u64) {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut buffer = vec![0; 1 << 16];
        while !self.over.load(Ordering::Relaxed) {
            // The peer's refusal (its tunnel is not up yet) is reported here; like silence it is ignored.
            let Ok(length) = from.recv(&mut buffer) else { continue };
            let due = match self.conditions() {
                LinkConditions::Fair => Some(Instant::now()),
                LinkConditions::Bad { delay, loss } => (dice.f64() >= loss).then(|| Instant::now() + delay),
                LinkConditions::Cut => None,
            };
            match due {
                Some(due) if queue.send((due, buffer[..length].to_vec())).is_ok() => {}
                _ => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// Sends each datagram when it is due; all have the same delay, so they keep their order.
    fn hand_out(&self, queue: &Receiver<(Instant, Vec<u8>)>, to: &UdpSocket, peer: SocketAddr) {
        while let Ok((due, datagram)) = queue.recv() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = self.conditions() != LinkConditions::Cut && to.send_to(&datagram, peer).is_ok();
            let counted = if sent { &self.passed } else { &self.lost };
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LossyLink {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}
