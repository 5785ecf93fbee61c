//! What earlier decisions say about an address: asked by the `Get…Decisions…` functions.

use ipnet::IpNet;
use palisade_wire::GoDuration;

/// Answers questions about the decisions that are stored. An address asked for counts as the range of one; a decision
/// counts when its range contains the one asked for, whatever its origin, simulated ones included.
///
/// An error is the reason in words; it makes the expression fail.
pub trait History {
    /// How many decisions were ever stored, those that ended included while they are kept.
    fn decisions_count(&self, about: &IpNet) -> Result<i64, String>;

    /// The same, created within the time `back` from now.
    fn decisions_since_count(&self, about: &IpNet, back: GoDuration) -> Result<i64, String>;

    /// How many are in force now.
    fn active_decisions_count(&self, about: &IpNet) -> Result<i64, String>;

    /// The longest time that one in force has still to go; zero when none is.
    fn active_time_left(&self, about: &IpNet) -> Result<GoDuration, String>;
}

/// Nobody has a past: for checks that have no database at hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn decisions_count(&self, _: &IpNet) -> Result<i64, String> {
        Ok(0)
    }

    fn decisions_since_count(&self, _: &IpNet, _: GoDuration) -> Result<i64, String> {
        Ok(0)
    }

    fn active_decisions_count(&self, _: &IpNet) -> Result<i64, String> {
        Ok(0)
    }

    fn active_time_left(&self, _: &IpNet) -> Result<GoDuration, String> {
        Ok(GoDuration::ZERO)
    }
}
