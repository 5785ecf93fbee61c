//! Reads and writes allowlist rows.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use palisade_net::parse_prefix;
use palisade_wire::UnixMillis;
use sqlx::Error;

use super::{AddedItems, Allowlist, AllowlistItem, NewAllowlistItem, RemovedItems};
use crate::StoreError;
use crate::engine::{Column, Session, SqlRow, Tx, insert};

/// The start of a condition for items that have not expired.
pub(super) const LIVE: &str = "(expires_at IS NULL OR expires_at > ";

pub(super) fn missing(name: &str) -> StoreError {
    StoreError::NotFound { kind: "allowlist", name: name.to_owned() }
}

pub(super) fn read_list(row: &SqlRow) -> Result<Allowlist, Error> {
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

/// All lists ordered by name, or the list of this name.
pub(super) async fn lists(
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
    // Sorted here, because database servers sort by the collation of a locale.
    lists.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(lists)
}

/// Reads the items of lists. Rows that spell one prefix in several ways, which earlier versions stored, are one item with
/// the latest expiration; a row that is no prefix is left out.
pub(super) async fn attach_items(
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
            // Validated when it was added; another program may have changed it.
            let Ok(net) = parse_prefix(&value) else {
                tracing::warn!(
                    value,
                    "an allowlist item is neither an address nor a range and has no effect"
                );
                return Ok(None);
            };
            let item = AllowlistItem {
                value,
                net,
                comment: row.get(2)?,
                created_at: UnixMillis(row.get(3)?),
                expires_at: row.get::<Option<i64>>(4)?.map(UnixMillis),
            };
            Ok(Some((row.get::<i64>(0)?, item)))
        })
        .await?;
    let mut known: HashMap<(i64, IpNet), usize> = HashMap::new();
    for (list, item) in items.into_iter().flatten() {
        let Some(&place) = places.get(&list) else { continue };
        let there = &mut lists[place].items;
        match known.get(&(list, item.net)) {
            Some(&first) => {
                let first = &mut there[first];
                first.expires_at = first.expires_at.zip(item.expires_at).map(|(one, other)| one.max(other));
            }
            None => {
                known.insert((list, item.net), there.len());
                there.push(item);
            }
        }
    }
    for list in lists {
        list.size = list.items.len() as u64;
    }
    Ok(())
}

pub(super) async fn id_of(session: &mut Session, name: &str) -> Result<i64, StoreError> {
    let sql = session.sql("SELECT id FROM allowlists WHERE name = $1").bind(name);
    session.first(sql, |row| row.get(0)).await?.ok_or_else(|| missing(name))
}

async fn touch_list(tx: &mut Tx, now: UnixMillis, list: i64) -> Result<(), StoreError> {
    tx.bump_registry_version();
    let session = tx.session();
    let sql = session.sql("UPDATE allowlists SET updated_at = $1 WHERE id = $2").bind(now.0).bind(list);
    session.run(sql).await.map(drop)
}

/// The rows of a list: ids and values.
async fn values_of(session: &mut Session, list: i64) -> Result<Vec<(i64, String)>, StoreError> {
    let sql = session.sql("SELECT id, value FROM allowlist_items WHERE list_id = $1 ORDER BY id").bind(list);
    session.read(sql, |row| Ok((row.get(0)?, row.get(1)?))).await
}

pub(super) async fn remove_items(
    tx: &mut Tx,
    now: UnixMillis,
    name: &str,
    values: Vec<String>,
) -> Result<RemovedItems, StoreError> {
    let session = tx.session();
    let list = id_of(session, name).await?;
    let rows = values_of(session, list).await?;
    let mut gone: HashSet<i64> = HashSet::new();
    let mut outcome = RemovedItems::default();
    for value in values {
        let net = parse_prefix(&value).ok();
        let spells = |row: &str| row == value || (net.is_some() && parse_prefix(row).ok() == net);
        let found: Vec<i64> = rows.iter().filter(|(_, row)| spells(row)).map(|(id, _)| *id).collect();
        if found.is_empty() {
            outcome.missing.push(value);
        } else if gone.insert(found[0]) {
            outcome.count += 1;
            gone.extend(found);
        }
    }
    if !gone.is_empty() {
        let ids: Vec<i64> = gone.into_iter().collect();
        let mut sql = session.sql("DELETE FROM allowlist_items WHERE id");
        sql.in_ints(&ids);
        session.run(sql).await?;
        touch_list(tx, now, list).await?;
    }
    Ok(outcome)
}

pub(super) async fn add_items(
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
    // Expired items are removed first, so that adding one again is not taken for a repetition and refused by the
    // unique index.
    sql.arg(list).push(" AND expires_at <= ").arg(now.0);
    session.run(sql).await?;
    let mut there: HashMap<IpNet, String> = HashMap::new();
    for (_, value) in values_of(session, list).await? {
        if let Ok(net) = parse_prefix(&value) {
            there.entry(net).or_insert(value);
        }
    }
    let mut fresh = Vec::new();
    for item in items {
        let Ok(net) = parse_prefix(&item.value) else {
            outcome.invalid.push(item.value);
            continue;
        };
        match there.get(&net) {
            Some(known) => outcome.existing.push((item.value, known.clone())),
            None => {
                there.insert(net, item.value.clone());
                outcome.added.push(item.value.clone());
                fresh.push(item);
            }
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
    touch_list(tx, now, list).await?;
    Ok(outcome)
}
