//! Serves requests: the order of all steps, and what they work with.
//!
//! ```text
//! listener ─► Handler::respond
//!               ├─ ACME challenge, redirect to https
//!               ├─ request rules ─► client address ─► route ─► decision ─┬─► page
//!               └─ headers ─► pool ─► upstream ─► response, or tunnel    │
//!                                        ▲ ended when a ban arrives ◄────┘
//! ```
//!
//! [`Site`](site::Site) is what one configuration serves with, [`Shared`](shared::Shared) what outlives it.

mod body;
mod handler;
mod listeners;
mod record;
mod refusal;
mod request_id;
mod server;
mod shared;
mod site;
mod tunnel;

pub(crate) use self::server::Server;
pub use self::server::ServerStatus;
pub(crate) use self::shared::upstream_line;
pub(crate) use self::site::check;
