//! Reports usage metrics to the LAPI every 15 minutes.
//!
//! [`Accumulator`] computes the sums without clock or socket: it handles counters that restart at zero, and a report
//! that was not delivered is part of the next one. [`Reporter`] is the task that reads, sums and sends.

mod accumulator;
mod os;
mod report;

pub use accumulator::{Accumulator, Kind, Reading};
pub use os::os_info;
pub use report::{Identity, Meter, Receiver, Reporter};
