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
        details
    }
}
