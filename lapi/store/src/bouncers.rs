//! Bouncers: who may read decisions, how far each has read, and the rows that share a key.

use palisade_active::Commit;
use palisade_wire::UnixMillis;

use crate::{Store, StoreError};

/// A bouncer as it is stored. Several rows may share a key: the one an operator made, and one for each further
/// address that used it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bouncer {
    /// Its row's number.
    pub id: i64,
    /// Its name, unique; `NAME@ADDRESS` for rows made by themselves.
    pub name: String,
    /// SHA-512 of the key, in hex; empty for bouncers with certificates.
    pub key_hash: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When its row was last written.
    pub updated_at: UnixMillis,
    /// Shown, never checked.
    pub revoked: bool,
    /// The address it uses; empty before its first use.
    pub ip: String,
    /// The User-Agent before the slash.
    pub kind: String,
    /// The User-Agent after the slash.
    pub version: String,
    /// The time up to which it has been told: the start of its last complete stream.
    pub last_pull: Option<UnixMillis>,
    /// The commit up to which it has been told.
    pub cursor_commit: Option<Commit>,
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
    /// Made by the LAPI and not by an operator.
    pub auto_created: bool,
}

/// A bouncer to be made.
#[derive(Debug, Clone, Default)]
pub struct NewBouncer {
    /// Its name.
    pub name: String,
    /// SHA-512 of the key, in hex; empty with certificates.
    pub key_hash: String,
    /// `api-key` or `tls`.
    pub auth_type: String,
    /// The address it uses; empty when unknown.
    pub ip: String,
    /// Made by the LAPI and not by an operator.
    pub auto_created: bool,
}

/// What is to be written about a bouncer; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BouncerUpdate {
    /// The bouncer's row.
    pub id: i64,
    /// When its last complete stream began.
    pub last_pull: Option<UnixMillis>,
    /// How far that stream went.
    pub cursor_commit: Option<Commit>,
    /// Where it came from.
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

/// What came of `bouncers delete NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BouncerDeletion {
    /// These are gone: the one named first, then the rows that shared its key.
    Deleted(Vec<String>),
    /// It shares the key of another and goes only together with it.
    AutoCreated {
        /// Which one to delete instead.
        parent: String,
    },
}

/// A bouncer's name without all the `@ADDRESS` at its end.
pub fn base_name(name: &str) -> &str {
    let mut base = name;
    while let Some((front, address)) = base.rsplit_once('@') {
        if address.parse::<std::net::IpAddr>().is_err() {
            break;
        }
        base = front;
    }
    base
}

impl Store {
    /// Makes a bouncer.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; else when the database fails.
    pub async fn create_bouncer(&self, now: UnixMillis, bouncer: NewBouncer) -> Result<Bouncer, StoreError> {
        let _ = (now, bouncer);
        todo!()
    }

    /// The row for one more address that uses a key: `BASE@IP`, made when it is missing, the existing one when
    /// another request was faster. A row of that name that was made by itself for an earlier key is taken over.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when an operator gave that name to another key; else when the database fails.
    pub async fn bouncer_at(
        &self,
        now: UnixMillis,
        parent: &str,
        key_hash: &str,
        ip: &str,
    ) -> Result<Bouncer, StoreError> {
        let _ = (now, parent, key_hash, ip);
        todo!()
    }

    /// The bouncer of that name.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bouncer(&self, name: &str) -> Result<Option<Bouncer>, StoreError> {
        let _ = name;
        todo!()
    }

    /// All bouncers, in the order they were made.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bouncers(&self) -> Result<Vec<Bouncer>, StoreError> {
        todo!()
    }

    /// The bouncers with that key, in the order they were made.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bouncers_by_key(&self, key_hash: &str) -> Result<Vec<Bouncer>, StoreError> {
        let _ = key_hash;
        todo!()
    }

    /// Deletes a bouncer by the rule for shared keys: one that an operator made takes the rows `NAME@…` that made
    /// themselves with it; such a row alone is not deleted; rows with certificates always are.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; else when the database fails.
    pub async fn delete_bouncer(&self, name: &str) -> Result<BouncerDeletion, StoreError> {
        let _ = name;
        todo!()
    }

    /// Deletes bouncers by their rows' numbers, whatever made them; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn delete_bouncers(&self, ids: &[i64]) -> Result<u64, StoreError> {
        let _ = ids;
        todo!()
    }

    /// The bouncers that `bouncers prune` would delete: last pull before `cutoff`, or none and made before it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn idle_bouncers(&self, cutoff: UnixMillis) -> Result<Vec<Bouncer>, StoreError> {
        let _ = cutoff;
        todo!()
    }

    /// Writes what was learned about bouncers, in one transaction. Rows that are gone are passed over. Does not
    /// count as a change of the roster.
    ///
    /// # Errors
    ///
    /// When the database fails; then nothing was written.
    pub async fn update_bouncers(
        &self,
        now: UnixMillis,
        updates: Vec<BouncerUpdate>,
    ) -> Result<(), StoreError> {
        let _ = (now, updates);
        todo!()
    }
}
