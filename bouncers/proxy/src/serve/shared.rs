//! What outlives a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use palisade_daemon::listen::Connections;
use tokio_util::task::TaskTracker;

use super::site::Site;
use crate::access_log::AccessLog;
use crate::metrics::ProxyMetrics;
use crate::remediation::Throttle;
use crate::remediation::open_requests::OpenRequests;
use crate::tls::Acme;

/// What outlives a configuration: connections, limiters, certificates by ACME.
pub(crate) struct Shared {
    pub(crate) site: ArcSwap<Site>,
    pub(crate) connections: Connections,
    /// Accept loops, tunnels, and what watches files.
    pub(crate) tasks: TaskTracker,
    pub(crate) acme: Acme,
    pub(crate) throttle: Throttle,
    pub(crate) requests: Arc<OpenRequests>,
    pub(crate) metrics: ProxyMetrics,
    pub(crate) access_log: AccessLog,
}

impl Shared {
    /// The current configuration.
    pub(crate) fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Lines of the command `status`.
    pub(crate) fn details(&self) -> BTreeMap<String, String> {
        let mut details = BTreeMap::new();
        details.insert("connections".to_owned(), self.connections.len().to_string());
        details.insert("requests in flight".to_owned(), self.requests.len().to_string());
        let site = self.site.load();
        for pool in site.pools.iter() {
            for server in pool.servers() {
                let state = if server.is_up() { "up" } else { "down" };
                let text = format!(
                    "{state}, {} requests in flight, {} idle connections",
                    server.in_flight(),
                    server.idle_connections()
                );
                details.insert(upstream_line(&pool.config().name, server.name()), text);
            }
        }
        for certificate in site.tls.iter().flatten().flat_map(|tls| tls.certificates.status()) {
            details.insert(format!("certificate {}", certificate.source), certificate.to_string());
        }
        for name in self.acme.status() {
            details.insert(format!("acme {}", name.name), name.to_string());
        }
        details
    }
}

/// The name of the line about an upstream in `status`, which `explain` reads too. Its value begins with `up` or `down`.
pub(crate) fn upstream_line(pool: &str, url: &str) -> String {
    format!("upstream {pool} {url}")
}
