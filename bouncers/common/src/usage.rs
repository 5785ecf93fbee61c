//! Usage metrics: what the bouncer did, told to the LAPI every quarter of an hour.
//!
//! [`Accumulator`] does the sums without clock or socket: it survives counters that start again at zero, and a report
//! that did not get through is part of the next. [`Reporter`] is the task that reads, sums and sends.

mod accumulator;
mod os;
mod report;

pub use accumulator::{Accumulator, Kind, Reading};
pub use os::os_info;
pub use report::{Identity, Meter, Receiver, Reporter};
