//! Datagrams from many addresses of one host, to see which of them get through.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use palisade_e2e::{Echo, Outcome, World};

/// What gets through at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Datagrams are answered.
    Open,
    /// Datagrams are not answered.
    Blocked,
    /// So near to a change that neither can be demanded.
    Either,
}

/// Addresses of the visitor beyond those it has, and a service on the router that answers them.
pub(crate) struct Probe {
    sockets: Vec<(IpAddr, UdpSocket)>,
    round: Cell<u32>,
    _service: Echo,
}

/// How long an answer may take on a loaded machine.
const ANSWER: Duration = Duration::from_secs(2);

/// How long answers are waited for that should not come.
const SILENCE: Duration = Duration::from_millis(30);

impl Probe {
    /// Gives the visitor these addresses and the router the ways to them.
    pub(crate) fn from_visitor(world: &World, addresses: &[IpAddr]) -> Outcome<Self> {
        let (mut here, mut there) = (String::new(), String::new());
        for address in addresses {
            let (length, nodad) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
            let via = if address.is_ipv4() { world.visitor.v4() } else { world.visitor.v6() };
            here += &format!("address add {address}/{length} dev eth0{nodad}\n");
            there += &format!("route replace {address}/{length} via {via}\n");
        }
        world.visitor.feed(["ip", "-batch", "-"], &here)?;
        world.router.feed(["ip", "-batch", "-"], &there)?;
        let service = world.router.echoes_on(7)?;
        let open = |address: IpAddr| {
            let to = if address.is_ipv4() { world.router.v4() } else { world.router.v6() };
            let socket = world.visitor.run(|| {
                let socket = UdpSocket::bind((address, 0))?;
                socket.connect(SocketAddr::new(to, 7))?;
                socket.set_nonblocking(true)?;
                Ok::<_, std::io::Error>(socket)
            })?;
            Ok::<_, palisade_e2e::Failure>((address, socket))
        };
        let sockets = addresses.iter().map(|address| open(*address)).collect::<Outcome<_>>()?;
        Ok(Self { sockets, round: Cell::new(0), _service: service })
    }

    /// The addresses for which it is otherwise than expected; none is as it should be.
    pub(crate) fn deviations(&self, expected: impl Fn(IpAddr) -> Expected) -> Vec<(IpAddr, Expected)> {
        let round = self.round.get() + 1;
        self.round.set(round);
        let mut wanted: Vec<Expected> = Vec::new();
        for (address, socket) in &self.sockets {
            wanted.push(expected(*address));
            // A datagram that is rejected shows as an error of a later call: as good as no answer.
            let _ = socket.send(&round.to_be_bytes());
        }
        let started = Instant::now();
        let mut answered = vec![false; self.sockets.len()];
        let mut resent = started;
        let mut complete_since = None;
        loop {
            for ((_, socket), answered) in self.sockets.iter().zip(&mut answered) {
                let mut buffer = [0; 8];
                while let Ok(length) = socket.recv(&mut buffer) {
                    *answered |= buffer[..length] == round.to_be_bytes();
                }
            }
            let complete =
                wanted.iter().zip(&answered).all(|(wanted, answered)| *wanted != Expected::Open || *answered);
            let now = Instant::now();
            if complete && now - *complete_since.get_or_insert(now) >= SILENCE || now - started >= ANSWER {
                break;
            }
            if !complete && now - resent > Duration::from_millis(500) {
                // Lost by a full queue perhaps; those that must be silent are not asked again.
                resent = now;
                for (((_, socket), wanted), answered) in self.sockets.iter().zip(&wanted).zip(&answered) {
                    if *wanted == Expected::Open && !answered {
                        let _ = socket.send(&round.to_be_bytes());
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let all = self.sockets.iter().zip(wanted).zip(answered);
        all.filter(|((_, wanted), answered)| match wanted {
            Expected::Open => !answered,
            Expected::Blocked => *answered,
            Expected::Either => false,
        })
        .map(|(((address, _), wanted), _)| (*address, wanted))
        .collect()
    }
}

/// The address before this one.
pub(crate) fn before(address: IpAddr) -> IpAddr {
    step(address, -1)
}

/// The address after this one.
pub(crate) fn after(address: IpAddr) -> IpAddr {
    step(address, 1)
}

fn step(address: IpAddr, by: i8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(v4.to_bits().wrapping_add_signed(i32::from(by))).into(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from(v6.to_bits().wrapping_add_signed(i128::from(by))).into(),
    }
}
