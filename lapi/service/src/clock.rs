//! The source of the current time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use palisade_wire::UnixMillis;

/// The source of the current time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that tests set, in milliseconds since the epoch.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The current time.
    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => UnixMillis::now(),
            Self::Manual(millis) => UnixMillis(millis.load(Ordering::Relaxed)),
        }
    }
}
