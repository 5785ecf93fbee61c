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
    /// What enforces: `nftables`, or `dry-run`, which only logs. Required. The stock bouncer's other modes
    /// (`iptables`, `ipset`, `pf`) are refused with the next step.
    ///
    /// - words: `nftables`, `dry-run`
    /// - example: `nftables`
    pub mode: Option<String>,
    /// Deprecated; ignored.
    // Keys that are ignored accept any value, as a lenient reader does: their type must not keep an old file from
    // loading.
    pub pid_dir: Option<IgnoredAny>,
    /// Deprecated: the daemon always runs in the foreground, under its service manager.
    ///
    /// - default: always on
    /// - example: `true`
    pub daemonize: Option<bool>,
    /// Do not enforce IPv4. Overrides `nftables.ipv4.enabled`, with a warning when they contradict each other.
    ///
    /// - default: `false`
    /// - example: `true`
    pub disable_ipv4: Option<bool>,
    /// Do not enforce IPv6. Overrides `nftables.ipv6.enabled`, with a warning when they contradict each other.
    ///
    /// - default: `false`
    /// - example: `true`
    pub disable_ipv6: Option<bool>,
    /// What happens to packets of banned addresses, in any letter case. `REJECT` is not possible in the hook
    /// `postrouting`.
    ///
    /// - words: `DROP`, `REJECT`
    /// - default: `DROP`
    /// - example: `REJECT`
    pub deny_action: Option<String>,
    /// Log packets ahead of the verdict.
    ///
    /// - default: `false`
    /// - example: `true`
    pub deny_log: Option<bool>,
    /// Text in front of each packet in the log; at most 127 bytes, without quotes and control characters.
    ///
    /// - default: `"crowdsec drop: "`
    /// - with: `deny_log: true`
    /// - example: `"banned: "`
    pub deny_log_prefix: Option<String>,
    /// Prefix of the names of IPv4 sets; with `set-only` the name of the operator's set.
    ///
    /// - default: `crowdsec-blacklists`
    /// - example: `banned`
    pub blacklists_ipv4: Option<String>,
    /// Prefix of the names of IPv6 sets; with `set-only` the name of the operator's set.
    ///
    /// - default: `crowdsec6-blacklists`
    /// - example: `banned6`
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
    /// Decision types that are enforced, whatever their letter case.
    ///
    /// - default: `[ban]`
    /// - example: `[ban, captcha]`
    pub supported_decisions_types: Option<Vec<String>>,
    /// Tables, chains and priorities.
    pub nftables: Option<NftablesFile>,
    /// Hooks that get a chain: `prerouting`, `input`, `forward`, `output`, `postrouting`. Containers are reached
    /// through `forward`. The packaged file has `input` and `forward`.
    ///
    /// - default: `[input]`
    /// - example: `[input, forward]`
    pub nftables_hooks: Option<Vec<String>>,
    /// For the packet filter of BSD; without effect.
    pub pf: Option<PfFile>,

    /// The answer of `deny_action: REJECT`. Without it ICMP code 3 is sent, as by the stock bouncer: port
    /// unreachable in IPv4, address unreachable in IPv6. Palisade's own.
    ///
    /// - words: `port-unreachable`, `admin-prohibited`, `host-unreachable`, `tcp-reset`
    /// - default: as the stock bouncer
    /// - with: `deny_action: REJECT`
    /// - example: `tcp-reset`
    pub reject_with: Option<String>,
    /// Most log lines per `second`, `minute`, `hour` or `day`, or `unlimited`. Never limits the verdict. Palisade's
    /// own.
    ///
    /// - value: rate
    /// - default: `10/second`
    /// - with: `deny_log: true`
    /// - example: `100/minute`
    pub deny_log_rate: Option<String>,
    /// The nflog group that gets the packets instead of the kernel log. Palisade's own.
    ///
    /// - default: none: the kernel log
    /// - with: `deny_log: true`
    /// - example: `1`
    pub deny_log_group: Option<u16>,
    /// Also block packets *to* banned addresses. Palisade's own.
    ///
    /// - default: `false`
    /// - example: `true`
    pub block_outbound: Option<bool>,
    /// What is let through before any ban is looked at. Loopback always is. Palisade's own.
    pub allow: Option<AllowFile>,
    /// Never block the LAPI's own address. This host's own addresses, loopback and link-local addresses are never
    /// blocked. Palisade's own.
    ///
    /// - default: `true`
    /// - example: `false`
    pub protect_lapi: Option<bool>,
    /// Cut the open connections of an address when it becomes banned. Palisade's own.
    ///
    /// - default: `false`
    /// - example: `true`
    pub drop_established: Option<bool>,
    /// Leave bans in the kernel when the daemon stops; they end by themselves, each at its time. A restart by
    /// systemd with the packaged unit leaves them in any case. Palisade's own.
    ///
    /// - default: `false`
    /// - example: `true`
    pub keep_on_stop: Option<bool>,
    /// The name that the LAPI lists. Palisade's own.
    ///
    /// - words: `palisade-firewall`, `crowdsec-firewall-bouncer`
    /// - default: `palisade-firewall`
    /// - example: `crowdsec-firewall-bouncer`
    pub present_as: Option<String>,
    /// How often the kernel is compared with what it should hold. Changes by other programs are mostly noticed at
    /// once; this finds the rest. Palisade's own.
    ///
    /// - default: `1m`
    /// - at least: `1s`
    /// - example: `30s`
    pub reconcile_interval: Option<GoDuration>,
    /// Decisions on wider ranges are not enforced, with a warning that names each. Palisade's own.
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
    /// Whether the family is enforced.
    ///
    /// - default: `true`
    /// - example: `false`
    pub enabled: Option<bool>,
    /// Only fill a set that the operator has made; make no chain, rule or counter.
    ///
    /// - default: `false`
    /// - example: `true`
    #[serde(rename = "set-only")]
    pub set_only: Option<bool>,
    /// The table. It may hold chains, sets and rules of others: only what is ours is changed or removed.
    ///
    /// - default: `crowdsec`, for IPv6 `crowdsec6`
    /// - example: `bans`
    pub table: Option<String>,
    /// Prefix of chain names, to which the hook is appended.
    ///
    /// - default: `crowdsec-chain`, for IPv6 `crowdsec6-chain`
    /// - example: `bans`
    pub chain: Option<String>,
    /// Priority of the chains. The packaged file has -10.
    ///
    /// - default: `0`
    /// - example: `-10`
    pub priority: Option<i32>,
    /// The set holds nothing but our elements: whatever else is found in it is removed. Palisade's own.
    ///
    /// - default: `false`
    /// - with: `set-only: true`
    /// - example: `true`
    pub exclusive: Option<bool>,
}

/// The `shortest_prefix` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ShortestPrefixFile {
    /// The shortest prefix length of IPv4 ranges.
    ///
    /// - default: `8`
    /// - at least: `0`
    /// - at most: `32`
    /// - example: `16`
    pub ipv4: Option<u8>,
    /// The shortest prefix length of IPv6 ranges.
    ///
    /// - default: `16`
    /// - at least: `0`
    /// - at most: `128`
    /// - example: `32`
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
    ///
    /// - default: `[]`
    /// - example: `[192.0.2.10, "2001:db8::/32"]`
    pub addresses: Option<Vec<String>>,
    /// Incoming interfaces; a `*` at the end stands for any rest.
    ///
    /// - default: `[]`
    /// - example: `[wg0, "veth*"]`
    pub interfaces: Option<Vec<String>>,
}
