//! Defines the firewall's configuration, checked and ready to enforce.
//!
//! [`Config`] is the validated configuration, [`ConfigFile`] the file as written, and the checks between the two are
//! pure: nothing here reads a file, opens a socket or touches the kernel.

mod check;
mod file;
mod words;

use std::{fmt, time::Duration};

use palisade_net::PrefixSet;

pub use self::file::{
    AllowFile, ConfigFile, FIREWALL_KEYS, FamilyFile, NftablesFile, PfFile, ShortestPrefixFile,
};

/// Everything the enforcer is configured with. Each value is valid, and consistent with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether the kernel is touched at all.
    pub mode: Mode,
    /// IPv4 objects; `None` when the family is disabled. At least one family is enabled.
    pub v4: Option<Family>,
    /// IPv6 objects; `None` when the family is disabled.
    pub v6: Option<Family>,
    /// Hooks that get a chain, in the order of the file, without repeats, never empty.
    pub hooks: Vec<Hook>,
    /// What happens to a packet from a banned address.
    pub deny: Deny,
    /// Kernel log line (or nflog message) ahead of the verdict; `None` when `deny_log` is off.
    pub log: Option<DenyLog>,
    /// Also match banned addresses as *destination*: in an output chain, and in the forward chain if there is one.
    pub block_outbound: bool,
    /// What is let through before any ban is looked at.
    pub allow: Allow,
    /// Let the LAPI's own address through, whatever is banned.
    pub protect_lapi: bool,
    /// Remove the tracked connections of an address when it becomes banned.
    pub drop_established: bool,
    /// Leave tables and elements in the kernel when the daemon stops.
    pub keep_on_stop: bool,
    /// Decision types that are enforced, compared exactly with the lower-cased type of a decision.
    pub types: Vec<String>,
    /// Name the LAPI sees in the User-Agent.
    pub present_as: PresentAs,
    /// The shortest prefixes that are enforced: a decision on a wider range is refused with a warning.
    pub shortest_prefix: ShortestPrefix,
    /// Time between two comparisons of the kernel with the wanted state, on top of those an event causes.
    pub reconcile_interval: Duration,
}

impl Config {
    /// The enabled families, IPv4 first.
    pub fn families(&self) -> impl Iterator<Item = (IpFamily, &Family)> {
        [(IpFamily::V4, &self.v4), (IpFamily::V6, &self.v6)]
            .into_iter()
            .filter_map(|(ip, family)| family.as_ref().map(|family| (ip, family)))
    }
}

/// An address family of the kernel's packet filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpFamily {
    /// nftables family `ip`.
    V4,
    /// nftables family `ip6`.
    V6,
}

/// How decisions are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Tables, chains, sets and rules in the kernel's nftables.
    Nftables,
    /// Only log what would be done; needs no privilege.
    DryRun,
}

/// The objects of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Table name. Managed mode owns the table; set-only mode looks for it.
    pub table: String,
    /// Prefix of the chain names (`<chain>-<hook>`); unused in set-only mode.
    pub chain: String,
    /// Prefix of the set names (`<set>-<origin>`), or the exact name of the one set in set-only mode.
    pub set: String,
    /// Priority of the base chains; unused in set-only mode.
    pub priority: i32,
    /// Only fill the operator's own set: create no chain, no rule, no counter.
    pub set_only: bool,
    /// The operator's set holds nothing but our elements: what else is in it is removed. Only in set-only mode.
    pub exclusive: bool,
}

/// Prefix lengths below which nothing is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortestPrefix {
    /// For IPv4, 0 to 32.
    pub v4: u8,
    /// For IPv6, 0 to 128.
    pub v6: u8,
}

impl Default for ShortestPrefix {
    fn default() -> Self {
        // 1/256 of all IPv4 addresses, and the IPv6 prefix of a regional registry: more than any sender holds, and what
        // a mistyped prefix length easily becomes.
        Self { v4: 8, v6: 16 }
    }
}

/// A netfilter hook of the `ip` and `ip6` families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    /// Every hook, in the order a packet can meet them.
    pub const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// The kernel's name, which is also the suffix of the chain name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Verdict on a packet of a banned address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deny {
    /// No response.
    Drop,
    /// A response that refuses.
    Reject(RejectWith),
}

/// The response to a rejected packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectWith {
    /// As the stock bouncer: ICMP code 3 in both families, which means port unreachable in IPv4 and address unreachable
    /// in IPv6.
    Stock,
    /// Port unreachable in both families (IPv4 code 3, IPv6 code 4).
    PortUnreachable,
    /// Administratively prohibited (IPv4 code 13, IPv6 code 1).
    AdminProhibited,
    /// Host unreachable (IPv4 code 1), address unreachable (IPv6 code 3).
    HostUnreachable,
    /// TCP reset for TCP; everything else gets port unreachable.
    TcpReset,
}

/// Logging of denied packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyLog {
    /// Text in front of the kernel's packet description.
    pub prefix: String,
    /// At most so many lines; `None` logs every packet, as the stock bouncer does.
    pub rate: Option<LogRate>,
    /// nflog group; `None` writes to the kernel log.
    pub group: Option<u16>,
}

/// `packets` log lines per `per`, with a burst of 5 as nft has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRate {
    /// Lines per period, at least 1.
    pub packets: u32,
    /// The period.
    pub per: RatePeriod,
}

/// The periods that nft accepts in a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePeriod {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
    /// 86 400 s.
    Day,
}

impl RatePeriod {
    /// The period, as nft writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl fmt::Display for LogRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.packets, self.per.as_str())
    }
}

/// Packets that are let through before any ban is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow {
    /// Source (and for outbound blocking destination) prefixes, IPv4-mapped ones unmapped, host bits cleared.
    pub nets: PrefixSet,
    /// Names of incoming interfaces; loopback is always let through and need not be listed.
    pub interfaces: Vec<String>,
}

/// The type half of the User-Agent, shown by `cscli bouncers list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentAs {
    /// `palisade-firewall`.
    Palisade,
    /// `crowdsec-firewall-bouncer`, for dashboards that filter on the stock name.
    Stock,
}

impl PresentAs {
    /// The text in the User-Agent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Palisade => "palisade-firewall",
            Self::Stock => "crowdsec-firewall-bouncer",
        }
    }
}

#[cfg(test)]
mod tests;
