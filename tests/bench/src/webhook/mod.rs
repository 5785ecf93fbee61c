//! The webhook bouncer beside its peers.

pub(crate) mod mirror;
