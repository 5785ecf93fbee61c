//! What requests may cost: the limits of bodies, and how many large ones are held at once. `docs/security-model.md` lists
//! them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a body from a client that is not authenticated, after decompression: a login with 5,000 scenarios has half of it.
pub(crate) const UNAUTHENTICATED_BODY: usize = 256 * 1024;
/// Bytes of a usage report, after decompression. It is stored as it is.
pub(crate) const USAGE_BODY: usize = 512 * 1024;
/// Bytes of another body from an authenticated client, after decompression: the stock server's limit.
pub(crate) const AUTHENTICATED_BODY: usize = 50 * 1024 * 1024;
/// Bytes of a body that are read without a place. Nearly all requests have less.
pub(crate) const FREE_BODY: usize = 16 * 1024;
/// Bytes of a body that are read with a common place; beyond them one of the few for large bodies is needed.
pub(crate) const COMMON_BODY: usize = 1024 * 1024;
/// Bodies of clients that are not authenticated, above [`FREE_BODY`], that are held at once.
const UNAUTHENTICATED_PLACES: usize = 32;
/// Bodies of authenticated clients between [`FREE_BODY`] and [`COMMON_BODY`] that are held at once.
const COMMON_PLACES: usize = 32;
/// Bodies above [`COMMON_BODY`] that are held at once.
const LARGE_PLACES: usize = 2;
/// The longest time a body of a client that is not authenticated may take.
pub(crate) const UNAUTHENTICATED_BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// Machines that wait for an operator to validate them.
pub(crate) const MAX_PENDING_MACHINES: usize = 1000;
/// Log lines about unknown keys and certificates that are written at once.
pub(crate) const REFUSAL_BURST: u32 = 60;
/// One more after this time.
pub(crate) const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
/// Characters of each part of a User-Agent that are kept.
pub(crate) const MAX_AGENT_TEXT: usize = 255;

/// What a body may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyLimit {
    /// Bytes after decompression.
    pub(crate) bytes: usize,
    pub(crate) authenticated: bool,
}

impl BodyLimit {
    /// For login and registration.
    pub(crate) const UNAUTHENTICATED: Self = Self { bytes: UNAUTHENTICATED_BODY, authenticated: false };
    /// For usage reports.
    pub(crate) const USAGE: Self = Self { bytes: USAGE_BODY, authenticated: true };
    /// For everything else.
    pub(crate) const AUTHENTICATED: Self = Self { bytes: AUTHENTICATED_BODY, authenticated: true };
}

/// Places for bodies that are not small. A request that finds none waits instead of being refused, and the bytes that it
/// sends meanwhile stay in the socket.
#[derive(Debug)]
pub(crate) struct BodyPlaces {
    unauthenticated: Arc<Semaphore>,
    common: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The place of a body. Held for as long as the body is processed.
#[derive(Debug, Default)]
pub(crate) struct BodyPlace {
    _permit: Option<OwnedSemaphorePermit>,
    /// How many bytes it is good for, beyond [`FREE_BODY`].
    bytes: usize,
}

impl BodyPlace {
    /// Whether a body of this length needs another place.
    pub(crate) fn is_too_small(&self, bytes: usize) -> bool {
        bytes > self.bytes.max(FREE_BODY)
    }
}

impl Default for BodyPlaces {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            unauthenticated: places(UNAUTHENTICATED_PLACES),
            common: places(COMMON_PLACES),
            large: places(LARGE_PLACES),
        }
    }
}

impl BodyPlaces {
    /// Exchanges the place of a body that has grown to `bytes` for one that suffices. Unauthenticated clients have places of
    /// their own and cannot delay others.
    pub(crate) async fn grow(&self, place: &mut BodyPlace, bytes: usize, authenticated: bool) {
        let (places, enough) = match (authenticated, bytes <= COMMON_BODY) {
            (false, _) => (&self.unauthenticated, UNAUTHENTICATED_BODY),
            (true, true) => (&self.common, COMMON_BODY),
            (true, false) => (&self.large, AUTHENTICATED_BODY),
        };
        // The old place is kept meanwhile, because its bytes are still held. Whoever has a large place needs no other, so
        // this cannot wait for ever.
        let permit = Arc::clone(places).acquire_owned().await;
        *place = BodyPlace { _permit: Some(permit.expect("the places are never closed")), bytes: enough };
    }
}
