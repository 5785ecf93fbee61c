//! Bouncers: their keys, stream cursors, and the rows that share a key.

mod instances;
mod rows;

use palisade_model::Commit;
use palisade_wire::UnixMillis;
use sha2::{Digest as _, Sha512};

pub use instances::{BouncerInstance, InstanceReport};
pub(crate) use rows::newer;
use rows::{
    COLUMNS, by_name, created_for, insert, merged, operators_with_key, read_bouncer, record_pulls, update,
};

use crate::{Store, StoreError};

/// SHA-512 of a bouncer's key in lower-case hexadecimal, the form in which keys are stored.
pub fn hash_key(key: &[u8]) -> String {
    Sha512::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A bouncer row. Several rows may share a key: the one an operator created, and one for each further address that used
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bouncer {
    /// Row id.
    pub id: i64,
    /// Unique; `NAME@ADDRESS` for rows created by the LAPI.
    pub name: String,
    /// SHA-512 of the key in hexadecimal; empty for bouncers with certificates.
    pub key_hash: String,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When its row was last written.
    pub updated_at: UnixMillis,
    /// Shown to operators, never checked.
    pub revoked: bool,
    /// The address of its requests; empty before the first.
    pub ip: String,
    /// The User-Agent before the slash.
    pub kind: String,
    /// The User-Agent after the slash.
    pub version: String,
    /// When it last requested decisions: shown to operators, and used for pruning.
    pub last_pull: Option<UnixMillis>,
    /// Stream cursor: the commit and time of its last complete stream; `None` for a bouncer that never had one or keeps
    /// its own cursor.
    pub cursor: Option<(Commit, UnixMillis)>,
    /// `api-key` or `tls`.
    pub auth_type: String,
    /// Name of its operating system.
    pub os_name: String,
    /// Family of its operating system.
    pub os_family: String,
    /// Version of its operating system.
    pub os_version: String,
    /// Its feature flags, joined by commas.
    pub feature_flags: String,
    /// Whether the LAPI created it, not an operator.
    pub auto_created: bool,
}

/// A bouncer to create.
#[derive(Debug, Clone, Default)]
pub struct NewBouncer {
    /// Its name.
    pub name: String,
    /// SHA-512 of the key in hexadecimal; empty with certificates.
    pub key_hash: String,
    /// `api-key` or `tls`.
    pub auth_type: String,
    /// The address of its requests; empty when unknown.
    pub ip: String,
    /// Whether the LAPI creates it, not an operator.
    pub auto_created: bool,
}

/// An update of a bouncer; `None` leaves a column unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BouncerUpdate {
    /// Row id.
    pub id: i64,
    /// When it last requested decisions.
    pub last_pull: Option<UnixMillis>,
    /// When it last sent an authenticated request.
    pub last_seen: Option<UnixMillis>,
    /// The commit of its last complete stream, and the time at its start.
    pub cursor: Option<(Commit, UnixMillis)>,
    /// The address of its last request.
    pub ip: Option<String>,
    /// The User-Agent before the slash.
    pub kind: Option<String>,
    /// The User-Agent after the slash.
    pub version: Option<String>,
    /// Its operating system: name, family, version.
    pub os: Option<(String, String, String)>,
    /// Its feature flags, joined by commas.
    pub feature_flags: Option<String>,
}

/// The result of `bouncers delete NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BouncerDeletion {
    /// The rows are deleted.
    Deleted {
        /// The named row first, then those that shared its key.
        names: Vec<String>,
        /// Other bouncers to which an operator gave the same key; it stays valid through them.
        same_key: Vec<String>,
    },
    /// The row shares another bouncer's key and is deleted only together with it.
    AutoCreated {
        /// The bouncer to delete instead.
        parent: String,
    },
}

/// A bouncer's name without all trailing `@ADDRESS` parts.
pub fn base_name(name: &str) -> &str {
    let mut base = name;
    // Only addresses are cut off: an operator may have named a bouncer `web@dc1`.
    while let Some((front, address)) = base.rsplit_once('@') {
        if address.parse::<std::net::IpAddr>().is_err() {
            break;
        }
        base = front;
    }
    base
}

impl Store {
    /// Creates a bouncer.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; otherwise when the database fails.
    pub async fn create_bouncer(&self, now: UnixMillis, bouncer: NewBouncer) -> Result<Bouncer, StoreError> {
        self.writer
            .write("create a bouncer", move |tx| {
                Box::pin(async move {
                    if by_name(tx.session(), &bouncer.name).await?.is_some() {
                        return Err(StoreError::Exists { kind: "bouncer", name: bouncer.name });
                    }
                    insert(tx, now, bouncer).await
                })
            })
            .await
    }

    /// The row for another address that uses a key: `BASE@IP`, created if missing. A row of that name which was created
    /// automatically for an earlier key is taken over.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when an operator gave that name to another key; otherwise when the database fails.
    pub async fn bouncer_at(
        &self,
        now: UnixMillis,
        parent: &str,
        auth_type: &str,
        key_hash: &str,
        ip: &str,
    ) -> Result<Bouncer, StoreError> {
        let new = NewBouncer {
            name: format!("{}@{ip}", base_name(parent)),
            key_hash: key_hash.to_owned(),
            auth_type: auth_type.to_owned(),
            // Later requests from this address find the row by it.
            ip: ip.to_owned(),
            auto_created: true,
        };
        self.writer
            .write("create a bouncer", move |tx| {
                Box::pin(async move {
                    // Writes are serialised: a concurrent request finds the first one's row here.
                    let Some(there) = by_name(tx.session(), &new.name).await? else {
                        return insert(tx, now, new).await;
                    };
                    if there.key_hash == new.key_hash && there.auth_type == new.auth_type {
                        return Ok(there);
                    }
                    if !there.auto_created {
                        return Err(StoreError::Exists { kind: "bouncer", name: new.name });
                    }
                    // A new id: pending updates of other LAPIs for the old row must not apply to this one.
                    let session = tx.session();
                    let sql = session.sql("DELETE FROM bouncers WHERE id = $1").bind(there.id);
                    session.run(sql).await?;
                    insert(tx, now, new).await
                })
            })
            .await
    }

