//! Records the changes of a kernel's nftables with `nft monitor`, divided into periods by markers.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::host::Host;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// Monitors every change of a host's ruleset.
pub struct NftMonitor {
    host: Host,
    monitor: Process,
    marks: AtomicUsize,
}

impl NftMonitor {
    /// Starts monitoring, and returns once changes are received.
    ///
    /// # Errors
    /// When nft cannot be started or reports nothing.
    pub fn on(world: &World, host: &Host) -> Outcome<Self> {
        let mut command = tools::command("nft")?;
        command.arg("monitor");
        let monitor = world.start(host, "nft monitor", command)?;
        let changes = Self { host: host.clone(), monitor, marks: AtomicUsize::new(0) };
        // Changes before it monitors are not reported, so make changes until one is.
        eventually("nft monitor listens", || {
            let mark = changes.make_mark()?;
            Ok(changes.monitor.log().contains(&mark))
        })?;
        Ok(changes)
    }

    /// Every change during `doing`, one line each, as nft prints it.
    ///
    /// # Errors
    /// When `doing` fails, or nft does.
    pub fn during(&self, doing: impl FnOnce() -> Outcome) -> Outcome<Vec<String>> {
        let begin = self.last_marker()?;
        doing()?;
        let end = self.last_marker()?;
        let log = self.monitor.log();
        let (_, after) = log.split_once(&format!("delete table inet {begin}\n")).unwrap_or_default();
        let (between, _) = after.split_once(&format!("add table inet {end}\n")).unwrap_or_default();
        let lines = between.lines().filter(|line| !line.starts_with("# new generation") && !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    }

    /// All changes so far.
    ///
    /// # Errors
    /// When nft fails.
    pub(crate) fn so_far(&self) -> Outcome<String> {
        self.last_marker()?;
        Ok(self.recorded())
    }

    /// All output so far; the latest changes may still be missing.
    pub(crate) fn recorded(&self) -> String {
        self.monitor.log()
    }

    fn last_marker(&self) -> Outcome<String> {
        let mark = self.make_mark()?;
        let recorded = format!("delete table inet {mark}\n");
        eventually("nft monitor has recorded all until now", || self.monitor.log().contains(&recorded))?;
        Ok(mark)
    }

    /// A table that is created and deleted, as a marker in the log.
    fn make_mark(&self) -> Outcome<String> {
        let mark = format!("mark{}", self.marks.fetch_add(1, Ordering::Relaxed));
        self.host.nft(&format!("add table inet {mark}\n"))?;
        self.host.nft(&format!("delete table inet {mark}\n"))?;
        Ok(mark)
    }
}
