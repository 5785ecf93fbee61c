//! Checks pools of upstreams.

use std::time::Duration;

use http::HeaderValue;

use super::super::file::{HealthCheckFile, ServerFile, UpstreamFile, UpstreamTlsFile};
use super::super::{
    Balance, HealthCheckConfig, HostHeader, PoolConfig, ServerConfig, TimeoutsConfig, UpstreamProtocol,
    UpstreamTls,
};
use super::{Check, MAX_ENTRIES, words};

const SHORTEST: Duration = Duration::from_millis(10);

impl Check {
    pub(super) fn pools(&mut self, files: Vec<UpstreamFile>) -> Vec<PoolConfig> {
        let mut pools: Vec<PoolConfig> = Vec::new();
        for (index, file) in files.into_iter().enumerate().take(MAX_ENTRIES) {
            let key = format!("upstreams[{index}]");
            let name = file.name.clone().unwrap_or_default();
            if name.is_empty() || name.contains("://") {
                self.wrong.add(format!("{key}.name"), "give the pool a name, which routes then use");
            }
            if pools.iter().any(|other| other.name == name) {
                self.wrong.add(format!("{key}.name"), "another pool has this name; give each one of its own");
            }
            let pool = self.pool(&key, name, file);
            pools.push(pool);
        }
        pools
    }

    /// The index of the pool that a route names; a URL makes one.
    pub(super) fn pool_of(
        &mut self,
        key: &str,
        upstream: Option<String>,
        pools: &mut Vec<PoolConfig>,
    ) -> Option<usize> {
        let Some(upstream) = upstream else {
            self.wrong.add(
                format!("{key}.upstream"),
                "name the application: a URL such as http://127.0.0.1:3000, or the name of an entry of `upstreams`",
            );
            return None;
        };
        if let Some(index) = pools.iter().position(|pool| pool.name == upstream) {
            return Some(index);
        }
        if words::upstream_url(&upstream).is_none() {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let known = match names.is_empty() {
                true => "there are no `upstreams`".to_owned(),
                false => format!("`upstreams` has {}", names.join(", ")),
            };
            self.wrong.add(
                format!("{key}.upstream"),
                format!("it is neither a URL such as http://127.0.0.1:3000 nor the name of a pool: {known}"),
            );
            return None;
        }
        let servers = Some(vec![ServerFile { url: Some(upstream.clone()), weight: None }]);
        let pool = self.pool(key, upstream, UpstreamFile { servers, ..UpstreamFile::default() });
        pools.push(pool);
        Some(pools.len() - 1)
    }

    fn pool(&mut self, key: &str, name: String, file: UpstreamFile) -> PoolConfig {
        let servers = self.servers(key, file.servers.unwrap_or_default());
        let s = Duration::from_secs;
        let timeouts = TimeoutsConfig {
            connect: self.wrong.duration(
                format!("{key}.connect_timeout"),
                file.connect_timeout,
                s(5),
                SHORTEST,
            ),
            head: self.wrong.duration(format!("{key}.head_timeout"), file.head_timeout, s(60), SHORTEST),
            idle: self.wrong.duration(format!("{key}.idle_timeout"), file.idle_timeout, s(60), SHORTEST),
            tunnel_idle: self.wrong.duration(
                format!("{key}.tunnel_idle_timeout"),
                file.tunnel_idle_timeout,
                s(3600),
                SHORTEST,
            ),
        };
        let protocol = file.protocol.unwrap_or(UpstreamProtocol::Auto);
        if file.proxy_protocol.is_some() && protocol != UpstreamProtocol::Http1 && file.protocol.is_some() {
            self.wrong.add(
                format!("{key}.proxy_protocol"),
                "a connection that announces one client cannot be shared as HTTP/2 does; set `protocol: http1`",
            );
        }
        PoolConfig {
            name,
            servers,
            balance: file.balance.unwrap_or(Balance::RoundRobin),
            health_check: file
                .health_check
                .map(|file| self.health_check(&format!("{key}.health_check"), file)),
            max_failures: file.max_failures.unwrap_or(3),
            failure_pause: self.wrong.duration(
                format!("{key}.failure_pause"),
                file.failure_pause,
                s(10),
                SHORTEST,
            ),
            timeouts,
            keep_alive: self.wrong.number(format!("{key}.keep_alive"), file.keep_alive, 64, (0, 100_000)),
            keep_alive_idle: self.wrong.duration(
                format!("{key}.keep_alive_idle"),
                file.keep_alive_idle,
                s(60),
                SHORTEST,
            ),
            protocol: if file.proxy_protocol.is_some() { UpstreamProtocol::Http1 } else { protocol },
            tls: self.upstream_tls(&format!("{key}.tls"), file.tls.unwrap_or_default()),
            send_proxy_protocol: file.proxy_protocol,
            send_forwarded: file.forwarded.unwrap_or(false),
            retries: self.wrong.number(format!("{key}.retries"), file.retries, 1, (0, 10)),
            host: self.host(&format!("{key}.host"), file.host),
        }
    }

