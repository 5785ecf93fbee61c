//! Finds the process that has a SQLite database open, without opening it as a database.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};

/// The bytes that SQLite locks: PENDING, RESERVED and the SHARED range. A connection in WAL mode holds a shared lock on
/// the last for as long as it is open (sqlite.org/lockingv3.html).
const LOCK_BYTES: (u64, u64) = (0x4000_0000, 512);

/// A process that has the database open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// `None` when it is in another process namespace.
    pid: Option<i32>,
    /// Its command line; empty when unknown.
    command: Vec<String>,
}

impl Holder {
    /// Whether it is a log processor without Local API, which opens the database and writes nothing.
    pub(super) fn only_processes_logs(&self) -> bool {
        self.command.iter().skip(1).any(|flag| matches!(flag.as_str(), "-no-api" | "--no-api"))
    }
}

/// `crowdsec (process 812)`.
impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.command.first().map(|path| path.rsplit('/').next().unwrap_or(path));
        f.write_str(program.unwrap_or("a program"))?;
        match self.pid {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

/// The processes that have the database open, this one excepted. Those of other users are found only by root, or
/// when they hold a lock.
pub(super) fn holders(database: &Path) -> Vec<Holder> {
    let mut pids: Vec<Option<i32>> = open_in(database).into_iter().map(Some).collect();
    if let Some(pid) = lock_holder(database)
        && !pids.contains(&pid)
        && pid != Some(own_pid())
    {
        pids.push(pid);
    }
    pids.into_iter().map(|pid| Holder { pid, command: pid.map(command).unwrap_or_default() }).collect()
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The process with a lock on the file: `Some(None)` when it is in another process namespace.
fn lock_holder(database: &Path) -> Option<Option<i32>> {
    let file = File::open(database).ok()?;
    let ask = Flock {
        start: LOCK_BYTES.0,
        length: LOCK_BYTES.1,
        pid: None,
        // Conflicts with every lock, and takes none.
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    let found = fcntl_getlk(&file, &ask).ok()??;
    Some(found.pid.map(Pid::as_raw_nonzero).map(std::num::NonZeroI32::get))
}

/// The processes with a descriptor of the file. Without WAL, SQLite holds no lock between transactions.
fn open_in(database: &Path) -> Vec<i32> {
    let Ok(wanted) = std::fs::metadata(database) else { return Vec::new() };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own_pid())
        .filter(|pid| {
            // Unreadable for processes of other users.
            let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            descriptors.map(|descriptor| descriptor.path()).any(|link| is_same(&link, &wanted))
        })
        .collect()
}

fn is_same(link: &PathBuf, wanted: &std::fs::Metadata) -> bool {
    // Only regular files are followed: `stat` of other descriptors is of no use and may block.
    std::fs::read_link(link).is_ok_and(|target| target.is_absolute())
        && std::fs::metadata(link)
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
}

fn command(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    line.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
