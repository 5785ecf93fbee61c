//! What is enforced besides the decisions. Pure data.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::local::LocalNetwork;

/// What to enforce besides the decisions. Send a new one to reload.
#[derive(Debug, Clone)]
pub struct EnforcerConfig {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The LAPI's own addresses, never blocked when the configuration says so.
    pub protected: Vec<IpAddr>,
    /// This host's own addresses and neighbourhood.
    pub local: LocalNetwork,
}
