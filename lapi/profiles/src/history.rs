//! Decision history of an address, for the functions `Get…Decisions…`.

use ipnet::IpNet;
use palisade_wire::GoDuration;

/// Queries stored decisions. An address is treated as a prefix of full length; a decision counts when its prefix
/// contains the queried one, whatever its origin, including simulated ones.
///
/// Errors are texts; they make the expression fail.
pub trait History {
    /// The number of stored decisions, including ended ones that have not been deleted yet.
    fn decisions_count(&self, about: &IpNet) -> Result<i64, String>;

    /// The number of decisions created at most `back` ago.
    fn decisions_since_count(&self, about: &IpNet, back: GoDuration) -> Result<i64, String>;

    /// The number of decisions in force.
    fn active_decisions_count(&self, about: &IpNet) -> Result<i64, String>;

    /// The longest time left of a decision in force; zero without one.
    fn active_time_left(&self, about: &IpNet) -> Result<GoDuration, String>;
}

/// An empty history, for checks without a database.
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
