//! Allowlists: addresses that must never be banned.

mod index;

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use palisade_active::net;
use palisade_wire::UnixMillis;
use sqlx::Error;

use crate::engine::{Column, Row, Session, Tx, insert};
use crate::{Ended, Store, StoreError, decisions};

pub use index::AllowlistIndex;

/// Not yet run out.
const LIVE: &str = "(expires_at IS NULL OR expires_at > ";

fn missing(name: &str) -> StoreError {
    StoreError::NotFound { kind: "allowlist", name: name.to_owned() }
}

fn read_list(row: &Row) -> Result<Allowlist, Error> {
    Ok(Allowlist {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        allowlist_id: row.get(3)?,
        console_managed: row.get(4)?,
        created_at: UnixMillis(row.get(5)?),
        updated_at: UnixMillis(row.get(6)?),
        size: row.get::<i64>(7)?.unsigned_abs(),
        items: Vec::new(),
    })
}

/// The lists, ordered by name: all, or the one of that name.
async fn lists(
    session: &mut Session,
    now: UnixMillis,
    name: Option<&str>,
) -> Result<Vec<Allowlist>, StoreError> {
    let mut sql = session.sql(
        "SELECT id, name, description, allowlist_id, from_console, created_at, updated_at, \
         (SELECT COUNT(*) FROM allowlist_items i WHERE i.list_id = allowlists.id AND ",
    );
    sql.push(LIVE).arg(now.0).push(")) FROM allowlists");
    if let Some(name) = name {
        sql.push(" WHERE name = ").arg(name);
    }
    let mut lists = session.read(sql, read_list).await?;
    // Not left to the database: servers sort by the rules of a language.
    lists.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(lists)
}

/// Gives lists their items.
async fn attach_items(
    session: &mut Session,
    now: UnixMillis,
    lists: &mut [Allowlist],
) -> Result<(), StoreError> {
    let places: HashMap<i64, usize> =
        lists.iter().enumerate().map(|(place, list)| (list.id, place)).collect();
    let mut sql = session
        .sql("SELECT list_id, value, comment, created_at, expires_at FROM allowlist_items WHERE list_id");
    let ids: Vec<i64> = lists.iter().map(|list| list.id).collect();
    sql.in_ints(&ids).push(" AND ").push(LIVE).arg(now.0).push(") ORDER BY id");
    let items = session
        .read(sql, |row| {
            let value: String = row.get(1)?;
            // Checked when it was added.
            let net = net(&value).map_err(|error| Error::Decode(Box::new(error)))?;
            let item = AllowlistItem {
                value,
                net,
                comment: row.get(2)?,
                created_at: UnixMillis(row.get(3)?),
                expires_at: row.get::<Option<i64>>(4)?.map(UnixMillis),
            };
            Ok((row.get::<i64>(0)?, item))
        })
        .await?;
    for (list, item) in items {
        if let Some(&place) = places.get(&list) {
            lists[place].items.push(item);
        }
    }
    Ok(())
}

async fn id_of(session: &mut Session, name: &str) -> Result<i64, StoreError> {
    let sql = session.sql("SELECT id FROM allowlists WHERE name = $1").bind(name);
    session.first(sql, |row| row.get(0)).await?.ok_or_else(|| missing(name))
}

async fn note_change(tx: &mut Tx, now: UnixMillis, list: i64) -> Result<(), StoreError> {
    tx.touch_roster();
    let session = tx.session();
    let sql = session.sql("UPDATE allowlists SET updated_at = $1 WHERE id = $2").bind(now.0).bind(list);
    session.run(sql).await.map(drop)
}

async fn add_items(
    tx: &mut Tx,
    now: UnixMillis,
    name: &str,
    items: Vec<NewAllowlistItem>,
    bulk: usize,
) -> Result<AddedItems, StoreError> {
    let mut outcome = AddedItems::default();
    let session = tx.session();
    let list = id_of(session, name).await?;
    let mut sql = session.sql("DELETE FROM allowlist_items WHERE list_id = ");
    sql.arg(list).push(" AND expires_at <= ").arg(now.0);
    session.run(sql).await?;
    let sql = session.sql("SELECT value FROM allowlist_items WHERE list_id = $1").bind(list);
    let mut there: HashSet<String> = session.read(sql, |row| row.get(0)).await?.into_iter().collect();
    let mut fresh = Vec::new();
    for item in items {
        if net(&item.value).is_err() {
            outcome.invalid.push(item.value);
        } else if there.insert(item.value.clone()) {
            outcome.added.push(item.value.clone());
            fresh.push(item);
        } else {
            outcome.existing.push(item.value);
        }
    }
    if fresh.is_empty() {
        return Ok(outcome);
    }
    let columns = vec![
        ("list_id", Column::Ints(vec![list; fresh.len()])),
        ("created_at", Column::Ints(vec![now.0; fresh.len()])),
        ("expires_at", Column::MaybeInts(fresh.iter().map(|item| item.expires_at.map(|at| at.0)).collect())),
        ("value", Column::Texts(outcome.added.clone())),
        ("comment", Column::Texts(fresh.into_iter().map(|item| item.comment).collect())),
    ];
    insert(tx, "allowlist_items", columns, bulk).await?;
    note_change(tx, now, list).await?;
    Ok(outcome)
}

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
                    tx.touch_roster();
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
                    tx.touch_roster();
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
                        note_change(tx, now, list).await?;
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
