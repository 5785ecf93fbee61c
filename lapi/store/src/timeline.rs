//! Timelines: which history the commit numbers belong to.

use palisade_model::{Commit, Timeline};
use palisade_wire::UnixMillis;

use crate::engine::{Session, Tx, Work};
use crate::{Store, StoreError};

/// How long timelines are kept: well beyond the age of any valid cursor.
const RETENTION_MILLIS: i64 = 7 * 24 * 3600 * 1000;
/// Maximum number of timelines: frequent restarts must not fill the table.
const MAX_TIMELINES: i64 = 1000;

const DOING: &str = "begin a timeline";

impl Store {
    /// Begins a timeline at the last commit. `token` must be random.
    ///
    /// # Errors
    ///
    /// When the database fails. If that is temporary, the timeline begins before the next write that succeeds.
    pub async fn begin_timeline(&self, now: UnixMillis, token: u64) -> Result<(), StoreError> {
        let make = move || insert(now, token);
        let begun = self.writer.write(DOING, make()).await;
        if let Err(error) = &begun
            && error.is_temporary()
        {
            self.writer.retry_first(DOING, make);
        }
        begun
    }

    /// The timelines, oldest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn timelines(&self) -> Result<Vec<Timeline>, StoreError> {
        let mut session = self.snapshot("read the timelines").await?;
        read(&mut session).await
    }
}

/// The write that begins a timeline.
fn insert(now: UnixMillis, token: u64) -> impl for<'t> FnOnce(&'t mut Tx) -> Work<'t, ()> + Send + 'static {
    move |tx| {
        Box::pin(async move {
            // Other LAPIs must see the new timeline.
            tx.bump_registry_version();
            let commit = tx.last_commit();
            let session = tx.session();
            let sql = session
                .sql("INSERT INTO lineages (token, commit_no, begun_at) VALUES ($1, $2, $3)")
                // A bit pattern: neither database has unsigned integers.
                .bind(token.cast_signed())
                .bind(crate::decisions::number(commit))
                .bind(now.0);
            session.run(sql).await?;
            let sql = session
                .sql(
                    // Never the latest one, which is in use however long the LAPI has been running.
                    "DELETE FROM lineages WHERE id < (SELECT MAX(id) FROM lineages) AND (begun_at < $1 \
                     OR id <= (SELECT MAX(id) FROM lineages) - $2)",
                )
                .bind(now.0.saturating_sub(RETENTION_MILLIS))
                .bind(MAX_TIMELINES);
            session.run(sql).await.map(drop)
        })
    }
}

async fn read(session: &mut Session) -> Result<Vec<Timeline>, StoreError> {
    let sql = session.sql("SELECT token, commit_no FROM lineages ORDER BY id");
    session
        .read(sql, |row| {
            let (token, commit): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Timeline { token: token.cast_unsigned(), from: Commit(commit.unsigned_abs()) })
        })
        .await
}
