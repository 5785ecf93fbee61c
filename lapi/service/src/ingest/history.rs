//! Decision history for profiles, queried from the database. Blocks; for blocking threads only.

use std::cell::RefCell;
use std::time::Duration;

use ipnet::IpNet;
use palisade_profiles::History;
use palisade_store::{Store, StoreError};
use palisade_wire::{GoDuration, UnixMillis};
use tokio::runtime::Handle;

/// Queries the store and keeps the first failure.
pub(super) struct StoredHistory {
    asked: Option<(Store, Handle, UnixMillis)>,
    failure: RefCell<Option<StoreError>>,
}

impl StoredHistory {
    pub(super) fn new(store: Store, now: UnixMillis) -> Self {
        Self { asked: Some((store, Handle::current(), now)), failure: RefCell::default() }
    }

    /// For profiles that use no history.
    pub(super) fn unused() -> Self {
        Self { asked: None, failure: RefCell::default() }
    }

    /// The first database failure, which the caller reports instead of the evaluation errors that it caused.
    pub(super) fn into_failure(self) -> Option<StoreError> {
        self.failure.into_inner()
    }

    fn query<T, A>(&self, question: impl FnOnce(Store, UnixMillis) -> A) -> Result<T, String>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let Some((store, handle, now)) = &self.asked else {
            return Err("no history is available".to_owned());
        };
        // Expressions are evaluated synchronously. `block_on` panics on a worker of the runtime, so this type is used
        // on blocking threads only.
        handle.block_on(question(store.clone(), *now)).map_err(|error| {
            let text = error.to_string();
            // Kept as a value: the expression turns the error into a text, and then the status 503 would be lost.
            self.failure.borrow_mut().get_or_insert(error);
            text
        })
    }
}

impl History for StoredHistory {
    fn decisions_count(&self, about: &IpNet) -> Result<i64, String> {
        let about = *about;
        self.query(move |store, _| async move { store.decision_counts(&about, None, None).await })
    }

    fn decisions_since_count(&self, about: &IpNet, back: GoDuration) -> Result<i64, String> {
        let about = *about;
        self.query(move |store, now| async move {
            // Saturating, because the duration comes from a profile.
            let since = now.plus(GoDuration::from_nanos(back.nanos().saturating_neg()));
            store.decision_counts(&about, Some(since), None).await
        })
    }

    fn active_decisions_count(&self, about: &IpNet) -> Result<i64, String> {
        let about = *about;
        self.query(move |store, now| async move { store.decision_counts(&about, None, Some(now)).await })
    }

    fn active_time_left(&self, about: &IpNet) -> Result<GoDuration, String> {
        let about = *about;
        let left: Duration =
            self.query(move |store, now| async move { store.active_time_left(&about, now).await })?;
        Ok(left.into())
    }
}
