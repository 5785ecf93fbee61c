//! Accepts connections and bounds what each of them may use.
//!
//! ```text
//! accept (TCP, unix socket) ─► handshake (TLS) ─► hyper: HTTP/1.1, HTTP/2 ─► service
//!     ▲ a permit per connection                     ▲
//!     └───────────── reaper: closes connections that are idle, slow to send or slow to read
//! ```

mod accept;
mod activity;
mod batched_writes;
mod bind;
mod connection;
mod connection_reaper;
mod connections;
mod eviction;
mod frame_io;
pub mod frames;
mod handshake;
mod inherited;
mod limits;
mod metrics;
mod observed_io;
mod open_connection;
mod options;
mod peer;
mod progress;
mod proxy_header;
pub mod proxy_protocol;
mod received_body;
mod refusal;
mod sent_body;
mod service;
mod socket;
mod socket_access;
pub mod strict;
mod strict_io;
pub mod tls;

#[cfg(test)]
mod tests;

pub use accept::{Listeners, Serving};
pub use bind::{ListenError, bind, check_bind};
pub(crate) use bind::{bind_host, check_host};
pub use connections::Connections;
pub use eviction::ClientGroup;
pub use inherited::inherited;
pub use limits::{Limits, OpenFiles};
pub use metrics::{ConnectionMetrics, RefusedLabels};
pub use open_connection::HeldConnection;
pub use options::{ListenSocket, Listener, ListenerOptions, OnRefused, PerAddress, Refusing, StrictHttp};
pub use peer::{ConnectionInfo, Peer};
pub use received_body::{BodyError, ReceivedBody};
pub use service::HttpService;
pub use socket::{SocketFile, bind_socket, check_socket};
pub use socket_access::SocketAccess;
