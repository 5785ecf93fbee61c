//! Push: how soon a ban is in force on every host, the cost of parked requests, and reconnection after an outage.

mod answer;
mod fleet;
mod latency;
mod many_clients;
mod many_followers;
mod poster;
mod probe;
mod waiters;

use palisade_e2e::{Doing as _, Outcome, Process};

pub(super) use fleet::measure as fleet;
pub(super) use latency::measure as latency;
pub(super) use waiters::measure as waiters;

/// Seconds of processor time that a process has used so far, with all its threads.
fn processor_seconds(process: &Process) -> Outcome<f64> {
    /// What the kernel counts in, on every architecture that Linux has today.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = text.rsplit_once(") ").doing("stat names the process")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next().and_then(|text| text.parse::<f64>().ok());
    let used = ticks().zip(ticks()).map(|(user, system)| user + system);
    Ok(used.doing("stat tells the time in user mode and in the kernel")? / TICKS_PER_SECOND)
}
