//! Forwards requests to pools of upstreams.
//!
//! ```text
//! Pool::forward ─► balance ─► Server ─► idle connection, or connect (tcp, tls, unix; PROXY protocol)
//!        ▲                                   │
//!        └── retry ◄── failure ◄── exchange (h1, h2) ──► Forwarded { response head, UpstreamBody or tunnel }
//! ```
//!
//! The client side of HTTP/1.1 is implemented here, on `httparse`, and not on hyper's: the future of a request reads and
//! writes the connection itself, without a task, a channel or an allocation for each request, and it knows what hyper
//! does not report: whether a byte was sent, whether a byte was received, and whether bytes followed the response.
//! Retries and reuse depend on these three. HTTP/2 uses the `h2` crate, with one task for each connection.
//!
//! **The client's body is not polled before a connection exists.** hyper sends `100 Continue` when the body is first
//! polled, so a client that expects it sends nothing to a pool that is down. With `Expect: 100-continue` in the request's
//! headers, the body is polled only when the upstream answered `100`, or one second later; a final answer before that is
//! relayed, and the client keeps its body.

mod attempt;
mod balance;
mod body;
mod bridge;
mod connect;
mod error;
mod exchange;
mod h1;
mod h2;
mod health;
mod idle;
mod message;
mod metrics;
mod pool;
mod pools;
mod retry;
mod server;
mod timer;
mod transport;
pub mod tunnel;

pub use self::body::{BodyError, UpstreamBody};
pub use self::error::{BadAnswer, BoxError, ErrorKind, ForwardError, PoolError};
pub use self::message::{Forwarded, Outgoing, Upgrade};
pub use self::metrics::ServerMetrics;
pub use self::pool::Pool;
pub use self::pools::Pools;
pub use self::server::Server;
pub use self::tunnel::UpstreamTunnel;

#[cfg(test)]
mod tests;
