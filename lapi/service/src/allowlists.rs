//! Allowlists in memory, so that checking an alert needs no query.

use std::sync::Arc;

use arc_swap::ArcSwap;
use palisade_store::{Allowlist, AllowlistIndex, Store, StoreError};
use palisade_wire::UnixMillis;

/// Allowlists in memory, replaced as a whole when the registry version in the database changes.
#[derive(Debug)]
pub struct Allowlists {
    store: Store,
    lists: ArcSwap<Vec<Allowlist>>,
    index: ArcSwap<AllowlistIndex>,
}

impl Allowlists {
    /// Empty until the first [`Allowlists::refresh`].
    pub fn new(store: Store) -> Self {
        Self { store, lists: ArcSwap::default(), index: ArcSwap::default() }
    }

    /// All lists with their items.
    pub fn lists(&self) -> Arc<Vec<Allowlist>> {
        self.lists.load_full()
    }

    /// Finds the items that cover an address.
    pub fn index(&self) -> Arc<AllowlistIndex> {
        self.index.load_full()
    }

    /// Reads all allowlists from the store.
    ///
    /// # Errors
    ///
    /// When the database fails; the previous lists stay in use.
    pub async fn refresh(&self, now: UnixMillis) -> Result<(), StoreError> {
        let lists = self.store.allowlists(now, true).await?;
        // Two values and no common one: the lists are only for display, so it does no harm if they are a moment
        // older.
        self.index.store(Arc::new(AllowlistIndex::new(&lists)));
        self.lists.store(Arc::new(lists));
        Ok(())
    }
}
