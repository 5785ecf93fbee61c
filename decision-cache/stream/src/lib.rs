//! Keeps a ledger in step with a Local API: admission, pull cadence, resync, publishing, remembered state.
