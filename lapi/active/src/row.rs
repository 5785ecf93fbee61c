//! One stored decision, and what can happen to it.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_wire::UnixMillis;
use uuid::Uuid;

/// The number of a commit. Every write that touches decisions takes the next one inside its transaction, so the
/// numbers are in commit order and without gaps. 0 is before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(pub u64);

/// A decision as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Its number; never used again.
    pub id: i64,
    /// The commit that wrote it last: made it, ended it early.
    pub commit: Commit,
    /// When it ends, or has ended.
    pub until: UnixMillis,
    /// The alert it belongs to.
    pub alert: i64,
    /// Never told to bouncers unless they ask for it.
    pub simulated: bool,
    /// Made by the LAPI; community lists have none.
    pub uuid: Option<Uuid>,
    /// `crowdsec`, `cscli`, `lists`, ….
    pub origin: String,
    /// The scenario, the list's name, or a reason.
    pub scenario: String,
    /// Normalised: `Ip`, `Range`, `Country`, `AS`, or any other word.
    pub scope: String,
    /// `ban`, `captcha`, ….
    pub kind: String,
    /// As it was posted, whatever its notation.
    pub value: String,
}

/// What a commit did to a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there, or is now like this. Ended early when `until` is not in the future.
    Put(ReplicaRow),
    /// Its row is gone (deleted with its alert, or by retention). What it was is kept so that bouncers can be told;
    /// `until` says when it would have ended, `commit` who removed it.
    Removed(ReplicaRow),
}

/// The addresses a decision's value covers; `None` for scopes other than `Ip` and `Range`. IPv4-mapped IPv6
/// addresses are IPv4, host bits are masked.
pub fn target_prefix(scope: &str, value: &str) -> Option<Result<IpNet, InvalidAddress>> {
    matches!(scope, "Ip" | "Range").then(|| parse_prefix(value))
}

/// Reads an address or a prefix as the LAPI does.
///
/// # Errors
///
/// When it is neither.
pub fn parse_prefix(value: &str) -> Result<IpNet, InvalidAddress> {
    let bad = || InvalidAddress(value.to_owned());
    if value.contains('/') {
        let net: IpNet = value.parse().map_err(|_| bad())?;
        Ok(match net {
            IpNet::V6(six) if six.prefix_len() >= 96 => match six.addr().to_ipv4_mapped() {
                Some(four) => IpNet::new(IpAddr::V4(four), six.prefix_len() - 96).map_err(|_| bad())?.trunc(),
                None => net.trunc(),
            },
            other => other.trunc(),
        })
    } else {
        let address: IpAddr = value.parse().map_err(|_| bad())?;
        Ok(IpNet::from(address.to_canonical()))
    }
}

/// A text that is neither an address nor a prefix. Shown in the words of the stock server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid ip address '{0}'")]
pub struct InvalidAddress(pub String);
