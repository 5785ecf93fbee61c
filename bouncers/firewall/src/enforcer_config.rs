//! Holds what is enforced besides the decisions. Pure data.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::local::LocalNetwork;

/// The configuration and the exempt addresses of the environment. Sent to the enforcer anew at a reload or when an
/// address changes.
#[derive(Debug, Clone)]
pub struct EnforcerConfig {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The LAPI's own addresses, never blocked when `protect_lapi` is on.
    pub protected: Vec<IpAddr>,
    /// This host's own addresses and neighbourhood.
    pub local: LocalNetwork,
}
