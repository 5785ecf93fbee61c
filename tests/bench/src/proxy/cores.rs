//! Keeps the proxy under test on one core and all else on another, and reads processor time.

use palisade_e2e::{Doing, Outcome};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// The proxy's, alone.
    proxy: usize,
    /// The load generator's, the origin's, the LAPI's and this program's.
    load: usize,
}

impl Cores {
    /// The first two cores that this process may use, `None` if there is only one. From now on this thread, and what it
    /// starts, is on the second.
    pub(crate) fn separate() -> Outcome<Option<Self>> {
        let allowed = sched_getaffinity(None).doing("reading the cores of this process")?;
        let mut free = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(proxy), Some(load)) = (free.next(), free.next()) else { return Ok(None) };
        let cores = Self { proxy, load };
        pin(cores.load)?;
        Ok(Some(cores))
    }

    /// Starts something on the proxy's core: children inherit the cores of the thread that starts them.
    pub(crate) fn on_proxy_core<T>(&self, start: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        pin(self.proxy)?;
        let started = start();
        pin(self.load)?;
        started
    }
}

fn pin(core: usize) -> Outcome {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).doing(format_args!("pinning to core {core}"))
}

/// Seconds of processor time of a process with all its threads, user and system.
pub(crate) fn processor_seconds(pid: u32) -> Outcome<f64> {
    times(&format!("/proc/{pid}/stat"), 11)
}

/// The same together with its children that have ended.
pub(crate) fn processor_seconds_with_children(pid: u32) -> Outcome<f64> {
    let path = format!("/proc/{pid}/stat");
    Ok(times(&path, 11)? + times(&path, 13)?)
}

/// The same of all ended children of this program.
pub(super) fn children_seconds() -> Outcome<f64> {
    times("/proc/self/stat", 13)
}

/// The sum of two neighbouring fields of a `stat` file; fields are counted behind the name, which may hold spaces.
fn times(path: &str, first: usize) -> Outcome<f64> {
    let text = std::fs::read_to_string(path).doing(format_args!("reading {path}"))?;
    let (_, fields) = text.rsplit_once(") ").doing("a stat file has a name")?;
    let ticks = fields.split(' ').skip(first).take(2);
    let sum = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>().doing("times are numbers")?;
    Ok(sum as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident megabytes of a process.
pub(super) fn resident_mb(pid: u32) -> Outcome<f64> {
    status_mb(pid, "VmRSS:")
}

/// A size in `/proc/PID/status`, such as `VmHWM:`, in megabytes.
pub(crate) fn status_mb(pid: u32, field: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).doing("no such field of the status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_this_program_grows_with_work() {
        let pid = std::process::id();
        let before = processor_seconds(pid).unwrap();
        let mut number = 1u64;
        while processor_seconds(pid).unwrap() < before + 0.02 {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(resident_mb(pid).unwrap() > 0.1);
    }
}
