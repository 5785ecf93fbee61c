//! Allowlists: addresses that must never be banned.

mod index;
mod rows;

use std::collections::HashSet;

use ipnet::IpNet;
use palisade_wire::UnixMillis;

use rows::{add_items, attach_items, id_of, lists, missing, touch_list};

use crate::{Ended, Store, StoreError, decisions};

pub use index::AllowlistIndex;

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
        let (name, description) = (name.to_owned(), description.to_owned());
        self.writer
            .write("create an allowlist", move |tx| {
                Box::pin(async move {
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
    /// [`StoreError::NotFound`]; else when the database fails.
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
        let (name, bulk) = (name.to_owned(), self.bulk);
        self.writer
            .write("add to an allowlist", move |tx| {
                Box::pin(async move { add_items(tx, now, &name, items, bulk).await })
            })
            .await
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
        let (name, values) = (name.to_owned(), values.to_vec());
        self.writer
            .write("take off an allowlist", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    let list = id_of(session, &name).await?;
                    let mut sql = session.sql("DELETE FROM allowlist_items WHERE list_id = ");
                    sql.arg(list).push(" AND value").in_texts(&values);
                    let removed = session.run(sql).await?;
                    if removed > 0 {
                        touch_list(tx, now, list).await?;
                    }
                    Ok(removed)
                })
            })
            .await
    }

    /// All lists, ordered by name, with their items when asked.
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

    /// Ends every decision in force, of any origin, that lies inside an item of any list or contains one.
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
                    for net in &nets {
                        ids.extend(decisions::touching(session, net, now).await?);
                    }
                    ids.sort_unstable();
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
