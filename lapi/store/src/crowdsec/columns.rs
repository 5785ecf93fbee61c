//! Reads columns of CrowdSec's tables by name: their order and number differ between versions, and between a new and an
//! upgraded database.

use jiff::civil::DateTime;
use palisade_wire::UnixMillis;
use sqlx::Error;

use crate::engine::{Kind, SqlRow};

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    Text,
    Int,
    Flag,
    Real,
    /// An instant with its fraction, as text.
    Time,
}

/// The columns of a `SELECT`, as expressions of a type that both drivers read. A column that the table has not got is
/// NULL.
pub(super) fn list(kind: Kind, has: impl Fn(&str) -> bool, wanted: &[(&str, As)]) -> String {
    let expression = |&(name, read): &(&str, As)| {
        if !has(name) {
            return "NULL".to_owned();
        }
        match (kind, read) {
            // As bytes, because a text in SQLite need not be UTF-8.
            (Kind::Sqlite, As::Text | As::Time) => format!("CAST(\"{name}\" AS BLOB)"),
            (Kind::Sqlite, As::Int | As::Flag) => format!("CAST(\"{name}\" AS INTEGER)"),
            (Kind::Sqlite, As::Real) => format!("CAST(\"{name}\" AS REAL)"),
            (Kind::Postgres, As::Text) => format!("CAST(\"{name}\" AS TEXT)"),
            (Kind::Postgres, As::Int) => format!("CAST(\"{name}\" AS BIGINT)"),
            (Kind::Postgres, As::Flag) => format!("CAST(CAST(\"{name}\" AS INTEGER) AS BIGINT)"),
            (Kind::Postgres, As::Real) => format!("CAST(\"{name}\" AS DOUBLE PRECISION)"),
            (Kind::Postgres, As::Time) => {
                format!("to_char(\"{name}\" AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            }
        }
    };
    wanted.iter().map(expression).collect::<Vec<_>>().join(", ")
}

/// The fields of a row, in the order of [`list`].
pub(super) struct Fields<'r> {
    row: &'r SqlRow,
    next: usize,
}

impl<'r> Fields<'r> {
    pub(super) fn new(row: &'r SqlRow) -> Self {
        Self { row, next: 0 }
    }

    fn column(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// NULL is an empty text. NUL, which PostgreSQL cannot store, and bytes that are not UTF-8 are replaced.
    pub(super) fn text(&mut self) -> Result<String, Error> {
        let column = self.column();
        let text = match self.row {
            SqlRow::Sqlite(_) => {
                let bytes: Option<Vec<u8>> = self.row.get(column)?;
                let bytes = bytes.unwrap_or_default();
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
            SqlRow::Postgres(_) => self.row.get::<Option<String>>(column)?.unwrap_or_default(),
        };
        Ok(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text })
    }

    /// NULL is `None`.
    pub(super) fn int(&mut self) -> Result<Option<i64>, Error> {
        let column = self.column();
        self.row.get(column)
    }

    /// NULL is false.
    pub(super) fn flag(&mut self) -> Result<bool, Error> {
        Ok(self.int()?.unwrap_or(0) != 0)
    }

    /// NULL is zero.
    pub(super) fn real(&mut self) -> Result<f64, Error> {
        let column = self.column();
        Ok(self.row.get::<Option<f64>>(column)?.unwrap_or(0.0))
    }

    /// In UTC. NULL, and what is no time, is `None`.
    pub(super) fn instant(&mut self) -> Result<Option<DateTime>, Error> {
        Ok(palisade_go_compat::parse_rfc3339(&with_t(self.text()?)))
    }

    /// The same in milliseconds.
    pub(super) fn time(&mut self) -> Result<Option<UnixMillis>, Error> {
        Ok(UnixMillis::parse_rfc3339(&with_t(self.text()?)))
    }
}

/// `YYYY-MM-DD hh:mm:ss[.fraction]±hh:mm` with a `T` for the blank. The zone is the one that the client sent: these texts
/// cannot be compared.
fn with_t(text: String) -> String {
    text.replacen(' ', "T", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_zone_and_fraction() {
        for (text, utc) in [
            ("2056-11-18 15:49:38.123456789+02:00", Some("2056-11-18T13:49:38.123456789")),
            ("2056-11-18 13:49:38+00:00", Some("2056-11-18T13:49:38")),
            ("2056-11-18T13:49:38.000000Z", Some("2056-11-18T13:49:38")),
            ("2026-11-26 14:10:13.96780992-05:30", Some("2026-11-26T19:40:13.96780992")),
            ("", None),
            ("soon", None),
            ("2026-13-26 14:10:13+00:00", None),
        ] {
            let parsed = palisade_go_compat::parse_rfc3339(&with_t(text.to_owned()));
            assert_eq!(parsed.map(|moment| moment.to_string()).as_deref(), utc, "{text}");
        }
    }

    #[test]
    fn absent_columns_are_null() {
        let wanted = [("id", As::Int), ("uuid", As::Text)];
        let list = list(Kind::Sqlite, |name| name == "id", &wanted);
        assert_eq!(list, "CAST(\"id\" AS INTEGER), NULL");
    }
}
