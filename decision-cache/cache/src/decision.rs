//! A decision as readers of a snapshot get it.

use std::fmt;

use ipnet::IpNet;

use crate::Timestamp;

/// One decision in force, borrowed from the snapshot that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// `Ip`, `Range`, `Country`, `AS` or any other scope, in the canonical letter case.
    pub scope: &'a str,
    /// The address, range or name that it applies to.
    pub target: Target<'a>,
    /// The remediation: `ban`, `captcha` or any other word, in lower case.
    pub remediation: &'a str,
    /// The origin: `crowdsec`, `cscli`, `CAPI`, `lists`, ...
    pub origin: &'a str,
    /// The scenario, the list's name for origin `lists`, or the reason of a manual decision.
    pub scenario: &'a str,
    /// When it ends.
    pub until: Timestamp,
    /// The LAPI's id for it, for display: a LAPI may announce and delete one ban under different ids.
    pub id: i64,
}

impl Decision<'_> {
    /// The origin as metrics name it: `lists:<list>` for subscribed lists, else the origin itself.
    pub fn source(&self) -> String {
        source_of(self.origin, self.scenario)
    }
}

pub(crate) fn source_of(origin: &str, scenario: &str) -> String {
    if origin == "lists" { format!("lists:{scenario}") } else { origin.to_owned() }
}

/// What a decision applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// An address (a prefix of full length) or a range, without host bits; never an IPv4-mapped address.
    Net(IpNet),
    /// The value of any other scope, such as a country code.
    Name(&'a str),
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}
