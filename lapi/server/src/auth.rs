//! Who asks. Handlers name what they need as an argument, and are not called without it:
//!
//! | argument | admits | refuses with |
//! |---|---|---|
//! | [`Machine`] | a machine's token | 401 with `code` |
//! | [`Bouncer`] | a bouncer's key or certificate | 403 `access forbidden` |
//! | [`MachineOrBouncer`] | one of the two | as above |
//! | [`ClientAddress`] | everybody; says where from | never |
//! | [`TrustedAddress`] | addresses of `trusted_ips`, loopback, the socket | 403 `access forbidden from this IP (…)` |
//!
//! Put [`Machine`] before [`TrustedAddress`]: the stock server checks tokens first.

pub mod address;
pub mod certificate;
pub mod password;
pub mod throttle;
pub mod token;

mod extract;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;

use self::{certificate::Certificates, password::Passwords, throttle::Throttle, token::Tokens};
use crate::error::ApiError;
pub use address::{ClientAddress, Peer, TrustedAddress};
pub(crate) use extract::{Agent, bearer, require_valid_machine};
pub use extract::{Bouncer, Machine, MachineOrBouncer, hash_key};

/// What proving who one is takes.
#[derive(Debug)]
pub struct Auth {
    /// Signs and checks tokens.
    pub tokens: Tokens,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Who failed lately.
    pub throttle: Mutex<Throttle>,
    /// Which client certificates are taken; replaced at a reload.
    pub certificates: ArcSwap<Certificates>,
}

impl Auth {
    /// With this secret for tokens and these certificates.
    ///
    /// # Errors
    ///
    /// When no thread for passwords can be started.
    pub fn new(secret: &[u8], certificates: Certificates) -> std::io::Result<Self> {
        Ok(Self {
            tokens: Tokens::new(secret),
            passwords: Passwords::start()?,
            throttle: Mutex::default(),
            certificates: ArcSwap::from_pointee(certificates),
        })
    }

    /// Whether this client may try to log in or register now.
    ///
    /// # Errors
    ///
    /// 429 with the time to wait.
    pub fn check_throttle(&self, client: &ClientAddress) -> Result<(), ApiError> {
        let throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.check(throttled_as(client), Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            ApiError::slow_down(seconds, format!("too many attempts, try again in {seconds}s"))
        })
    }

    /// This client failed to log in, or asked for an account.
    pub fn record_attempt(&self, client: &ClientAddress) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.take(throttled_as(client), Instant::now());
    }
}

/// A peer that has no address (a link-local one) shares the bucket of all such.
fn throttled_as(client: &ClientAddress) -> IpAddr {
    client.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
