//! Machines: log processors and administrators that may post alerts.

mod password;
mod rows;

pub use self::password::{MAX_PASSWORD_BYTES, has_other_cost, hash_password, password_matches};

use palisade_wire::UnixMillis;

use rows::{COLUMNS, by_name, missing, read_machine, update};

use crate::{Store, StoreError};

/// A machine row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Row id.
    pub id: i64,
    /// Unique (`machine_id` on the wire).
    pub name: String,
    /// bcrypt hash; empty for machines with certificates.
    pub password: String,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When its row was last written.
    pub updated_at: UnixMillis,
    /// When it last posted alerts.
    pub last_push: Option<UnixMillis>,
    /// The time of its last heartbeat.
    pub last_heartbeat: Option<UnixMillis>,
    /// The address of its last login.
    pub ip: String,
    /// The scenarios it runs, joined by commas.
    pub scenarios: String,
    /// Its version.
    pub version: String,
    /// Whether it may log in.
    pub validated: bool,
    /// `password` or `tls`.
    pub auth_type: String,
    /// Name of its operating system.
    pub os_name: String,
    /// Family of its operating system.
    pub os_family: String,
    /// Version of its operating system.
    pub os_version: String,
    /// Its feature flags, joined by commas.
    pub feature_flags: String,
    /// Installed hub items, the JSON of its reports (`hub_items`); empty without a report.
    pub hub_state: String,
    /// Data sources, the JSON of its reports; empty without a report.
    pub datasources: String,
}

/// A machine to create.
#[derive(Debug, Clone, Default)]
pub struct NewMachine {
    /// Its name.
    pub name: String,
    /// bcrypt hash; empty with certificates.
    pub password: String,
    /// `password` or `tls`.
    pub auth_type: String,
    /// Whether it may log in immediately.
    pub validated: bool,
    /// The address of the registration; may be empty.
    pub ip: String,
}

/// An update of a machine; `None` leaves a column unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineUpdate {
    /// Row id.
    pub id: i64,
    /// The address of its last login.
    pub ip: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its scenarios, joined by commas.
    pub scenarios: Option<String>,
    /// The time of a heartbeat.
    pub last_heartbeat: Option<UnixMillis>,
    /// The time of an authenticated request.
    pub last_seen: Option<UnixMillis>,
    /// The time it posted alerts.
    pub last_push: Option<UnixMillis>,
    /// Its operating system: name, family, version.
    pub os: Option<(String, String, String)>,
    /// Its feature flags, joined by commas.
    pub feature_flags: Option<String>,
    /// Installed hub items as JSON.
    pub hub_state: Option<String>,
    /// Data sources as JSON.
    pub datasources: Option<String>,
}

