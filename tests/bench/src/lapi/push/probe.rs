//! Packets that show when a ban is in force: sent in a fixed rhythm from the address that is going to be banned, to
//! every host at once. The drop is dated by the first packet that did not arrive, with none after it that did.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use palisade_e2e::{Doing as _, Failure, Host, Outcome, World};

use super::poster::{Posted, Poster};

/// Where the packets come from: all of 10.200.0.0/16 is the visitor's.
const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 0);
/// What the hosts listen on.
const PORT: u16 = 4000;
/// Packets that must have arrived everywhere before an address is banned.
const BEFORE: u32 = 15;
/// Packets in a row that must be missing everywhere for the ban to be in force.
const AFTER: u32 = 25;

/// Sends from one host and looks what arrives at others. All of it is one thread: the packets of a veth are handed over
/// as they are sent.
pub(super) struct Probe {
    from: Host,
    doors: Vec<(SocketAddr, UdpSocket)>,
    rhythm: Duration,
}

/// A ban to come.
pub(super) struct Planned {
    /// Which of the sources; each is used once.
    pub(super) source: u16,
    /// When it is posted, from the beginning of the watch.
    pub(super) after: Duration,
}

/// A ban that is in force.
pub(super) struct EnforcedBan {
    pub(super) posted: Posted,
    /// From the request to the drop, host by host.
    pub(super) dropped: Vec<Duration>,
    /// Packets from before the drop that did not arrive.
    pub(super) lost: u32,
}

/// All that one watch saw.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) seen: Vec<EnforcedBan>,
    /// Milliseconds between two packets of one source to one host: how exactly drops are dated.
    pub(super) gaps: Vec<f64>,
}

/// One source while it is watched.
struct Flight {
    address: Ipv4Addr,
    after: Duration,
    socket: UdpSocket,
    handed_over: bool,
    posted: Option<Posted>,
    sent: Vec<Instant>,
    /// How many arrived, and up to which, host by host.
    arrived: Vec<(u32, u32)>,
    over: bool,
}

/// The address of a source.
fn address(source: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(SOURCES.to_bits() | u32::from(source))
}

impl Probe {
    /// From the visitor to these hosts, one packet each in every `rhythm`.
    pub(super) fn new(world: &World, hosts: &[Host], rhythm: Duration) -> Outcome<Self> {
        let from = world.visitor.clone();
        from.feed(["ip", "-batch", "-"], &format!("route replace local {SOURCES}/16 dev lo\n"))?;
        let back = format!("route replace {SOURCES}/16 via {}\n", from.v4());
        world.router.feed(["ip", "-batch", "-"], &back)?;
        let mut doors = Vec::new();
        for host in hosts {
            let at = SocketAddr::new(host.v4(), PORT);
            let socket = host.run(|| UdpSocket::bind(at)).doing("opening a door to knock at")?;
            socket.set_nonblocking(true)?;
            doors.push((at, socket));
        }
        Ok(Self { from, doors, rhythm })
    }

    /// Posts the bans when they are due and watches until all are in force everywhere.
    pub(super) fn watch(&self, poster: &Poster, plan: &[Planned], timeout: Duration) -> Outcome<Watched> {
        let mut flights = plan.iter().map(|planned| self.take_off(planned)).collect::<Outcome<Vec<_>>>()?;
        let last = plan.iter().map(|planned| planned.after).max().unwrap_or_default();
        let mut gaps = Vec::new();
        let begin = Instant::now();
        let mut due = begin;
        while flights.iter().any(|flight| !flight.over) {
            pace(&mut due, self.rhythm);
            while let Some((number, posted)) = poster.done() {
                flights[number].posted = Some(posted?);
            }
            for (number, flight) in flights.iter_mut().enumerate() {
                if !flight.handed_over && begin.elapsed() >= flight.after && flight.arrives() {
                    flight.handed_over = true;
                    poster.ban(number, flight.address.to_string())?;
                }
                // Long before its turn there is nothing to see.
                if !flight.over && begin.elapsed() + self.rhythm * (4 * BEFORE) >= flight.after {
                    flight.send(number, &self.doors, &mut gaps)?;
                }
            }
            self.take_in(&mut flights);
            flights.iter_mut().for_each(Flight::look);
            if begin.elapsed() > last + timeout {
                return Err(Failure::new(summary(&flights)));
            }
        }
        Ok(Watched { seen: flights.into_iter().filter_map(Flight::seen).collect(), gaps })
    }