    fn servers(&mut self, key: &str, files: Vec<ServerFile>) -> Vec<ServerConfig> {
        if files.is_empty() {
            self.wrong.add(
                format!("{key}.servers"),
                "name at least one, for example `servers: [{url: \"http://127.0.0.1:3000\"}]`",
            );
        }
        let mut servers = Vec::new();
        for (index, ServerFile { url, weight }) in files.into_iter().enumerate().take(MAX_ENTRIES) {
            let key = format!("{key}.servers[{index}]");
            let weight = self.wrong.number(format!("{key}.weight"), weight, 1, (1, 1000));
            let url = url.unwrap_or_default();
            match words::upstream_url(&url) {
                Some((tls, address)) => servers.push(ServerConfig { url, tls, address, weight }),
                None => self.wrong.add(
                    format!("{key}.url"),
                    "write it as http://HOST:PORT, https://HOST:PORT or unix:/PATH, without a path behind the host",
                ),
            }
        }
        servers
    }

    fn health_check(&mut self, key: &str, file: HealthCheckFile) -> HealthCheckConfig {
        if let Some(path) = &file.path
            && (!path.starts_with('/') || http::uri::PathAndQuery::try_from(path.as_str()).is_err())
        {
            self.wrong.add(format!("{key}.path"), "it must be a path that begins with /");
        }
        let status = file.status.as_deref().unwrap_or("200-399");
        let status = words::status_range(status).unwrap_or_else(|| {
            self.wrong.add(format!("{key}.status"), "it must be a status or a range such as 200-399");
            (200, 399)
        });
        let s = Duration::from_secs;
        HealthCheckConfig {
            path: file.path,
            host: file.host,
            status,
            interval: self.wrong.duration(format!("{key}.interval"), file.interval, s(5), SHORTEST),
            timeout: self.wrong.duration(format!("{key}.timeout"), file.timeout, s(2), SHORTEST),
            healthy_after: self.wrong.number(format!("{key}.healthy_after"), file.healthy_after, 2, (1, 100)),
            unhealthy_after: self.wrong.number(
                format!("{key}.unhealthy_after"),
                file.unhealthy_after,
                3,
                (1, 100),
            ),
        }
    }

    fn upstream_tls(&mut self, key: &str, file: UpstreamTlsFile) -> UpstreamTls {
        let client_certificate = match (file.certificate, file.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(certificate), None) => Some((certificate.clone(), certificate)),
            (None, Some(_)) => {
                self.wrong
                    .add(format!("{key}.key"), "a key without `certificate`; add it, or remove the key");
                None
            }
            (None, None) => None,
        };
        UpstreamTls {
            ca: file.ca,
            server_name: file.server_name,
            client_certificate,
            insecure_skip_verify: file.insecure_skip_verify.unwrap_or(false),
        }
    }

    fn host(&mut self, key: &str, text: Option<String>) -> HostHeader {
        match text.as_deref() {
            None | Some("preserve") => HostHeader::Preserve,
            Some("upstream") => HostHeader::Upstream,
            Some(text) => match (HeaderValue::from_str(text), text.parse::<http::uri::Authority>()) {
                (Ok(value), Ok(_)) => HostHeader::Fixed(value),
                _ => {
                    self.wrong
                        .add(key, "it must be preserve, upstream, or a host name with an optional port");
                    HostHeader::Preserve
                }
            },
        }
    }
}
