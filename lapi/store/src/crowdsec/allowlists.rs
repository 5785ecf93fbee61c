//! Takes allowlists and their items.

use std::collections::{HashMap, HashSet};

use palisade_net::parse_prefix;

use super::columns::{As, Fields};
use super::import::Import;
use super::known::RowKind;
use crate::StoreError;
use crate::engine::SqlRow;

const LISTS: &str = "allow_lists";
const LIST_COLUMNS: [(&str, As); 7] = [
    ("id", As::Int),
    ("created_at", As::Time),
    ("updated_at", As::Time),
    ("name", As::Text),
    ("description", As::Text),
    ("allowlist_id", As::Text),
    ("from_console", As::Flag),
];
const ITEMS: &str = "allow_list_items";
const ITEM_COLUMNS: [(&str, As); 5] = [
    ("id", As::Int),
    ("created_at", As::Time),
    ("expires_at", As::Time),
    ("value", As::Text),
    ("comment", As::Text),
];
/// Rows per read.
const PAGE: usize = 2000;

impl Import<'_> {
    /// Takes the allowlists; 1.4.6 has none.
    pub(super) async fn allowlists(&mut self) -> Result<(), StoreError> {
        if !self.source.has(LISTS) || !self.source.has("allow_list_allowlist_items") {
            return Ok(());
        }
        let lists = self.lists().await?;
        self.items(&lists).await?;
        for (id, known) in self.known.forgotten(RowKind::Item) {
            self.known.forget(self.tx, RowKind::Item, id).await?;
            let session = self.tx.session();
            let sql = session.sql("DELETE FROM allowlist_items WHERE id = $1").bind(known.row);
            self.report.allowlist_items.removed += session.run(sql).await?;
        }
        for (id, known) in self.known.forgotten(RowKind::Allowlist) {
            self.known.forget(self.tx, RowKind::Allowlist, id).await?;
            let session = self.tx.session();
            let sql = session.sql("DELETE FROM allowlists WHERE id = $1").bind(known.row);
            self.report.allowlists.removed += session.run(sql).await?;
        }
        Ok(())
    }

    /// The id here for each list of the source.
    async fn lists(&mut self) -> Result<HashMap<i64, i64>, StoreError> {
        let session = self.tx.session();
        let sql = session.sql("SELECT name, id FROM allowlists");
        let names: HashMap<String, i64> =
            session.read(sql, |row| Ok((row.get(0)?, row.get(1)?))).await?.into_iter().collect();
        let here: HashSet<i64> = names.values().copied().collect();
        let columns = self.source.columns(LISTS, &LIST_COLUMNS);
        let mut ids = HashMap::new();
        let mut after = i64::MIN;
        loop {
            let read = |row: &SqlRow| {
                let mut fields = Fields::new(row);
                let id = fields.int()?.unwrap_or(0);
                let times = (fields.time()?, fields.time()?);
                let texts = (fields.text()?, fields.text()?, fields.text()?);
                Ok((id, times, texts, fields.flag()?))
            };
            let page = self.source.page(LISTS, &columns, after, PAGE, read).await?;
            let count = page.len();
            for (id, (created, updated), (name, description, central), from_console) in page {
                after = id;
                if let Some(known) = self.known.take(RowKind::Allowlist, id) {
                    self.report.allowlists.unchanged += 1;
                    if here.contains(&known.row) {
                        ids.insert(id, known.row);
                    }
                    continue;
                }
                // Items are added to a list of the same name.
                if let Some(&row) = names.get(&name) {
                    self.report.allowlists.unchanged += 1;
                    ids.insert(id, row);
                    continue;
                }
                let now = self.now;
                let session = self.tx.session();
                let sql = session
                    .sql(
                        "INSERT INTO allowlists (created_at, updated_at, name, description, allowlist_id, \
                         from_console) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
                    )
                    .bind(created.unwrap_or(now).0)
                    .bind(updated.unwrap_or(now).0)
                    .bind(name)
                    .bind(description)
                    .bind(central)
                    .bind(from_console);
                let row = self.tx.returned_id(sql).await?;
                self.report.allowlists.added += 1;
                self.known.record(self.tx, RowKind::Allowlist, id, row, "").await?;
                ids.insert(id, row);
            }
            self.advance(count);
            if count < PAGE {
                return Ok(ids);
            }
        }
    }

    async fn items(&mut self, lists: &HashMap<i64, i64>) -> Result<(), StoreError> {
        let sql = self.source.session.sql(
            "SELECT CAST(allow_list_item_id AS BIGINT), CAST(allow_list_id AS BIGINT) FROM allow_list_allowlist_items",
        );
        let links = self.source.session.read(sql, |row| Ok((row.get(0)?, row.get(1)?))).await?;
        let links: HashMap<i64, i64> = links.into_iter().collect();
        let columns = self.source.columns(ITEMS, &ITEM_COLUMNS);
        let mut after = i64::MIN;
        loop {
            let read = |row: &SqlRow| {
                let mut fields = Fields::new(row);
                let id = fields.int()?.unwrap_or(0);
                let times = (fields.time()?, fields.time()?);
                Ok((id, times, fields.text()?, fields.text()?))
            };
            let page = self.source.page(ITEMS, &columns, after, PAGE, read).await?;
            let count = page.len();
            for (id, (created, expires), value, comment) in page {
                after = id;
                if self.known.take(RowKind::Item, id).is_some() {
                    self.report.allowlist_items.unchanged += 1;
                    continue;
                }
                let Some(&list) = links.get(&id).and_then(|list| lists.get(list)) else {
                    self.report.skip("an allowlist item without a list", || value);
                    continue;
                };
                if parse_prefix(&value).is_err() {
                    self.report.skip("an allowlist item that is no address or range", || value);
                    continue;
                }
                if expires.is_some_and(|end| end <= self.now) {
                    self.report.skip("an allowlist item that has expired", || value);
                    continue;
                }
                let now = self.now;
                let session = self.tx.session();
                let sql = session
                    .sql(
                        "INSERT INTO allowlist_items (list_id, created_at, value, comment, expires_at) \
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (list_id, value) DO NOTHING RETURNING id",
                    )
                    .bind(list)
                    .bind(created.unwrap_or(now).0)
                    .bind(value)
                    .bind(comment)
                    .bind(expires.map(|end| end.0));
                match session.first(sql, |row| row.get::<i64>(0)).await? {
                    Some(row) => {
                        self.report.allowlist_items.added += 1;
                        self.known.record(self.tx, RowKind::Item, id, row, "").await?;
                    }
                    None => self.report.allowlist_items.unchanged += 1,
                }
            }
            self.advance(count);
            if count < PAGE {
                return Ok(());
            }
        }
    }
}
