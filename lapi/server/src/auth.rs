//! Who asks. Handlers name what they need as an argument, and are not called without it:
//!
//! | argument | admits | refuses with |
//! |---|---|---|
//! | [`Machine`] | a machine's token | 401 with `code` |
//! | [`Bouncer`] | a bouncer's key or certificate | 403 `access forbidden` |
//! | [`Either`] | one of the two | as above |
//! | [`ClientAddress`] | everybody; says where from | never |
//! | [`TrustedAddress`] | addresses of `trusted_ips`, loopback, the socket | 403 `access forbidden from this IP (…)` |
//!
//! Put [`Machine`] before [`TrustedAddress`]: the stock server checks tokens first.

pub mod address;

mod extract;

pub use address::{ClientAddress, Peer, TrustedAddress};
pub use extract::{Bouncer, Either, Machine};
