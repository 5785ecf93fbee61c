//! Decisions as the store keeps them.

use ipnet::IpNet;
use palisade_net::{InvalidAddress, parse_prefix};
use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::Commit;

/// A decision as the store keeps it and the replica receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDecision {
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

/// The prefix a decision covers; `None` for scopes other than `Ip` and `Range`. IPv4-mapped addresses become IPv4, host
/// bits are cleared.
pub fn target_prefix(scope: &str, value: &str) -> Option<Result<IpNet, InvalidAddress>> {
    matches!(scope, "Ip" | "Range").then(|| parse_prefix(value))
}
