//! Defines the keys of the configuration file, before validation.
//!
//! Every key of the stock bouncer is here under its own name, so that its file works unchanged. Palisade's own keys are
//! marked. Absent and null mean the same everywhere. The keys of the LAPI client in the same file are read by
//! `palisade_bouncer`.

use palisade_wire::GoDuration;
use serde::{Deserialize, de::IgnoredAny};

/// Keys that this file reads, or ignores on purpose.
pub const FIREWALL_KEYS: &[&str] = &[
    "mode",
    "pid_dir",
    "daemonize",
    "disable_ipv4",
    "disable_ipv6",
    "deny_action",
    "deny_log",
    "deny_log_prefix",
    "blacklists_ipv4",
    "blacklists_ipv6",
    "ipset_type",
    "ipset_size",
    "ipset_disable_timeouts",
    "iptables_chains",
    "iptables_v4_chains",
    "iptables_v6_chains",
    "iptables_add_rule_comments",
    "supported_decisions_types",
    "nftables.ipv4.enabled",
    "nftables.ipv4.set-only",
    "nftables.ipv4.table",
    "nftables.ipv4.chain",
    "nftables.ipv4.priority",
    "nftables.ipv4.exclusive",
    "nftables.ipv6.enabled",
    "nftables.ipv6.set-only",
    "nftables.ipv6.table",
    "nftables.ipv6.chain",
    "nftables.ipv6.priority",
    "nftables.ipv6.exclusive",
    "nftables_hooks",
    "pf.anchor_name",
    "pf.batch_size",
    "reject_with",
    "deny_log_rate",
    "deny_log_group",
    "block_outbound",
    "allow.addresses",
    "allow.interfaces",
    "protect_lapi",
    "drop_established",
    "keep_on_stop",
    "present_as",
    "reconcile_interval",
    "shortest_prefix.ipv4",
    "shortest_prefix.ipv6",
];

/// The file as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// `nftables` or `dry-run`; the stock bouncer also has `iptables`, `ipset` and `pf`. Required.
    pub mode: Option<String>,
    /// Deprecated; ignored.
    // Keys that are ignored accept any value, as a lenient reader does: their type must not keep an old file from
    // loading.
    pub pid_dir: Option<IgnoredAny>,
    /// Deprecated; the daemon always runs in the foreground, under its service manager.
    pub daemonize: Option<bool>,
    /// Do not enforce IPv4; overrides `nftables.ipv4.enabled`.
    pub disable_ipv4: Option<bool>,
    /// Do not enforce IPv6; overrides `nftables.ipv6.enabled`.
    pub disable_ipv6: Option<bool>,
    /// `DROP` (default) or `REJECT`, in any case.
    pub deny_action: Option<String>,
    /// Log packets ahead of the verdict; off by default.
    pub deny_log: Option<bool>,
    /// Text in front of each packet in the log; `crowdsec drop: ` by default.
    pub deny_log_prefix: Option<String>,
    /// Set name, or prefix of set names; `crowdsec-blacklists` by default.
    pub blacklists_ipv4: Option<String>,
    /// The same for IPv6; `crowdsec6-blacklists` by default.
    pub blacklists_ipv6: Option<String>,
    /// For `iptables` and `ipset`; ignored.
    pub ipset_type: Option<IgnoredAny>,
    /// For `iptables` and `ipset`; ignored.
    pub ipset_size: Option<IgnoredAny>,
    /// For `iptables` and `ipset`; ignored.
    pub ipset_disable_timeouts: Option<IgnoredAny>,
    /// For `iptables`; ignored.
    pub iptables_chains: Option<IgnoredAny>,
    /// For `iptables`; ignored.
    pub iptables_v4_chains: Option<IgnoredAny>,
    /// For `iptables`; ignored.
    pub iptables_v6_chains: Option<IgnoredAny>,
    /// For `iptables`; ignored.
    pub iptables_add_rule_comments: Option<IgnoredAny>,
    /// Decision types that are enforced; `[ban]` by default.
    pub supported_decisions_types: Option<Vec<String>>,
    /// Tables, chains and priorities.
    pub nftables: Option<NftablesFile>,
    /// Hooks that get a chain: prerouting, input, forward, output, postrouting; `[input]` by default.
    pub nftables_hooks: Option<Vec<String>>,
    /// For `pf`.
    pub pf: Option<PfFile>,

    /// Ours. Answer of `deny_action: REJECT`: `port-unreachable`, `admin-prohibited`, `host-unreachable` or
    /// `tcp-reset`; what the stock bouncer sends by default.
    pub reject_with: Option<String>,
    /// Ours. Most log lines per `second`, `minute`, `hour` or `day`, or `unlimited`; `10/second` by default. Never
    /// limits the verdict.
    pub deny_log_rate: Option<String>,
    /// Ours. nflog group that gets the packets instead of the kernel log.
    pub deny_log_group: Option<u16>,
    /// Ours. Also block packets *to* banned addresses; off by default.
    pub block_outbound: Option<bool>,
    /// Ours. What is let through before any ban is looked at.
    pub allow: Option<AllowFile>,
    /// Ours. Never block the LAPI's own address; on by default.
    pub protect_lapi: Option<bool>,
    /// Ours. Cut the open connections of an address when it becomes banned; off by default.
    pub drop_established: Option<bool>,
    /// Ours. Leave bans in the kernel when the daemon stops; off by default.
    pub keep_on_stop: Option<bool>,
    /// Ours. Name the LAPI sees: `palisade-firewall` (default) or `crowdsec-firewall-bouncer`.
    pub present_as: Option<String>,
    /// Ours. How often the kernel is compared with what it should hold; `1m` by default.
    pub reconcile_interval: Option<GoDuration>,
    /// Ours. Decisions on wider ranges are refused; `8` and `16` by default.
    pub shortest_prefix: Option<ShortestPrefixFile>,
}

/// The `nftables` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NftablesFile {
    /// IPv4 objects.
    pub ipv4: Option<FamilyFile>,
    /// IPv6 objects.
    pub ipv6: Option<FamilyFile>,
}

/// One family of the `nftables` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FamilyFile {
    /// Whether the family is enforced; on unless `disable_ipv4` or `disable_ipv6` is set.
    pub enabled: Option<bool>,
    /// Only fill the operator's own set; off by default.
    #[serde(rename = "set-only")]
    pub set_only: Option<bool>,
    /// Table; `crowdsec` or `crowdsec6` by default.
    pub table: Option<String>,
    /// Prefix of chain names; `crowdsec-chain` or `crowdsec6-chain` by default.
    pub chain: Option<String>,
    /// Priority of the chains; 0 by default.
    pub priority: Option<i32>,
    /// Ours. In set-only mode: the set holds nothing but our elements, others are removed; off by default.
    pub exclusive: Option<bool>,
}

/// The `shortest_prefix` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ShortestPrefixFile {
    /// 0 to 32.
    pub ipv4: Option<u8>,
    /// 0 to 128.
    pub ipv6: Option<u8>,
}

/// The `pf` block, which is ignored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PfFile {
    /// Ignored.
    pub anchor_name: Option<IgnoredAny>,
    /// Deprecated; ignored.
    pub batch_size: Option<IgnoredAny>,
}

/// The `allow` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AllowFile {
    /// Addresses and prefixes.
    pub addresses: Option<Vec<String>>,
    /// Incoming interfaces; a `*` at the end stands for any rest.
    pub interfaces: Option<Vec<String>>,
}