impl Store {
    /// Creates a machine; its `last_push` is `now`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; otherwise when the database fails.
    pub async fn create_machine(&self, now: UnixMillis, machine: NewMachine) -> Result<Machine, StoreError> {
        self.writer
            .write("create a machine", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    if by_name(session, &machine.name).await?.is_some() {
                        return Err(StoreError::Exists { kind: "machine", name: machine.name });
                    }
                    let text = format!(
                        // `last_push` is set too, as in the stock server.
                        "INSERT INTO machines (created_at, updated_at, last_push, name, password, auth_type, \
                         validated, ip) VALUES ($1, $1, $1, $2, $3, $4, $5, $6) RETURNING {COLUMNS}"
                    );
                    let sql = session
                        .sql(&text)
                        .bind(now.0)
                        .bind(machine.name)
                        .bind(machine.password)
                        .bind(machine.auth_type)
                        .bind(machine.validated)
                        .bind(machine.ip);
                    let made = session.first(sql, read_machine).await?;
                    made.ok_or_else(|| session.fails("the row that was made did not come back"))
                })
            })
            .await
    }

    /// The machine of this name.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn machine(&self, name: &str) -> Result<Option<Machine>, StoreError> {
        let mut session = self.snapshot("read a machine").await?;
        by_name(&mut session, name).await
    }

    /// All machines in order of creation.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        let mut session = self.snapshot("read the machines").await?;
        let sql = session.sql(&format!("SELECT {COLUMNS} FROM machines ORDER BY id"));
        session.read(sql, read_machine).await
    }

    /// Replaces a machine's password hash.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; otherwise when the database fails.
    pub async fn set_machine_password(
        &self,
        now: UnixMillis,
        name: &str,
        password: &str,
    ) -> Result<(), StoreError> {
        let (name, password) = (name.to_owned(), password.to_owned());
        self.writer
            .write("change a machine's password", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let sql = session
                        .sql("UPDATE machines SET password = $1, updated_at = $2 WHERE name = $3")
                        .bind(password)
                        .bind(now.0)
                        .bind(name.as_str());
                    if session.run(sql).await? == 0 { Err(missing(&name)) } else { Ok(()) }
                })
            })
            .await
    }

    /// Replaces a machine's password hash by another of the same password, unless it has changed meanwhile.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when the machine is gone or has another hash; otherwise when the database fails.
    pub async fn replace_machine_password(
        &self,
        now: UnixMillis,
        name: &str,
        old: &str,
        password: &str,
    ) -> Result<(), StoreError> {
        let (name, old, password) = (name.to_owned(), old.to_owned(), password.to_owned());
        self.writer
            .write("renew the hash of a machine's password", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let sql = session
                        .sql("UPDATE machines SET password = $1, updated_at = $2 WHERE name = $3 AND password = $4")
                        .bind(password)
                        .bind(now.0)
                        .bind(name.as_str())
                        .bind(old);
                    if session.run(sql).await? == 0 { Err(missing(&name)) } else { Ok(()) }
                })
            })
            .await
    }

    /// Sets whether a machine may log in.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; otherwise when the database fails.
    pub async fn validate_machine(
        &self,
        now: UnixMillis,
        name: &str,
        validated: bool,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer
            .write("validate a machine", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let sql = session
                        .sql("UPDATE machines SET validated = $1, updated_at = $2 WHERE name = $3")
                        .bind(validated)
                        .bind(now.0)
                        .bind(name.as_str());
                    if session.run(sql).await? == 0 { Err(missing(&name)) } else { Ok(()) }
                })
            })
            .await
    }

    /// Deletes a machine. Its alerts stay, without an owner.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; otherwise when the database fails.
    pub async fn delete_machine(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer
            .write("delete a machine", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let sql = session.sql("DELETE FROM machines WHERE name = $1").bind(name.as_str());
                    if session.run(sql).await? == 0 { Err(missing(&name)) } else { Ok(()) }
                })
            })
            .await
    }

    /// Deletes machines by row id; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn delete_machines(&self, ids: &[i64]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.writer
            .write("delete machines", move |tx| {
                Box::pin(async move {
                    tx.bump_registry_version();
                    let session = tx.session();
                    let mut sql = session.sql("DELETE FROM machines WHERE id");
                    sql.in_ints(&ids);
                    session.run(sql).await
                })
            })
            .await
    }

    /// The machines that `machines prune` would delete: validated ones whose last heartbeat (or, without one, creation)
    /// and last request are before `cutoff`, and all pending ones; with `pending_only` only those.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn idle_machines(
        &self,
        cutoff: UnixMillis,
        pending_only: bool,
    ) -> Result<Vec<Machine>, StoreError> {
        let mut session = self.snapshot("find idle machines").await?;
        let mut sql = session.sql("SELECT ");
        // Pending machines whatever their age, as in the stock server.
        sql.push(COLUMNS).push(" FROM machines WHERE NOT validated");
        if !pending_only {
            sql.push(" OR (COALESCE(last_heartbeat, created_at) < ").arg(cutoff.0);
            sql.push(" AND COALESCE(last_seen, created_at) < ").arg(cutoff.0).push(")");
        }
        sql.push(" ORDER BY id");
        session.read(sql, read_machine).await
    }

    /// Applies updates of machines in one transaction. Deleted rows are skipped.
    ///
    /// # Errors
    ///
    /// When the database fails; nothing is written then.
    pub async fn update_machines(
        &self,
        now: UnixMillis,
        updates: Vec<MachineUpdate>,
    ) -> Result<(), StoreError> {
        if updates.is_empty() {
            return Ok(());
        }
        self.writer
            .write("update machines", move |tx| {
                Box::pin(async move {
                    for one in updates {
                        update(tx, now, one).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}