    /// Sets the address of an unused row at its first use. `None` when the row does not exist, or has an address
    /// already because another request was faster.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn adopt_bouncer(
        &self,
        now: UnixMillis,
        id: i64,
        ip: &str,
    ) -> Result<Option<Bouncer>, StoreError> {
        let ip = ip.to_owned();
        self.writer
            .write("set a bouncer's address", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    let text = format!(
                        // The condition decides in the database, because two LAPIs may see the unused row at the same
                        // time.
                        "UPDATE bouncers SET ip = $1, updated_at = $2 WHERE id = $3 AND ip = '' RETURNING {COLUMNS}"
                    );
                    let sql = session.sql(&text).bind(ip).bind(now.0).bind(id);
                    let adopted = session.first(sql, read_bouncer).await?;
                    if adopted.is_some() {
                        tx.bump_registry_version();
                    }
                    Ok(adopted)
                })
            })
            .await
    }

    /// The bouncer of this name.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bouncer(&self, name: &str) -> Result<Option<Bouncer>, StoreError> {
        let mut session = self.snapshot("read a bouncer").await?;
        by_name(&mut session, name).await
    }

    /// All bouncers in order of creation.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bouncers(&self) -> Result<Vec<Bouncer>, StoreError> {
        let mut session = self.snapshot("read the bouncers").await?;
        let sql = session.sql(&format!("SELECT {COLUMNS} FROM bouncers ORDER BY id"));
        session.read(sql, read_bouncer).await
    }

    /// Deletes a bouncer. Deleting one that an operator created also deletes the rows that were created automatically
    /// for its name or key; such a row is not deleted alone, unless no row of an operator has its key any more: then all
    /// rows of the key are deleted. Rows with certificates always are deleted alone.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; otherwise when the database fails.
    pub async fn delete_bouncer(&self, name: &str) -> Result<BouncerDeletion, StoreError> {
        let name = name.to_owned();
        self.writer
            .write("delete a bouncer", move |tx| {
                Box::pin(async move {
                    let session = tx.session();
                    let Some(bouncer) = by_name(session, &name).await? else {
                        return Err(StoreError::NotFound { kind: "bouncer", name });
                    };
                    let same_key = operators_with_key(session, &bouncer).await?;
                    // As in the stock server: its next request would create the row again.
                    if bouncer.auto_created
                        && let Some(parent) = same_key.first()
                    {
                        return Ok(BouncerDeletion::AutoCreated { parent: parent.clone() });
                    }
                    let mut names = vec![name];
                    names.extend(created_for(session, &bouncer, same_key.is_empty()).await?);
                    let mut sql = session.sql("DELETE FROM bouncers WHERE name");
                    sql.in_texts(&names);
                    session.run(sql).await?;
                    tx.bump_registry_version();
                    Ok(BouncerDeletion::Deleted { names, same_key })
                })
            })
            .await
    }

    /// Deletes bouncers by row id, including those created by the LAPI; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn delete_bouncers(&self, ids: &[i64]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.writer
            .write("delete bouncers", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let mut sql = session.sql("DELETE FROM bouncers WHERE id");
                    sql.in_ints(&ids);
                    session.run(sql).await
                })
            })
            .await
    }

    /// The bouncers that `bouncers prune` would delete: last pull (or, without one, creation) and last request before
    /// `cutoff`. The row that an operator created stays while its key is in use at another address: without it nobody
    /// would know whose key that is.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn idle_bouncers(&self, cutoff: UnixMillis) -> Result<Vec<Bouncer>, StoreError> {
        let mut session = self.snapshot("find idle bouncers").await?;
        let text = format!(
            "SELECT {COLUMNS} FROM bouncers b \
             WHERE COALESCE(last_pull, created_at) < $1 AND COALESCE(last_seen, created_at) < $1 \
             AND (auto_created OR NOT EXISTS (SELECT 1 FROM bouncers o \
             WHERE o.key_hash = b.key_hash AND o.key_hash <> '' AND o.auto_created \
             AND (COALESCE(o.last_pull, o.created_at) >= $1 OR COALESCE(o.last_seen, o.created_at) >= $1))) \
             ORDER BY id"
        );
        let sql = session.sql(&text).bind(cutoff.0);
        session.read(sql, read_bouncer).await
    }

    /// Applies updates of bouncers in one transaction. Deleted rows are skipped, as are times and cursors older than
    /// the stored ones: another LAPI may have written newer ones. Does not change the registry version.
    ///
    /// # Errors
    ///
    /// When the database fails; nothing is written then.
    pub async fn update_bouncers(
        &self,
        now: UnixMillis,
        updates: Vec<BouncerUpdate>,
    ) -> Result<(), StoreError> {
        if updates.is_empty() {
            return Ok(());
        }
        self.writer
            .write("update bouncers", move |tx| {
                Box::pin(async move {
                    let (pulls, others) = merged(updates);
                    for one in others {
                        update(tx, now, one).await?;
                    }
                    record_pulls(tx, now, pulls).await
                })
            })
            .await
    }
}
