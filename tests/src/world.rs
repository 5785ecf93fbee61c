//! The network of a test: a router, two visitors on links of their own, and the processes on them.
//!
//! ```text
//!  visitor 198.51.100.77 ──┐
//!          2001:db8:a::77  │  198.51.100.1  2001:db8:a::1
//!                          ├── router ── (more hosts on request)
//!  neighbour 203.0.113.9 ──┘  203.0.113.1   2001:db8:b::1
//!            2001:db8:b::9
//! ```
//! The router forwards, and is where the LAPI and the firewall run. All addresses are from the documentation
//! ranges; all of it is gone when the program ends.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::evidence::Evidence;
use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::process::Process;
use crate::tools;
use crate::veth::{forward, join};

/// The network of one test. Created by [`story`](crate::story) or, inside [`enter`](crate::enter), by hand.
pub struct World {
    /// Forwards between the others; runs the LAPI and the firewall.
    pub router: Host,
    /// The host that gets banned: `198.51.100.77`, `2001:db8:a::77`.
    pub visitor: Host,
    /// A host that is not banned: `203.0.113.9`, `2001:db8:b::9`.
    pub neighbour: Host,
    folder: PathBuf,
    evidence: Evidence,
    count: AtomicUsize,
}

impl World {
    /// Creates the hosts and their links, with a private folder. Only inside the namespaces.
    ///
    /// # Errors
    /// When a tool is missing or the kernel refuses something.
    pub fn raise() -> Outcome<Self> {
        // `/dev/shm` exists on every system; the tmpfs mounted over it is visible in this mount namespace only and ends
        // with it.
        let folder = PathBuf::from("/dev/shm");
        tools::output(tools::command("mount")?.args([
            "-t",
            "tmpfs",
            "-o",
            "mode=0700",
            "palisade",
            "/dev/shm",
        ]))
        .doing("mounting a private folder")?;
        Self::raise_in(folder)
    }

    /// As [`raise`](Self::raise), with a folder that exists.
    ///
    /// # Errors
    /// As [`raise`](Self::raise).
    pub fn raise_in(folder: PathBuf) -> Outcome<Self> {
        let router = Host::here("router", Ipv4Addr::new(198, 51, 100, 1), "2001:db8:a::1".parse()?)?;
        router.feed(["ip", "-batch", "-"], "link set lo up\n")?;
        forward(&router)?;
        let evidence = Evidence::new(&router);
        let visitor = join(&router, "visitor", Ipv4Addr::new(198, 51, 100, 77), "2001:db8:a::77".parse()?)?;
        let neighbour = join(&router, "neighbour", Ipv4Addr::new(203, 0, 113, 9), "2001:db8:b::9".parse()?)?;
        Ok(Self { router, visitor, neighbour, folder, evidence, count: AtomicUsize::new(0) })
    }

    /// A third host behind the router, `192.0.2.10` and `2001:db8:c::10`, for stories about forwarded packets.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn server(&self) -> Outcome<Host> {
        join(&self.router, "server", Ipv4Addr::new(192, 0, 2, 10), "2001:db8:c::10".parse()?)
    }

    /// One more host behind the router, on a link of its own: its networks, `/24` and `/64`, must be new here.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn host(&self, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Host> {
        join(&self.router, name, v4, v6)
    }

    /// This world's own folder, in memory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file or folder name that is unique in this world.
    pub fn fresh_path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}-{}", self.number()))
    }

    /// A number that is unique in this world.
    pub(crate) fn number(&self) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a process on `host`; its output becomes evidence.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, host: &Host, name: &str, command: std::process::Command) -> Outcome<Process> {
        let log = self.fresh_path(&format!("{name}.log"));
        self.evidence.keep(name, &log);
        Process::start(host, name, command, &log)
    }

    /// Ends the program, with evidence, if the test is not over by then.
    pub(crate) fn watch(&self, limit: Duration) {
        let evidence = self.evidence.clone();
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            evidence.give_up(limit);
        });
    }

    /// Prints the tail of every log, and the router's ruleset.
    pub(crate) fn show_evidence(&self) {
        self.evidence.show();
    }
}
