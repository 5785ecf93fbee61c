//! Takes alerts in: allowlists, profiles, store, tail.

/// What the ingest keeps between requests.
#[derive(Debug, Default)]
pub(crate) struct Ingest {}
