//! Accepts connections and bounds what each of them may use.
//!
//! ```text
//! accept (TCP, unix socket) ─► handshake (TLS) ─► hyper: HTTP/1.1, HTTP/2 ─► service
//!     ▲ a permit per connection                     ▲
//!     └───────────── reaper: closes connections that are idle, slow to send or slow to read
//! ```

mod accept;
mod bind;
mod connection;
mod connection_reaper;
mod eviction;
mod limits;
mod observed_io;
mod peer;
mod received_body;
mod refusal;
mod service;
mod socket;
mod socket_access;
pub mod tls;

#[cfg(test)]
mod tests;

pub use accept::{ConnectionMetrics, Listeners, Serving};
pub use bind::{ListenError, bind, check_bind};
pub(crate) use bind::{bind_host, check_host};
pub use eviction::ClientGroup;
pub use limits::{Limits, OpenFiles};
pub use peer::Peer;
pub use received_body::ReceivedBody;
pub use service::HttpService;
pub use socket::{SocketFile, bind_socket, check_socket};
pub use socket_access::SocketAccess;
