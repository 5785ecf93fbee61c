//! Describes the sets in the kernel that are filled, and what their elements stand for. Pure data.

use std::time::Duration;

use crate::config::IpFamily;

/// How much longer than its decision an element of an interval set lives in the kernel.
// The kernel leaves expired intervals in its tree until it collects them, and then pairs a start with the nearest end
// above it. An interval that was added over an expired one loses its end that way, and reaches up to the next one. So
// none may expire while others are added: we remove each when its decision ends, and the kernel only if this process is
// dead or hangs.
pub(crate) const INTERVAL_GRACE: Duration = Duration::from_secs(3);

/// One of the sets in a [`Layout`](crate::layout::Layout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SetId(pub(crate) u16);

/// One of the sources in a [`Layout`](crate::layout::Layout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SourceId(pub(crate) u16);

/// A set in the kernel that we fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Addresses it holds.
    pub(crate) ip: IpFamily,
    /// Family of its table, `NFPROTO_*`; `inet` is possible in set-only mode.
    pub(crate) nfproto: u8,
    pub(crate) table: String,
    pub(crate) name: String,
    /// What it can hold, and how.
    pub(crate) dialect: Dialect,
    /// What its elements are there for.
    pub(crate) purpose: Purpose,
}

/// What a set's flags allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Elements are intervals, two halves each; otherwise single addresses.
    pub(crate) interval: bool,
    /// Elements may time out; otherwise we remove them.
    pub(crate) timeout: bool,
    /// Elements name the counter of their source.
    pub(crate) counters: bool,
}

impl Dialect {
    /// How much longer than its decision an element lives.
    pub(crate) fn grace(self) -> Duration {
        if self.interval && self.timeout { INTERVAL_GRACE } else { Duration::ZERO }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Banned addresses of one source.
    Hosts,
    /// Banned ranges of one prefix length, of any source.
    Ranges(u8),
    /// Cells of one width that hold anything banned.
    Gate(u8),
    /// Cells of one width that hold anything banned of one group of sets.
    InnerGate(u8),
    /// Cells of one width that hold any cell of other gates.
    FrontGate(u8),
    /// Exempt addresses.
    Allow,
    /// Everything banned, in the operator's set.
    Everything,
}

impl Purpose {
    /// Whether the elements are cells.
    pub(crate) fn is_gate(self) -> bool {
        matches!(self, Self::Gate(_) | Self::InnerGate(_) | Self::FrontGate(_))
    }
}

/// An origin, or a list of the origin `lists`: what counters and metrics are kept by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) ip: IpFamily,
    /// The origin, or `lists:<name>`; the set's name in set-only mode.
    pub(crate) name: String,
    /// Its set of hosts, or the operator's set.
    pub(crate) hosts: SetId,
}

/// The set of a decision's element, and the source it counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) set: SetId,
    /// The source whose counter it names.
    pub(crate) source: SourceId,
}
