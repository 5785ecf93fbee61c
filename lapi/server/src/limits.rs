//! What requests may cost: the limits of bodies, and how many large ones are held at once. `docs/security-model.md` lists
//! them.

use std::{sync::Arc, time::Duration};

use palisade_daemon::listen::ClientGroup;
use tokio_util::sync::CancellationToken;

use crate::body_places::{Place, Places};

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
/// The same for clients that are not authenticated, if the body arrives in one piece.
const UNAUTHENTICATED_FREE_BODY: usize = 4 * 1024;
/// Bodies of clients that are not authenticated, up to [`FREE_BODY`], that are held at once, and that wait.
const UNAUTHENTICATED_SMALL_PLACES: usize = 512;
/// Bodies of clients that are not authenticated, above [`FREE_BODY`], that are held at once.
const UNAUTHENTICATED_PLACES: usize = 32;
/// Bodies of authenticated clients between [`FREE_BODY`] and [`COMMON_BODY`] that are held at once.
const COMMON_PLACES: usize = 32;
/// Bodies above [`COMMON_BODY`] that are held at once.
const LARGE_PLACES: usize = 2;
/// Bodies that have grown beyond [`COMMON_BODY`] and wait for such a place, with what has been received so far.
const GROWN_PLACES: usize = 32;
/// The longest time a body of a client that is not authenticated may take.
const UNAUTHENTICATED_BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for an authenticated client.
const BODY_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a body may be slower than its minimum pace.
const UNAUTHENTICATED_GRACE: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(20);
/// Minimum pace in bytes per second.
const PACE: usize = 1024;
/// The same for a body beyond [`COMMON_BODY`].
const LARGE_PACE: usize = 32 * 1024;
/// Machines that wait for an operator to validate them.
pub(crate) const MAX_PENDING_MACHINES: usize = 1000;
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
    /// The longest time for the whole body.
    pub(crate) fn timeout(self) -> Duration {
        if self.authenticated { BODY_TIMEOUT } else { UNAUTHENTICATED_BODY_TIMEOUT }
    }

    /// How long it may take until more than these bytes have been received, time in which they are not read apart.
    pub(crate) fn time_for(self, bytes: usize) -> Duration {
        let grace = if self.authenticated { GRACE } else { UNAUTHENTICATED_GRACE };
        let pace = if bytes > COMMON_BODY { LARGE_PACE } else { PACE };
        grace + Duration::from_secs_f64(bytes as f64 / pace as f64)
    }

    /// For login and registration.
    pub(crate) const UNAUTHENTICATED: Self = Self { bytes: UNAUTHENTICATED_BODY, authenticated: false };
    /// For usage reports.
    pub(crate) const USAGE: Self = Self { bytes: USAGE_BODY, authenticated: true };
    /// For everything else.
    pub(crate) const AUTHENTICATED: Self = Self { bytes: AUTHENTICATED_BODY, authenticated: true };
}

/// Places for bodies that are not small.
#[derive(Debug)]
pub(crate) struct BodyPlaces {
    unauthenticated_small: Arc<Places>,
    unauthenticated: Arc<Places>,
    common: Arc<Places>,
    grown: Arc<Places>,
    large: Arc<Places>,
}

/// The place of a body. Held for as long as the body is processed.
#[derive(Debug, Default)]
pub(crate) struct BodyPlace {
    place: Option<Place>,
    /// How many bytes it is good for, if there is one.
    bytes: usize,
}

impl BodyPlace {
    /// Whether a body of this length needs another place. Nearly all requests need none: those of authenticated clients
    /// because they are small, and a login because it arrives in one piece.
    pub(crate) fn is_too_small(&self, limit: BodyLimit, bytes: usize, ended: bool) -> bool {
        let free = match (limit.authenticated, ended) {
            (true, _) => FREE_BODY,
            (false, true) => UNAUTHENTICATED_FREE_BODY,
            (false, false) => 0,
        };
        bytes > self.bytes.max(free)
    }

    /// Fires when the place is given to another client.
    pub(crate) fn lost(&self) -> CancellationToken {
        self.place.as_ref().map(Place::lost).unwrap_or_default()
    }

    /// The body has been received.
    pub(crate) fn complete(&self) {
        if let Some(place) = &self.place {
            place.complete();
        }
    }
}

impl Default for BodyPlaces {
    fn default() -> Self {
        Self {
            unauthenticated_small: Places::new(UNAUTHENTICATED_SMALL_PLACES, UNAUTHENTICATED_SMALL_PLACES),
            unauthenticated: Places::new(UNAUTHENTICATED_PLACES, UNAUTHENTICATED_SMALL_PLACES),
            common: Places::new(COMMON_PLACES, usize::MAX),
            // No request waits here: a body that finds no place is refused, and leaves the common place to others.
            grown: Places::new(GROWN_PLACES, 0),
            large: Places::new(LARGE_PLACES, GROWN_PLACES),
        }
    }
}

impl BodyPlaces {
    /// Exchanges the place of a body that has grown to `bytes` for one that suffices; `None` when there are too many such
    /// bodies. Unauthenticated clients have places of their own and cannot delay others.
    pub(crate) async fn grow(
        &self,
        place: &mut BodyPlace,
        bytes: usize,
        authenticated: bool,
        group: ClientGroup,
    ) -> Option<()> {
        let (places, enough) = match (authenticated, bytes) {
            (false, ..=FREE_BODY) => (&self.unauthenticated_small, FREE_BODY),
            (false, _) => (&self.unauthenticated, UNAUTHENTICATED_BODY),
            (true, ..=COMMON_BODY) => (&self.common, COMMON_BODY),
            (true, _) => {
                // A large body may wait for long. It does so in a place of its own kind, and not in a common one.
                place.place = Some(self.grown.acquire(group).await?);
                (&self.large, AUTHENTICATED_BODY)
            }
        };
        // The old place is kept meanwhile, because its bytes are still held. A request with a larger place needs no smaller one,
        // so this cannot wait for ever.
        let larger = places.acquire(group).await?;
        *place = BodyPlace { place: Some(larger), bytes: enough };
        Some(())
    }
}
