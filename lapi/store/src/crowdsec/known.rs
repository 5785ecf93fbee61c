//! What earlier imports took, to recognise what came since.

use std::collections::HashMap;

use palisade_wire::UnixMillis;
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::engine::{Session, Tx};

/// Rows that are recognised one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RowKind {
    Machine,
    Bouncer,
    Allowlist,
    Item,
    /// One row: the last id that was taken.
    Usage,
}

impl RowKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Bouncer => "bouncer",
            Self::Allowlist => "allowlist",
            Self::Item => "item",
            Self::Usage => "usage",
        }
    }
}

/// A row that was taken.
#[derive(Debug, Clone)]
pub(super) struct KnownRow {
    /// The id of the row here, which may have been deleted since.
    pub(super) row: i64,
    pub(super) digest: String,
}

/// Ids that were taken together.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: i64,
    last: i64,
    offset: i64,
}

/// Which id here belongs to an id of the source.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    /// The highest id that was taken.
    pub(super) fn last(&self) -> i64 {
        self.0.iter().map(|range| range.last).max().unwrap_or(0)
    }

    pub(super) fn id(&self, source: i64) -> Option<i64> {
        let range = self.0.iter().find(|range| (range.first..=range.last).contains(&source))?;
        Some(source + range.offset)
    }

    async fn read(session: &mut Session, source: &str, kind: &str) -> Result<Self, StoreError> {
        let sql = session
            .sql(
                "SELECT source_first, source_last, id_offset FROM crowdsec_ranges \
                 WHERE source = $1 AND kind = $2 ORDER BY source_first",
            )
            .bind(source)
            .bind(kind);
        let read = |row: &crate::engine::SqlRow| {
            Ok(Range { first: row.get(0)?, last: row.get(1)?, offset: row.get(2)? })
        };
        Ok(Self(session.read(sql, read).await?))
    }

    /// Adds the ids after the last one up to `last`.
    pub(super) async fn extend(
        &mut self,
        tx: &mut Tx,
        source: &str,
        kind: &str,
        last: i64,
        offset: i64,
    ) -> Result<(), StoreError> {
        let range = Range { first: self.last() + 1, last, offset };
        if range.first > range.last {
            return Ok(());
        }
        let session = tx.session();
        let sql = session
            .sql(
                "INSERT INTO crowdsec_ranges (source, kind, source_first, source_last, id_offset) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(source)
            .bind(kind)
            .bind(range.first)
            .bind(range.last)
            .bind(range.offset);
        session.run(sql).await?;
        self.0.push(range);
        Ok(())
    }
}

/// What earlier imports of one source took.
pub(super) struct Known {
    source: String,
    rows: HashMap<RowKind, HashMap<i64, KnownRow>>,
    pub(super) alerts: Ranges,
    pub(super) decisions: Ranges,
}

impl Known {
    pub(super) async fn read(session: &mut Session, source: &str) -> Result<Self, StoreError> {
        let mut rows = HashMap::new();
        for kind in [RowKind::Machine, RowKind::Bouncer, RowKind::Allowlist, RowKind::Item, RowKind::Usage] {
            let sql = session
                .sql("SELECT source_id, row_id, digest FROM crowdsec_rows WHERE source = $1 AND kind = $2")
                .bind(source)
                .bind(kind.as_str());
            let read = |row: &crate::engine::SqlRow| {
                Ok((row.get::<i64>(0)?, KnownRow { row: row.get(1)?, digest: row.get(2)? }))
            };
            rows.insert(kind, session.read(sql, read).await?.into_iter().collect());
        }
        Ok(Self {
            source: source.to_owned(),
            rows,
            alerts: Ranges::read(session, source, "alert").await?,
            decisions: Ranges::read(session, source, "decision").await?,
        })
    }

    /// A row that was taken. What is not asked for by the end was deleted at the source: see [`Known::forgotten`].
    pub(super) fn take(&mut self, kind: RowKind, id: i64) -> Option<KnownRow> {
        self.rows.get_mut(&kind)?.remove(&id)
    }

    /// The rows that were not taken out with [`Known::take`], as (source id, row).
    pub(super) fn forgotten(&mut self, kind: RowKind) -> Vec<(i64, KnownRow)> {
        self.rows.remove(&kind).into_iter().flatten().collect()
    }

    /// Records a row, or its new digest.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        kind: RowKind,
        id: i64,
        row: i64,
        digest: &str,
    ) -> Result<(), StoreError> {
        let session = tx.session();
        let sql = session
            .sql(
                "INSERT INTO crowdsec_rows (source, kind, source_id, row_id, digest) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (source, kind, source_id) DO UPDATE SET row_id = excluded.row_id, \
                 digest = excluded.digest",
            )
            .bind(self.source.as_str())
            .bind(kind.as_str())
            .bind(id)
            .bind(row)
            .bind(digest);
        session.run(sql).await.map(drop)
    }

    pub(super) async fn forget(&self, tx: &mut Tx, kind: RowKind, id: i64) -> Result<(), StoreError> {
        let session = tx.session();
        let sql = session
            .sql("DELETE FROM crowdsec_rows WHERE source = $1 AND kind = $2 AND source_id = $3")
            .bind(self.source.as_str())
            .bind(kind.as_str())
            .bind(id);
        session.run(sql).await.map(drop)
    }

    /// Records that an import is complete.
    pub(super) async fn complete(&self, tx: &mut Tx, now: UnixMillis) -> Result<(), StoreError> {
        let session = tx.session();
        let sql = session
            .sql(
                "INSERT INTO crowdsec_imports (source, imported_at) VALUES ($1, $2) \
                 ON CONFLICT (source) DO UPDATE SET imported_at = excluded.imported_at",
            )
            .bind(self.source.as_str())
            .bind(now.0);
        session.run(sql).await.map(drop)
    }
}

/// A digest by which a change of a row is recognised. Secrets are among the parts, so it is one-way.
pub(super) fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
