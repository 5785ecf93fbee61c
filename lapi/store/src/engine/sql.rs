//! A statement with its parameters. Values are always bound, never formatted into the text.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Real(f64),
    Bool(bool),
    Text(Option<String>),
    Shared(Arc<str>),
    Bytes(Option<Vec<u8>>),
    /// Arrays exist in PostgreSQL only; SQLite gets them as JSON text.
    Ints(Vec<i64>),
    MaybeInts(Vec<Option<i64>>),
    Reals(Vec<f64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    Blobs(Vec<Option<Vec<u8>>>),
}

/// A statement under construction. `$1`, `$2`, … refer to the values in the order they are bound.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    kind: Kind,
    text: String,
    values: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), values: Vec::new() }
    }

    /// Binds the next value, whose placeholder is in the text already.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a placeholder and binds its value.
    pub(crate) fn arg(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Appends ` IN (ids)`; the text does not depend on their number.
    pub(crate) fn in_ints(&mut self, ids: &[i64]) -> &mut Self {
        match self.kind {
            // One parameter for any number of ids, so that the prepared statement can be reused.
            Kind::Postgres => self.push(" = ANY(").arg(Value::Ints(ids.to_vec())).push(")"),
            Kind::Sqlite => {
                let json = serde_json::to_string(ids).expect("numbers are JSON");
                self.push(" IN (SELECT value FROM json_each(").arg(json).push("))")
            }
        }
    }

    /// Appends ` IN (texts)`.
    pub(crate) fn in_texts(&mut self, texts: &[String]) -> &mut Self {
        match self.kind {
            Kind::Postgres => self.push(" = ANY(").arg(Value::Texts(texts.to_vec())).push(")"),
            Kind::Sqlite => {
                let json = serde_json::to_string(texts).expect("texts are JSON");
                self.push(" IN (SELECT value FROM json_each(").arg(json).push("))")
            }
        }
    }

    /// Appends ` IN (byte strings)`.
    pub(crate) fn in_bytes(&mut self, list: Vec<Vec<u8>>) -> &mut Self {
        match self.kind {
            Kind::Postgres => {
                // JSON, which SQLite would get otherwise, has no byte strings.
                let list = list.into_iter().map(Some).collect();
                self.push(" = ANY(").arg(Value::Blobs(list)).push(")")
            }
            // Few values (a prefix has at most 128 shorter ones): one placeholder each.
            Kind::Sqlite => {
                self.push(" IN (");
                for (n, bytes) in list.into_iter().enumerate() {
                    self.push(if n == 0 { "" } else { "," }).arg(bytes);
                }
                self.push(")")
            }
        }
    }

    pub(super) fn into_parts(self) -> (String, Vec<Value>) {
        (self.text, self.values)
    }
}

/// Rows as a JSON array, for SQLite's `json_each`.
pub(crate) fn json<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> String {
    serde_json::to_string(&rows.collect::<Vec<T>>()).expect("numbers and texts are JSON")
}

pub(super) fn bind_sqlite(
    query: Query<'static, Sqlite, SqliteArguments>,
    value: Value,
) -> Query<'static, Sqlite, SqliteArguments> {
    match value {
        Value::Int(number) => query.bind(number),
        Value::Real(number) => query.bind(number),
        Value::Bool(flag) => query.bind(flag),
        Value::Text(text) => query.bind(text.map(without_nul)),
        Value::Shared(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Ints(_)
        | Value::MaybeInts(_)
        | Value::Reals(_)
        | Value::Bools(_)
        | Value::Texts(_)
        | Value::Blobs(_) => unreachable!("lists are written as JSON for SQLite"),
    }
}

pub(super) fn bind_postgres(
    query: Query<'static, Postgres, PgArguments>,
    value: Value,
) -> Query<'static, Postgres, PgArguments> {
    match value {
        Value::Int(number) => query.bind(number),
        Value::Real(number) => query.bind(number),
        Value::Bool(flag) => query.bind(flag),
        Value::Text(text) => query.bind(text.map(without_nul)),
        Value::Shared(text) => query.bind(without_nul(text.as_ref().to_owned())),
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Ints(list) => query.bind(list),
        Value::MaybeInts(list) => query.bind(list),
        Value::Reals(list) => query.bind(list),
        Value::Bools(list) => query.bind(list),
        Value::Texts(list) => query.bind(list.into_iter().map(without_nul).collect::<Vec<_>>()),
        Value::Blobs(list) => query.bind(list),
    }
}

/// PostgreSQL texts cannot contain NUL; one would make the whole batch fail. The same on SQLite, so that a text has one form.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes)
    }
}
