//! The keys of an endpoint that replaces whole lists.

use std::path::PathBuf;

use palisade_client::Secret;
use palisade_go_compat::GoDuration;
use serde::Deserialize;

use super::super::LongIpv6;

/// The `replace` block. Without a service, the list is sent to `url`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplaceFile {
    /// Least time between two updates.
    ///
    /// - default: `30s`
    /// - at least: `1s`
    /// - example: `5m`
    pub interval: Option<GoDuration>,
    /// Most entries; those that end last are kept.
    ///
    /// - default: `10000`
    /// - at least: `1`
    /// - at most: `1000000`
    /// - example: `1000`
    pub max_entries: Option<usize>,
    /// Merge addresses and ranges into as few ranges as possible, without covering more.
    ///
    /// - default: `false`
    /// - example: `true`
    pub aggregate: Option<bool>,
    /// A list at Cloudflare; needs `bearer` or `bearer_file`.
    pub cloudflare: Option<CloudflareFile>,
    /// IP sets of AWS WAF (v2).
    pub aws_waf: Option<AwsWafFile>,
}

/// The `cloudflare` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CloudflareFile {
    /// The account's id. Required.
    ///
    /// - example: `0123456789abcdef`
    pub account: Option<String>,
    /// The list's id. Required.
    ///
    /// - example: `fedcba9876543210`
    pub list: Option<String>,
    /// What becomes of IPv6 prefixes that are longer than /64, such as single addresses.
    ///
    /// - default: `skip`
    /// - example: `widen`
    pub long_ipv6: Option<LongIpv6>,
}

/// The `aws_waf` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AwsWafFile {
    /// The region. Required, except with `cloudfront`, whose sets are in `us-east-1`.
    ///
    /// - example: `eu-west-1`
    pub region: Option<String>,
    /// The sets are CloudFront's.
    ///
    /// - default: `false`
    /// - example: `true`
    pub cloudfront: Option<bool>,
    /// The set of IPv4 addresses; this or `ipv6` is required.
    pub ipv4: Option<IpSetFile>,
    /// The set of IPv6 addresses.
    pub ipv6: Option<IpSetFile>,
    /// The access key. Required.
    ///
    /// - example: `AKIAEXAMPLE`
    pub access_key_id: Option<String>,
    /// Its secret. This or `secret_access_key_file` is required.
    ///
    /// - example: `SECRET`
    pub secret_access_key: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/aws`
    pub secret_access_key_file: Option<PathBuf>,
    /// A session token.
    ///
    /// - example: `TOKEN`
    pub session_token: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/session`
    pub session_token_file: Option<PathBuf>,
}

/// An IP set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IpSetFile {
    /// Its name. Required.
    ///
    /// - example: `palisade`
    pub name: Option<String>,
    /// Its id. Required.
    ///
    /// - example: `0123456789abcdef`
    pub id: Option<String>,
}