    /// The rhythm without a ban, with the same packets: milliseconds between two.
    pub(super) fn idle(&self, source: u16, span: Duration) -> Outcome<Vec<f64>> {
        let mut flights = vec![self.take_off(&Planned { source, after: Duration::MAX })?];
        let mut gaps = Vec::new();
        let begin = Instant::now();
        let mut due = begin;
        while begin.elapsed() < span {
            pace(&mut due, self.rhythm);
            flights[0].send(0, &self.doors, &mut gaps)?;
            self.take_in(&mut flights);
        }
        if flights[0].lost() > 0 || !flights[0].arrives() {
            return Err(Failure::new(format!("packets do not arrive: {}", summary(&flights))));
        }
        Ok(gaps)
    }

    fn take_off(&self, planned: &Planned) -> Outcome<Flight> {
        let address = address(planned.source);
        let socket = self.from.run(|| UdpSocket::bind((address, 0)))?;
        socket.set_nonblocking(true)?;
        Ok(Flight {
            address,
            after: planned.after,
            socket,
            handed_over: false,
            posted: None,
            sent: Vec::new(),
            arrived: vec![(0, 0); self.doors.len()],
            over: false,
        })
    }

    /// Notes what has arrived.
    fn take_in(&self, flights: &mut [Flight]) {
        let mut packet = [0u8; 64];
        for (host, (_, door)) in self.doors.iter().enumerate() {
            while let Ok((length, from)) = door.recv_from(&mut packet) {
                let Some((number, count)) = read(&packet[..length]) else { continue };
                // Late ones of an earlier watch bear a number that is in use again.
                if let Some(flight) = flights.get_mut(number).filter(|flight| from.ip() == flight.address) {
                    let (arrived, up_to) = &mut flight.arrived[host];
                    (*arrived, *up_to) = (*arrived + 1, (*up_to).max(count + 1));
                }
            }
        }
    }
}

impl Flight {
    fn send(&mut self, number: usize, doors: &[(SocketAddr, UdpSocket)], gaps: &mut Vec<f64>) -> Outcome {
        let now = Instant::now();
        if let Some(before) = self.sent.last() {
            gaps.push((now - *before).as_secs_f64() * 1e3);
        }
        let packet = written(number, self.count());
        for (to, _) in doors {
            self.socket.send_to(&packet, to).doing(format_args!("sending from {} to {to}", self.address))?;
        }
        self.sent.push(now);
        Ok(())
    }

    fn count(&self) -> u32 {
        self.sent.len() as u32
    }

    /// Whether its packets arrive everywhere, without loss.
    fn arrives(&self) -> bool {
        self.count() >= BEFORE && self.arrived.iter().all(|(arrived, _)| arrived + 2 >= self.count())
    }

    /// Whether they have ceased to everywhere.
    fn look(&mut self) {
        self.over =
            self.posted.is_some() && self.arrived.iter().all(|(_, up_to)| self.count() >= up_to + AFTER);
    }

    fn lost(&self) -> u32 {
        self.arrived.iter().map(|(arrived, up_to)| up_to - arrived).sum()
    }

    fn seen(self) -> Option<EnforcedBan> {
        let (posted, lost) = (self.posted?, self.lost());
        let first_missing = self.arrived.iter().filter_map(|(_, up_to)| self.sent.get(*up_to as usize));
        let dropped = first_missing.map(|sent| sent.saturating_duration_since(posted.at)).collect();
        Some(EnforcedBan { posted, dropped, lost })
    }
}

/// Waits until a tick is due. One that is late is not made up for: bursts would disturb what is measured.
fn pace(due: &mut Instant, rhythm: Duration) {
    let now = Instant::now();
    std::thread::sleep(due.saturating_duration_since(now));
    *due = (*due + rhythm).max(now);
}

fn written(number: usize, count: u32) -> [u8; 8] {
    let mut packet = [0; 8];
    packet[..4].copy_from_slice(&(number as u32).to_be_bytes());
    packet[4..].copy_from_slice(&count.to_be_bytes());
    packet
}

fn read(packet: &[u8]) -> Option<(usize, u32)> {
    let (number, count) = packet.split_first_chunk::<4>()?;
    let count: [u8; 4] = count.try_into().ok()?;
    Some((u32::from_be_bytes(*number) as usize, u32::from_be_bytes(count)))
}

/// The message for a timeout.
fn summary(flights: &[Flight]) -> String {
    let left: Vec<&Flight> = flights.iter().filter(|flight| !flight.over).collect();
    let one = left.first().map(|flight| {
        format!(
            "{}: posted {}, {} packets sent, arrived (how many, up to which) {:?}",
            flight.address,
            flight.posted.is_some(),
            flight.count(),
            flight.arrived
        )
    });
    format!("{} bans are not in force everywhere; {}", left.len(), one.unwrap_or_default())
}
