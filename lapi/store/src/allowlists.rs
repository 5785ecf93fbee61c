//! Allowlists: addresses that must never be banned.

mod index;
mod rows;

use std::collections::HashSet;

use ipnet::IpNet;
use palisade_wire::UnixMillis;

use rows::{add_items, attach_items, id_of, lists, missing, remove_items};

use crate::{Ended, Store, StoreError, decisions};

pub use index::AllowlistIndex;

/// A list and, when requested, its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// Row id.
    pub id: i64,
    /// Unique and case-sensitive.
    pub name: String,
    /// A free-text description.
    pub description: String,
    /// Its id at a central service; empty for local lists.
    pub allowlist_id: String,
    /// Whether a central service manages it; it cannot be changed locally then.
    pub console_managed: bool,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it or its items last changed.
    pub updated_at: UnixMillis,
    /// Number of items that have not expired.
    pub size: u64,
    /// Items that have not expired, in order of addition; empty when not requested.
    pub items: Vec<AllowlistItem>,
}

/// An address or range on a list. One prefix is one item, however it is spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowlistItem {
    /// As entered.
    pub value: String,
    /// The prefix it covers.
    pub net: IpNet,
    /// A free-text comment; may be empty.
    pub comment: String,
    /// When it was added.
    pub created_at: UnixMillis,
    /// When it expires; `None` for never.
    pub expires_at: Option<UnixMillis>,
}

/// An item to add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewAllowlistItem {
    /// An address or a range.
    pub value: String,
    /// A free-text comment; may be empty.
    pub comment: String,
    /// When it expires; `None` for never.
    pub expires_at: Option<UnixMillis>,
}

/// The result of adding items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddedItems {
    /// Values that were added.
    pub added: Vec<String>,
    /// Values that were on the list already, which are unchanged, and how they are spelled there.
    pub existing: Vec<(String, String)>,
    /// Values that are neither an address nor a range.
    pub invalid: Vec<String>,
}

/// The result of removing items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedItems {
    /// Number of items that were removed.
    pub count: u64,
    /// Values that were not on the list.
    pub missing: Vec<String>,
}

impl Store {
    /// Creates a list.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; otherwise when the database fails.
    pub async fn create_allowlist(
        &self,
        now: UnixMillis,
        name: &str,
        description: &str,
    ) -> Result<(), StoreError> {
        let (name, description) = (name.to_owned(), description.to_owned());
        self.writer
            .write("create an allowlist", move |tx| {
                Box::pin(async move {
                    // Other LAPIs read the lists again when this changes. If the job fails, the counters are reset
                    // with it.
                    tx.bump_registry_version();
                    let session = tx.session();
                    if id_of(session, &name).await.is_ok() {
                        return Err(StoreError::Exists { kind: "allowlist", name });
                    }
                    let sql = session
                        .sql(
                            "INSERT INTO allowlists (created_at, updated_at, name, description) \
                             VALUES ($1, $1, $2, $3)",
                        )
                        .bind(now.0)
                        .bind(name)
                        .bind(description);
                    session.run(sql).await.map(drop)
                })
            })
            .await
    }

    /// Deletes a list with its items.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; otherwise when the database fails.
    pub async fn delete_allowlist(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer
            .write("delete an allowlist", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let sql = session.sql("DELETE FROM allowlists WHERE name = $1").bind(name.as_str());
                    if session.run(sql).await? == 0 { Err(missing(&name)) } else { Ok(()) }
                })
            })
            .await
    }

    /// Adds items to a list. Existing items are unchanged, unless they have expired.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; otherwise when the database fails.
    pub async fn add_to_allowlist(
        &self,
        now: UnixMillis,
        name: &str,
        items: Vec<NewAllowlistItem>,
    ) -> Result<AddedItems, StoreError> {
        let (name, bulk) = (name.to_owned(), self.bulk);
        self.writer
            .write("add to an allowlist", move |tx| {
                Box::pin(async move { add_items(tx, now, &name, items, bulk).await })
            })
            .await
    }

    /// Removes items from a list, however they are spelled.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when the list does not exist; otherwise when the database fails.
    pub async fn remove_from_allowlist(
        &self,
        now: UnixMillis,
        name: &str,
        values: &[String],
    ) -> Result<RemovedItems, StoreError> {
        let (name, values) = (name.to_owned(), values.to_vec());
        self.writer
            .write("remove from an allowlist", move |tx| {
                Box::pin(async move { remove_items(tx, now, &name, values).await })
            })
            .await
    }

    /// All lists ordered by name, with their items if requested.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn allowlists(&self, now: UnixMillis, with_items: bool) -> Result<Vec<Allowlist>, StoreError> {
        let mut session = self.snapshot("read the allowlists").await?;
        let mut lists = lists(&mut session, now, None).await?;
        if with_items {
            attach_items(&mut session, now, &mut lists).await?;
        }
        Ok(lists)
    }

    /// One list with its items.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn allowlist(&self, now: UnixMillis, name: &str) -> Result<Option<Allowlist>, StoreError> {
        let mut session = self.snapshot("read an allowlist").await?;
        let mut lists = lists(&mut session, now, Some(name)).await?;
        attach_items(&mut session, now, &mut lists).await?;
        Ok(lists.pop())
    }

    /// Ends all decisions in force, of any origin, that lie within an item of any list or contain one.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing was ended.
    pub async fn apply_allowlists(&self, now: UnixMillis) -> Result<Ended, StoreError> {
        self.writer
            .write("apply the allowlists", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    let mut all = lists(session, now, None).await?;
                    attach_items(session, now, &mut all).await?;
                    let nets: HashSet<IpNet> =
                        all.iter().flat_map(|list| &list.items).map(|item| item.net).collect();
                    let mut ids = Vec::new();
                    // Address by address through the index: decisions are many, items are few.
                    for net in &nets {
                        ids.extend(decisions::touching(session, net, now).await?);
                    }
                    ids.sort_unstable();
                    // A decision may touch several items.
                    ids.dedup();
                    if ids.is_empty() {
                        return Ok(Ended::default());
                    }
                    decisions::end(tx, now, &ids).await
                })
            })
            .await
    }
}
