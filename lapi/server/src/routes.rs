//! The handlers of the routes.

pub(crate) mod alerts;
pub(crate) mod allowlists;
pub(crate) mod decisions;
pub(crate) mod health;
pub(crate) mod usage;
pub(crate) mod watchers;
