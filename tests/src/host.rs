//! A host of a test: a network namespace with addresses, entered by threads.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::outcome::{Doing, Failure, Outcome};
use crate::reach::{self, Echo};
use crate::tools;

/// A host with its own network stack. Cheap to clone; the namespace exists as long as any clone, or any process or
/// thread inside it.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    netns: File,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Host {
    /// The host this program itself runs on.
    pub(crate) fn here(name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Self> {
        let netns = File::open("/proc/self/ns/net").doing("opening our network namespace")?;
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), netns, v4, v6 }) })
    }

    /// The network stack of a running process.
    pub(crate) fn of_process(name: &str, process: u32, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Self> {
        let netns = File::open(format!("/proc/{process}/ns/net")).doing("opening a network namespace")?;
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), netns, v4, v6 }) })
    }

    /// A new, empty network stack.
    pub(crate) fn new(name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Self> {
        // A short-lived process creates the namespace; the open file then keeps it.
        let mut maker = tools::command("unshare")?
            .args(["--net", "sh", "-c", "echo made; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing("starting unshare --net")?;
        let mut line = String::new();
        BufReader::new(maker.stdout.take().doing("its output is piped")?).read_line(&mut line)?;
        let netns =
            File::open(format!("/proc/{}/ns/net", maker.id())).doing("opening a new network namespace")?;
        drop(maker.stdin.take());
        let status = maker.wait()?;
        if line.trim() != "made" {
            return Err(Failure::new(format!("unshare --net made no namespace ({status})")));
        }
        Ok(Self { inner: Arc::new(Inner { name: name.to_owned(), netns, v4, v6 }) })
    }

    /// Its name in logs and messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its first IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.inner.v4.into()
    }

    /// Its first IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.inner.v6.into()
    }

    /// The path of its network namespace, for other programs of this world.
    pub fn network_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.inner.netns.as_raw_fd())
    }

    /// Runs `job` on a thread inside this host: sockets it opens and processes it starts belong to the host.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.inner.netns.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("we own every namespace of this world");
            job()
        };
        let ran = std::thread::scope(|scope| scope.spawn(inside).join());
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a system tool here to its end and returns what it printed, for instance `["nft", "list", "tables"]`.
    ///
    /// # Errors
    /// When it cannot start or fails; quotes its error output.
    pub fn tool<const N: usize>(&self, words: [&str; N]) -> Outcome<String> {
        let mut command = tools::command(words[0])?;
        command.args(&words[1..]);
        self.run(|| tools::output(&mut command))
    }

    /// Runs a system tool here with `input` on its standard input.
    ///
    /// # Errors
    /// When it cannot start or fails; quotes its error output.
    pub fn feed<const N: usize>(&self, words: [&str; N], input: &str) -> Outcome<String> {
        let mut command = tools::command(words[0])?;
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start(&mut command)?;
        let mut pipe = child.stdin.take().doing("its input is piped")?;
        let text = input.to_owned();
        let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
        let ran = child.wait_with_output()?;
        let wrote = writer.join().expect("writing does not panic");
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(Failure::new(format!(
                "{words:?} on {} ended with {}: {}",
                self.name(),
                ran.status,
                said.trim()
            )));
        }
        wrote.doing(format_args!("writing to {words:?}"))?;
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Starts a process here.
    pub(crate) fn start(&self, command: &mut Command) -> Outcome<std::process::Child> {
        self.run(|| command.spawn()).doing(format_args!(
            "starting {} on {}",
            tools::spelled(command),
            self.name()
        ))
    }

    /// A loopback port that is free on this host.
    ///
    /// # Errors
    /// When none is left.
    pub fn free_port(&self) -> Outcome<u16> {
        // The kernel may hand a port out again before its first user listens on it.
        static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
        loop {
            let listener = self.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            let port = listener.local_addr()?.port();
            if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
                return Ok(port);
            }
        }
    }

    /// Gives the host another address on its link, prefix length 32 or 128 unless given, for instance
    /// `198.51.100.78` or `203.0.113.0/28`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add_address(&self, address: &str) -> Outcome {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.feed(["ip", "-batch", "-"], &format!("address add {address} dev eth0{nodad}\n")).map(drop)
    }

    /// Echoes on TCP and UDP `port`, both families, until the guard is dropped.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn echoes_on(&self, port: u16) -> Outcome<Echo> {
        self.run(|| Echo::start(port)).doing(format_args!("listening on {} port {port}", self.name()))
    }

    /// Whether a new TCP connection from here to `to` (IPv4) opens and carries a byte there and back, within
    /// 400 ms. The other side must [`echo`](Self::echoes_on).
    pub fn reaches(&self, to: &Self, port: u16) -> bool {
        self.reaches_at(SocketAddr::new(to.v4(), port))
    }

    /// As [`reaches`](Self::reaches), over IPv6.
    pub fn reaches_v6(&self, to: &Self, port: u16) -> bool {
        self.reaches_at(SocketAddr::new(to.v6(), port))
    }

    /// As [`reaches`](Self::reaches), at any address.
    pub fn reaches_at(&self, to: SocketAddr) -> bool {
        self.connects(None, to, Duration::from_millis(400)).is_ok()
    }

    /// As [`reaches`](Self::reaches), from one particular address of this host.
    pub fn reaches_from(&self, from: &str, to: SocketAddr) -> bool {
        let from = from.parse().expect("the story gives an address");
        self.connects(Some(from), to, Duration::from_millis(400)).is_ok()
    }

    /// Opens a connection, sends a byte and waits for it to come back; returns how long that took.
    ///
    /// # Errors
    /// How it failed: refused and unreachable differ from timed out, so that a story distinguishes REJECT from DROP.
    pub fn connects(
        &self,
        from: Option<IpAddr>,
        to: SocketAddr,
        deadline: Duration,
    ) -> std::io::Result<Duration> {
        self.run(|| reach::round_trip(from, to, deadline))
    }
}
