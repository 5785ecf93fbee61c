//! The firewall bouncer as built, in a real kernel and beside real LAPIs.

mod asking;
mod crashes;
mod enforcing;
mod kernel;
mod names;
mod rebans;
mod reports;
mod restarts;
mod set_only;
mod shared;
mod stock;
mod suspended;
mod usage;
mod verdicts;
