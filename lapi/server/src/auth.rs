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
pub mod password;
pub mod throttle;
pub mod token;

mod extract;

use std::sync::Mutex;

use self::{password::Passwords, throttle::Throttle, token::Tokens};
pub use address::{ClientAddress, Peer, TrustedAddress};
pub use extract::{Bouncer, Either, Machine};

/// What proving who one is takes.
#[derive(Debug)]
pub struct Auth {
    /// Signs and checks tokens.
    pub tokens: Tokens,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Who failed lately.
    pub throttle: Mutex<Throttle>,
}
