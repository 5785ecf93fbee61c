//! Usage metrics posted by bouncers and log processors.

use palisade_wire::UnixMillis;

use crate::{Store, StoreError};

impl UsageKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::RemediationComponent => "RC",
            Self::LogProcessor => "LP",
        }
    }
}

/// The kind of sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageKind {
    /// A bouncer, `RC`.
    RemediationComponent,
    /// A machine, `LP`.
    LogProcessor,
}

/// A usage report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The kind of sender.
    pub kind: UsageKind,
    /// The bouncer's or machine's name.
    pub producer: String,
    /// When it was received.
    pub received_at: UnixMillis,
    /// JSON: `metrics`, and `type` for bouncers.
    pub payload: String,
}

impl Store {
    /// Stores a report.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn add_usage(&self, row: UsageRow) -> Result<(), StoreError> {
        self.writer
            .write("store usage metrics", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    let sql = session
                        .sql(
                            "INSERT INTO usage_metrics (generated_type, generated_by, received_at, payload) \
                             VALUES ($1, $2, $3, $4)",
                        )
                        .bind(row.kind.as_str())
                        .bind(row.producer)
                        .bind(row.received_at.0)
                        .bind(row.payload);
                    session.run(sql).await.map(drop)
                })
            })
            .await
    }

    /// The reports of one kind, optionally of one sender, in order of arrival.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn usage(&self, kind: UsageKind, producer: Option<&str>) -> Result<Vec<UsageRow>, StoreError> {
        let mut session = self.snapshot("read usage metrics").await?;
        let mut sql = session
            .sql("SELECT generated_by, received_at, payload FROM usage_metrics WHERE generated_type = ");
        sql.arg(kind.as_str());
        if let Some(producer) = producer {
            sql.push(" AND generated_by = ").arg(producer);
        }
        sql.push(" ORDER BY received_at, id");
        session
            .read(sql, |row| {
                Ok(UsageRow {
                    kind,
                    producer: row.get(0)?,
                    received_at: UnixMillis(row.get(1)?),
                    payload: row.get(2)?,
                })
            })
            .await
    }
}
