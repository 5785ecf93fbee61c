//! Bulk inserts: `VALUES` with placeholders on SQLite, `UNNEST` of arrays on PostgreSQL.

use std::sync::Arc;

use super::sql::{Kind, Sql, Value};
use super::{Session, Tx};
use crate::StoreError;

/// A column of the rows to insert. All columns of a call have equal length.
#[derive(Debug)]
pub(crate) enum Column {
    Ints(Vec<i64>),
    MaybeInts(Vec<Option<i64>>),
    Reals(Vec<f64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    /// Texts that many rows have in common.
    Shared(Vec<Arc<str>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

/// SQLite's limit on parameters per statement.
const MAX_VALUES: usize = 32_766;
/// From this many rows on it pays to find out which columns are the same in all of them.
const MANY_ROWS: usize = 100;

/// Inserts rows, at most `bulk` per statement.
pub(crate) async fn insert(
    tx: &mut Tx,
    table: &str,
    columns: Vec<(&'static str, Column)>,
    bulk: usize,
) -> Result<(), StoreError> {
    // 2000 is the stock server's limit for `decision_bulk_size`.
    let bulk = bulk.clamp(1, 2000).min(MAX_VALUES / columns.len());
    let session = tx.session();
    match session.kind() {
        Kind::Sqlite => insert_values(session, table, columns, bulk).await,
        Kind::Postgres => insert_unnested(session, table, columns, bulk).await,
    }
}

fn head(table: &str, names: &[&str]) -> String {
    format!("INSERT INTO {table} ({}) ", names.join(", "))
}

async fn insert_values(
    session: &mut Session,
    table: &str,
    columns: Vec<(&'static str, Column)>,
    bulk: usize,
) -> Result<(), StoreError> {
    let mut left = columns.first().map_or(0, |(_, column)| column.len());
    // Binding a value costs about as much as storing it, so what many rows have in common is bound once.
    let (common, varying): (Vec<_>, Vec<_>) =
        columns.into_iter().partition(|(_, column)| left >= MANY_ROWS && column.is_uniform());
    let names: Vec<&str> = varying.iter().chain(&common).map(|(name, _)| *name).collect();
    // Unnumbered placeholders: SQLite searches numbered ones linearly, which is quadratic in total.
    let row = format!("({})", vec!["?"; varying.len()].join(","));
    let mut selected: Vec<String> = (1..=varying.len()).map(|n| format!("column{n}")).collect();
    selected.resize(names.len(), "?".to_owned());
    let tail = format!("{}SELECT {} FROM listed", head(table, &names), selected.join(","));
    let mut varying: Vec<_> = varying.into_iter().map(|(_, column)| column.into_values()).collect();
    let common: Vec<Value> =
        common.into_iter().filter_map(|(_, column)| column.into_values().next()).collect();
    while left > 0 {
        let rows = left.min(bulk);
        let mut sql = Sql::new(Kind::Sqlite, "WITH listed AS (VALUES ");
        sql.push(&vec![row.as_str(); rows].join(",")).push(") ").push(&tail);
        for _ in 0..rows {
            for column in &mut varying {
                sql = sql.bind(column.next().expect("all columns are equally long"));
            }
        }
        sql = common.iter().cloned().fold(sql, Sql::bind);
        session.run(sql).await?;
        left -= rows;
    }
    Ok(())
}

async fn insert_unnested(
    session: &mut Session,
    table: &str,
    columns: Vec<(&'static str, Column)>,
    bulk: usize,
) -> Result<(), StoreError> {
    let (names, mut columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let head = head(table, &names);
    while columns.first().map_or(0, Column::len) > 0 {
        let mut sql = Sql::new(Kind::Postgres, head.as_str());
        // Arrays keep the statement's text the same for any number of rows, so it is prepared once.
        sql.push("SELECT * FROM UNNEST(");
        for (n, column) in columns.iter_mut().enumerate() {
            let (list, cast) = column.take_front(bulk);
            sql.push(if n == 0 { "" } else { ", " }).arg(list).push(cast);
        }
        sql.push(")");
        session.run(sql).await?;
    }
    Ok(())
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Ints(list) => list.len(),
            Self::MaybeInts(list) => list.len(),
            Self::Reals(list) => list.len(),
            Self::Bools(list) => list.len(),
            Self::Texts(list) => list.len(),
            Self::Shared(list) => list.len(),
            Self::Blobs(list) => list.len(),
        }
    }

    /// Whether all rows have the same value.
    fn is_uniform(&self) -> bool {
        fn same<T: PartialEq>(list: &[T]) -> bool {
            list.windows(2).all(|two| two[0] == two[1])
        }
        match self {
            Self::Ints(list) => same(list),
            Self::MaybeInts(list) => same(list),
            Self::Reals(list) => same(list),
            Self::Bools(list) => same(list),
            Self::Texts(list) => same(list),
            Self::Shared(list) => same(list),
            Self::Blobs(list) => same(list),
        }
    }

    fn into_values(self) -> Box<dyn Iterator<Item = Value> + Send> {
        match self {
            Self::Ints(list) => Box::new(list.into_iter().map(Value::from)),
            Self::MaybeInts(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Reals(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Bools(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Texts(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Shared(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Blobs(list) => Box::new(list.into_iter().map(Value::from)),
        }
    }

    fn take_front(&mut self, rows: usize) -> (Value, &'static str) {
        fn front<T>(list: &mut Vec<T>, rows: usize) -> Vec<T> {
            let rest = list.split_off(rows.min(list.len()));
            std::mem::replace(list, rest)
        }
        match self {
            // With casts, as `UNNEST` cannot infer the type of a parameter.
            Self::Ints(list) => (Value::Ints(front(list, rows)), "::bigint[]"),
            Self::MaybeInts(list) => (Value::MaybeInts(front(list, rows)), "::bigint[]"),
            Self::Reals(list) => (Value::Reals(front(list, rows)), "::double precision[]"),
            Self::Bools(list) => (Value::Bools(front(list, rows)), "::boolean[]"),
            Self::Texts(list) => (Value::Texts(front(list, rows)), "::text[]"),
            Self::Shared(list) => {
                let texts = front(list, rows).iter().map(|text| text.as_ref().to_owned()).collect();
                (Value::Texts(texts), "::text[]")
            }
            Self::Blobs(list) => (Value::Blobs(front(list, rows)), "::bytea[]"),
        }
    }
}
