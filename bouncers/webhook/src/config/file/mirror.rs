//! The keys of the lists that are served.

use std::path::PathBuf;

use palisade_client::Secret;
use serde::Deserialize;

use super::super::ListFormat;
use super::FilterFile;

/// The `mirror` block.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MirrorFile {
    /// Where lists are served.
    ///
    /// - value: `HOST:PORT`
    /// - default: `127.0.0.1:41412`
    /// - example: `0.0.0.0:41412`
    pub listen: Option<String>,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<CertificateFile>,
    /// The lists; at most 100, at least one.
    pub lists: Option<Vec<ListFile>>,
    /// Where Prometheus metrics are served by the same listener; a path that is not a list's.
    ///
    /// - default: nowhere
    /// - example: `/metrics`
    pub metrics_path: Option<String>,
    /// A file for the access log.
    ///
    /// - default: none
    /// - example: `/var/log/palisade-webhook/access.log`
    pub access_log: Option<PathBuf>,
    /// Answer 404 when a list is empty, as the stock mirror does.
    ///
    /// - default: `false`
    /// - example: `true`
    pub empty_is_not_found: Option<bool>,
}

/// The `tls` block of `mirror`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CertificateFile {
    /// The certificate (PEM). Required.
    ///
    /// - example: `/etc/crowdsec/tls/lists.pem`
    pub certificate: Option<PathBuf>,
    /// Its key (PEM). Required.
    ///
    /// - example: `/etc/crowdsec/tls/lists-key.pem`
    pub key: Option<PathBuf>,
}

/// An entry of `mirror.lists`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ListFile {
    /// Its path. Required, unique.
    ///
    /// - example: `/blocklist`
    pub path: Option<String>,
    /// How it is written.
    ///
    /// - default: `plain_text`
    /// - example: `mikrotik`
    pub format: Option<ListFormat>,
    /// The name that a client has to give; with `password`.
    ///
    /// - example: `router`
    pub user: Option<String>,
    /// The password that a client has to give.
    ///
    /// - example: `PASSWORD`
    pub password: Option<Secret>,
    /// A file or systemd credential that holds it.
    ///
    /// - example: `/etc/crowdsec/webhook/list`
    pub password_file: Option<PathBuf>,
    /// Addresses that may read it, instead of `user` and `password`.
    ///
    /// - default: all
    /// - example: `[192.0.2.0/24]`
    pub allow_from: Option<Vec<String>>,
    /// Which decisions are on it.
    pub filter: Option<FilterFile>,
    /// Merge addresses and ranges into as few ranges as possible.
    ///
    /// - default: `false`
    /// - example: `true`
    pub aggregate: Option<bool>,
}
