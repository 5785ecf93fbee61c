//! Bulk inserts: `VALUES` with placeholders on SQLite, `UNNEST` of arrays on PostgreSQL.

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
    Blobs(Vec<Option<Vec<u8>>>),
}

/// SQLite's limit on parameters per statement.
const MAX_VALUES: usize = 32_766;

/// Inserts rows, at most `bulk` per statement.
pub(crate) async fn insert(
    tx: &mut Tx,
    table: &str,
    columns: Vec<(&'static str, Column)>,
    bulk: usize,
) -> Result<(), StoreError> {
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    // 2000 is the stock server's limit for `decision_bulk_size`.
    let bulk = bulk.clamp(1, 2000).min(MAX_VALUES / names.len());
    let head = format!("INSERT INTO {table} ({}) ", names.join(", "));
    let columns: Vec<Column> = columns.into_iter().map(|(_, column)| column).collect();
    let session = tx.session();
    match session.kind() {
        Kind::Sqlite => insert_values(session, &head, columns, bulk).await,
        Kind::Postgres => insert_unnested(session, &head, columns, bulk).await,
    }
}

async fn insert_values(
    session: &mut Session,
    head: &str,
    columns: Vec<Column>,
    bulk: usize,
) -> Result<(), StoreError> {
    let width = columns.len();
    let mut left = columns.first().map_or(0, Column::len);
    let mut columns: Vec<Box<dyn Iterator<Item = Value> + Send>> =
        columns.into_iter().map(Column::into_values).collect();
    // Unnumbered placeholders: SQLite searches numbered ones linearly, which is quadratic in total.
    let row = format!("({})", vec!["?"; width].join(","));
    while left > 0 {
        let rows = left.min(bulk);
        let mut sql = Sql::new(Kind::Sqlite, head);
        sql.push("VALUES ").push(&vec![row.as_str(); rows].join(","));
        for _ in 0..rows {
            for column in &mut columns {
                sql = sql.bind(column.next().expect("all columns are equally long"));
            }
        }
        session.run(sql).await?;
        left -= rows;
    }
    Ok(())
}

async fn insert_unnested(
    session: &mut Session,
    head: &str,
    mut columns: Vec<Column>,
    bulk: usize,
) -> Result<(), StoreError> {
    while columns.first().map_or(0, Column::len) > 0 {
        let mut sql = Sql::new(Kind::Postgres, head);
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
            Self::Blobs(list) => list.len(),
        }
    }

    fn into_values(self) -> Box<dyn Iterator<Item = Value> + Send> {
        match self {
            Self::Ints(list) => Box::new(list.into_iter().map(Value::from)),
            Self::MaybeInts(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Reals(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Bools(list) => Box::new(list.into_iter().map(Value::from)),
            Self::Texts(list) => Box::new(list.into_iter().map(Value::from)),
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
            Self::Blobs(list) => (Value::Blobs(front(list, rows)), "::bytea[]"),
        }
    }
}
