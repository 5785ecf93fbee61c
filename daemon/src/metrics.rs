//! The metrics endpoint.

/// Where `/metrics` is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address or host name; empty means every address.
    pub addr: String,
    /// TCP port.
    pub port: u16,
}
