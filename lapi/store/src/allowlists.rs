//! Allowlists: addresses that must never be banned.

use ipnet::IpNet;
use palisade_wire::UnixMillis;

use crate::{Ended, Store, StoreError};

/// A list and, when asked for, what is on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// Its row's number.
    pub id: i64,
    /// Its name, unique, letter case matters.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// A central service's name for it; empty for local lists.
    pub allowlist_id: String,
    /// Kept by a central service: not to be changed here.
    pub console_managed: bool,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it or its items last changed.
    pub updated_at: UnixMillis,
    /// How many items are on it that have not run out.
    pub size: u64,
    /// The items that have not run out, in the order they were added; empty when they were not asked for.
    pub items: Vec<AllowlistItem>,
}

/// An address or range on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowlistItem {
    /// As it was given.
    pub value: String,
    /// What it covers.
    pub net: IpNet,
    /// Why; may be empty.
    pub comment: String,
    /// When it was added.
    pub created_at: UnixMillis,
    /// When it runs out; `None` for never.
    pub expires_at: Option<UnixMillis>,
}

/// An item to be added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewAllowlistItem {
    /// An address or a range.
    pub value: String,
    /// Why; may be empty.
    pub comment: String,
    /// When it runs out; `None` for never.
    pub expires_at: Option<UnixMillis>,
}

/// What became of items that were to be added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddedItems {
    /// Are on the list now.
    pub added: Vec<String>,
    /// Were on it already, unchanged.
    pub existing: Vec<String>,
    /// Are neither address nor range.
    pub invalid: Vec<String>,
}

/// Answers which items hold for an address or a range, without asking the database. Immutable; made anew when the
/// roster changes.
#[derive(Debug, Clone, Default)]
pub struct AllowlistIndex {}

impl AllowlistIndex {
    /// Indexes lists that were read with their items.
    pub fn new(lists: &[Allowlist]) -> Self {
        let _ = lists;
        todo!()
    }

    /// The stock server's reasons, `ITEM from LIST (COMMENT)`, ordered by list: of every item that has not run out
    /// and covers the target or lies within it.
    pub fn reasons(&self, target: &IpNet, now: UnixMillis) -> Vec<String> {
        let _ = (target, now);
        todo!()
    }

    /// Whether any item holds for the target.
    pub fn holds(&self, target: &IpNet, now: UnixMillis) -> bool {
        let _ = (target, now);
        todo!()
    }
}

impl Store {
    /// Makes a list.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; else when the database fails.
    pub async fn create_allowlist(
        &self,
        now: UnixMillis,
        name: &str,
        description: &str,
    ) -> Result<(), StoreError> {
        let _ = (now, name, description);
        todo!()
    }

    /// Deletes a list with its items.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; else when the database fails.
    pub async fn delete_allowlist(&self, name: &str) -> Result<(), StoreError> {
        let _ = name;
        todo!()
    }

    /// Adds items to a list. What is there already stays as it is, unless it has run out.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; else when the database fails.
    pub async fn add_to_allowlist(
        &self,
        now: UnixMillis,
        name: &str,
        items: Vec<NewAllowlistItem>,
    ) -> Result<AddedItems, StoreError> {
        let _ = (now, name, items);
        todo!()
    }

    /// Takes items off a list; returns how many there were.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when there is no such list; else when the database fails.
    pub async fn remove_from_allowlist(
        &self,
        now: UnixMillis,
        name: &str,
        values: &[String],
    ) -> Result<u64, StoreError> {
        let _ = (now, name, values);
        todo!()
    }

    /// All lists, ordered by name, with their items when asked.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn allowlists(&self, now: UnixMillis, with_items: bool) -> Result<Vec<Allowlist>, StoreError> {
        let _ = (now, with_items);
        todo!()
    }

    /// One list with its items.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn allowlist(&self, now: UnixMillis, name: &str) -> Result<Option<Allowlist>, StoreError> {
        let _ = (now, name);
        todo!()
    }

    /// Ends every decision in force, of any origin, that lies inside an item of any list or contains one.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing was ended.
    pub async fn apply_allowlists(&self, now: UnixMillis) -> Result<Ended, StoreError> {
        let _ = now;
        todo!()
    }
}
