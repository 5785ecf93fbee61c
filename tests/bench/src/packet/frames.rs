//! Sends frames through the receive path of hosts and times them; the sending itself is `frames.c`.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Output;

use palisade_e2e::{Doing, Failure, Host, Outcome, World, tools};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use super::lists::SOURCES;
use crate::report::median;

/// Frames in a run: 16 segments, one frame from each source.
const COUNT: usize = SOURCES;
/// Runs of each receiver at most. A run takes the kernel a tenth of a second beside the packets, on a busy machine.
const RUNS: usize = 4;
/// Where all packets go; every receiver has these addresses.
const TO: [&str; 2] = ["192.0.2.99", "2001:db8:99::99"];
const PORT: u16 = 9999;
/// The exit status of `frames.c` when the kernel or this user may not do it.
const UNABLE: i32 = 77;
/// Datagrams that a socket with the smallest buffer may keep: received, and not yet counted.
const QUEUED: u64 = 16;

/// Nanoseconds a packet, of many segments: the least disturbed one, and the middle one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) min: f64,
    pub(crate) median: f64,
}

impl Cost {
    /// What this costs beyond `bare`.
    pub(crate) fn over(self, bare: Self) -> Self {
        Self { min: self.min - bare.min, median: self.median - bare.median }
    }
}

/// What hosts paid for the same packets.
pub(crate) struct Sent {
    pub(crate) costs: Vec<Cost>,
    /// Frames each receiver got.
    pub(crate) frames: u64,
    /// Datagrams that reached a socket, by host.
    pub(crate) delivered: Vec<u64>,
}

impl Sent {
    /// Fails unless all, or none, of the packets reached the socket of this host.
    pub(crate) fn check(&self, host: usize, what: &str, delivered: bool) -> Outcome {
        let (reached, sent) = (self.delivered[host], self.frames);
        let right = if delivered { reached + QUEUED >= sent && reached <= sent } else { reached == 0 };
        if right {
            return Ok(());
        }
        Err(Failure::new(format!("{what}: {reached} of {sent} packets reached the socket")))
    }
}

/// A host that takes packets from any source.
pub(crate) struct Receiver {
    pub(crate) host: Host,
    // They only keep the ports open: nothing reads, so all costs but the first datagrams' are the same.
    _sockets: [UdpSocket; 2],
}

impl Receiver {
    pub(crate) fn new(world: &World, name: &str, number: u8) -> Outcome<Self> {
        let v4 = [192, 0, number, 9].into();
        let host = world.host(name, v4, format!("2001:db8:{number:x}::9").parse()?)?;
        let open = |address: &str| {
            let socket = UdpSocket::bind((address, PORT))?;
            sockopt::set_socket_recv_buffer_size(&socket, 1)?;
            Outcome::Ok(socket)
        };
        TO.iter().try_for_each(|address| host.add_address(address))?;
        let sockets = host.run(|| {
            for interface in ["all", "eth0"] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"), "0")?;
            }
            Outcome::Ok([open(TO[0])?, open(TO[1])?])
        })?;
        Ok(Self { host, _sockets: sockets })
    }

    /// Datagrams that have reached a socket, read or not.
    fn delivered(&self) -> Outcome<u64> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        let (v4, v6) = self.host.run(|| Ok::<_, std::io::Error>((read("snmp")?, read("snmp6")?)))?;
        // Names on one line, figures on the next.
        let mut lines = v4.lines().filter(|line| line.starts_with("Udp:")).map(str::split_whitespace);
        let (names, figures) = (lines.next().doing("no Udp line")?, lines.next().doing("no Udp line")?);
        let v4 = names.zip(figures);
        let v6 = v6.lines().filter_map(|line| {
            let (name, figure) = line.split_once(char::is_whitespace)?;
            Some((name.strip_prefix("Udp6")?, figure.trim()))
        });
        let counted = v4.chain(v6).filter(|(name, _)| ["InDatagrams", "RcvbufErrors"].contains(name));
        Ok(counted.filter_map(|(_, figure)| figure.parse::<u64>().ok()).sum())
    }
}

/// The built sender.
pub(crate) struct Sender {
    program: PathBuf,
    sources: PathBuf,
}

impl Sender {
    /// Compiles the sender into the world's folder.
    pub(crate) fn build(world: &World) -> Outcome<Self> {
        let (source, program) = (world.fresh_path("frames.c"), world.fresh_path("frames"));
        std::fs::write(&source, include_str!("frames.c"))?;
        let mut compiler = tools::command("cc")?;
        compiler.args(["-O2", "-x", "c", "-o"]).arg(&program).arg(&source);
        tools::output(&mut compiler).doing("compiling the sender of frames (needs linux/bpf.h)")?;
        Ok(Self { program, sources: world.fresh_path("sources") })
    }

    /// Why frames cannot be sent here, if they cannot.
    pub(crate) fn unable(&self, to: &Receiver) -> Outcome<Option<String>> {
        let sources = vec![IpAddr::from([198, 18, 0, 1]); 2];
        let ran = self.run(false, &sources, &[to])?;
        if ran.status.code() == Some(UNABLE) {
            return Ok(Some(String::from_utf8_lossy(&ran.stderr).trim().to_owned()));
        }
        succeeded(&ran).map(|()| None)
    }

    /// Sends packets from these sources to each receiver in turn.
    pub(crate) fn send(&self, v6: bool, sources: &[IpAddr], to: &[&Receiver]) -> Outcome<Sent> {
        let before = to.iter().map(|receiver| receiver.delivered()).collect::<Outcome<Vec<_>>>()?;
        let ran = self.run(v6, sources, to)?;
        succeeded(&ran)?;
        let (mut segments, mut frames) = (vec![Vec::new(); to.len()], 0);
        for line in String::from_utf8_lossy(&ran.stdout).lines() {
            match line.split_once(' ').doing("a line has two words")? {
                ("sent", count) => frames = count.parse()?,
                (host, nanoseconds) => segments[host.parse::<usize>()?].push(nanoseconds.parse::<f64>()?),
            }
        }
        let costs = segments.into_iter().map(|segments| Cost {
            min: segments.iter().copied().fold(f64::INFINITY, f64::min),
            median: median(segments),
        });
        let costs = costs.collect();
        let after = to.iter().map(|receiver| receiver.delivered()).collect::<Outcome<Vec<_>>>()?;
        let delivered = after.iter().zip(before).map(|(after, before)| after - before).collect();
        Ok(Sent { costs, frames, delivered })
    }

    fn run(&self, v6: bool, sources: &[IpAddr], to: &[&Receiver]) -> Outcome<Output> {
        let mut bytes = Vec::with_capacity(sources.len() * 16);
        for source in sources {
            match source {
                IpAddr::V4(v4) => bytes.extend(v4.octets().into_iter().chain([0; 12])),
                IpAddr::V6(v6) => bytes.extend(v6.octets()),
            }
        }
        std::fs::write(&self.sources, bytes)?;
        let mut command = tools::command(&self.program)?;
        command.arg(if v6 { "6" } else { "4" }).arg(&self.sources);
        command.args([&COUNT.to_string(), &RUNS.to_string(), "eth0", TO[usize::from(v6)]]);
        command.args(to.iter().map(|receiver| receiver.host.network_path()));
        command.output().doing("starting the sender of frames")
    }
}

fn succeeded(ran: &Output) -> Outcome {
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    Err(Failure::new(format!("the sender of frames ended with {}: {}", ran.status, said.trim())))
}
