//! A reverse proxy that enforces CrowdSec decisions.
//!
//! ```text
//! listener ─► request rules ─► client address ─► route ─► decision ─┬─► page (ban, captcha, throttle)
//!  (palisade_daemon::listen)                                        └─► headers ─► pool ─► upstream
//! ```
//!
//! [`Config`](config::Config) is the checked configuration. The pure parts ([`client_address`], [`request_rules`],
//! [`headers`], [`routing`]) know nothing of sockets; [`upstream`] opens connections, [`remediation`] applies decisions.

pub mod access_log;
pub mod captcha;
pub mod client_address;
pub mod config;
mod explain;
pub mod headers;
pub mod metrics;
pub mod pages;
mod proxy;
pub mod remediation;
pub mod request_rules;
pub mod routing;
mod serve;
pub mod tls;
pub mod upstream;

pub use self::proxy::Proxy;
pub use self::serve::ServerStatus;
