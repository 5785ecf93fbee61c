//! What requests are authenticated with: tokens, passwords, certificates, and the rate limit of attempts.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    address::ClientAddress,
    certificate::Certificates,
    password::Passwords,
    throttle::{Attempt, Throttle},
    token::Tokens,
};
use crate::error::ApiError;

/// State for authenticating requests.
#[derive(Debug)]
pub(crate) struct Authenticator {
    /// Signs and verifies machine tokens.
    pub(crate) tokens: Tokens,
    pub(crate) passwords: Passwords,
    /// Limits failed logins and registrations per address and machine.
    pub(crate) throttle: Mutex<Throttle>,
    /// Which client certificates are accepted; replaced on reload.
    pub(crate) certificates: ArcSwap<Certificates>,
}

impl Authenticator {
    /// With the secret that signs tokens.
    ///
    /// # Errors
    ///
    /// When the threads that hash passwords cannot be started.
    pub(crate) fn new(secret: &[u8], certificates: Certificates) -> std::io::Result<Self> {
        Ok(Self {
            tokens: Tokens::new(secret),
            passwords: Passwords::start()?,
            throttle: Mutex::default(),
            certificates: ArcSwap::from_pointee(certificates),
        })
    }

    /// Whether this client may attempt this now.
    ///
    /// # Errors
    ///
    /// 429 with the time until the next attempt is allowed.
    pub(crate) fn check_throttle(
        &self,
        client: &ClientAddress,
        attempt: Attempt<'_>,
    ) -> Result<(), ApiError> {
        let throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.check(throttled_as(client), attempt, Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            ApiError::slow_down(seconds, format!("too many attempts, try again in {seconds}s"))
        })
    }

    /// Counts a failed login, or a registration.
    pub(crate) fn record_attempt(&self, client: &ClientAddress, attempt: Attempt<'_>) {
        self.record(client, attempt, 1);
    }

    /// Counts an attempt that costs this many tokens.
    pub(crate) fn record(&self, client: &ClientAddress, attempt: Attempt<'_>, tokens: u32) {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.take(throttled_as(client), attempt, tokens, Instant::now());
    }
}

/// Clients without a usable address (link-local peers with a zone, unreadable forwarding headers) share buckets.
fn throttled_as(client: &ClientAddress) -> IpAddr {
    client.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
