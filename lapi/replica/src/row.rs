//! A stored decision and its changes.

use ipnet::IpNet;
use palisade_net::{InvalidAddress, parse_prefix};
use palisade_wire::UnixMillis;
use uuid::Uuid;

/// A commit number. Every write that changes decisions takes the next one inside its transaction, so numbers are in
/// commit order without gaps. 0 is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(pub u64);

/// A decision as the store keeps it and the replica receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Never reused.
    pub id: i64,
    /// The commit that wrote it last.
    pub commit: Commit,
    /// When it ends or has ended.
    pub until: UnixMillis,
    /// The id of its alert.
    pub alert: i64,
    /// Sent to bouncers only on request.
    pub simulated: bool,
    /// Assigned by the LAPI; decisions of community lists have none.
    pub uuid: Option<Uuid>,
    /// `crowdsec`, `cscli`, `lists`, ….
    pub origin: String,
    /// The scenario, the list's name, or a free-text reason.
    pub scenario: String,
    /// Canonical: `Ip`, `Range`, `Country`, `AS`, or another scope.
    pub scope: String,
    /// `ban`, `captcha`, ….
    pub kind: String,
    /// As posted, in any notation.
    pub value: String,
}

/// The effect of a commit on a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The decision was added or changed. Ended early when `until` is not in the future.
    Put(ReplicaRow),
    /// The row was deleted, with its alert or by retention. Kept so that bouncers receive the end; `until` is its
    /// former end, `commit` the one that deleted it.
    Removed(ReplicaRow),
}

/// The prefix a decision covers; `None` for scopes other than `Ip` and `Range`. IPv4-mapped addresses become IPv4, host
/// bits are cleared.
pub fn target_prefix(scope: &str, value: &str) -> Option<Result<IpNet, InvalidAddress>> {
    matches!(scope, "Ip" | "Range").then(|| parse_prefix(value))
}
