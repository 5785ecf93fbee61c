//! Persistent settings of the server itself: table `config_items`.

use palisade_wire::UnixMillis;

use crate::engine::Session;
use crate::{Store, StoreError};

async fn read(session: &mut Session, name: &str) -> Result<Option<String>, StoreError> {
    let sql = session.sql("SELECT value FROM config_items WHERE name = $1").bind(name);
    session.first(sql, |row| row.get(0)).await
}

impl Store {
    /// The value of a setting.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut session = self.snapshot("read a setting").await?;
        read(&mut session, name).await
    }

    /// The value of a setting, set to `value` if missing. Concurrent callers get the same value.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn setting_or_insert(
        &self,
        now: UnixMillis,
        name: &str,
        value: &str,
    ) -> Result<String, StoreError> {
        // Nothing is written that is there, so that this works while the database is read-only.
        if let Some(there) = self.setting(name).await? {
            return Ok(there);
        }
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer
            .write("store a setting", move |tx| {
                Box::pin(async move {
                    // In the writing transaction, which excludes all other writers on the database.
                    if let Some(there) = read(tx.session(), &name).await? {
                        return Ok(there);
                    }
                    let session = tx.session();
                    let sql = session
                        .sql("INSERT INTO config_items (name, value, updated_at) VALUES ($1, $2, $3)")
                        .bind(name)
                        .bind(value.clone())
                        .bind(now.0);
                    session.run(sql).await?;
                    Ok(value)
                })
            })
            .await
    }
}
