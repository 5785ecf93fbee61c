//! The registry: machines and bouncers in memory, and what each has received so far.
//!
//! The store is authoritative for which machines and bouncers exist; the registry is loaded from it and reloaded when
//! the version in the table `head` has changed. Last pulls, addresses and versions change all the time: they are kept
//! here and written back in batches about once a second and at shutdown. Losing them in a crash only repeats a delta. A
//! first value, such as the first pull of a bouncer, is written before its request is answered.
//!
//! Store futures are boxed so that a parked request does not reserve their space.

mod activity;
mod client_report;
mod index;
mod records;
#[cfg(test)]
mod tests;

pub use activity::Activity;
pub use client_report::ClientReport;
pub use records::{AuthType, Bouncer, BouncerLive, Machine};

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use palisade_store::{NewBouncer, NewMachine, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio::sync::watch;

use self::index::RegistryIndex;

/// Machines and bouncers in memory.
#[derive(Debug)]
pub struct Registry {
    /// What machines and bouncers do.
    pub activity: Activity,
    store: Store,
    index: RwLock<RegistryIndex>,
    /// Held while the store is read or a row is added, so that a reload that started before the addition cannot undo
    /// it.
    changing: tokio::sync::Mutex<LastCheck>,
    /// The number of checks of the store that have begun.
    checks: AtomicU64,
    /// Incremented when the registry or the accepted certificates are reloaded, so that parked requests can check
    /// whether they are still authorised.
    reloads: watch::Sender<u64>,
}

/// How long to wait for the lock: its holder may itself be waiting for the store.
const LOCK_TIMEOUT: Duration = Duration::from_secs(6);

/// The result of the last check of the store.
#[derive(Debug)]
struct LastCheck {
    /// The registry version at the last reload.
    number: i64,
    last: Result<(), StoreError>,
}

/// Why a bouncer is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No bouncer has this key, or its row is not for key authentication.
    #[error("unknown key")]
    Unknown,
    /// The name of the row to create belongs to another bouncer.
    #[error("cannot add the row for this address: {0}; delete or rename the bouncer of that name")]
    NameTaken(String),
    /// The store had to be read and failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl Registry {
    /// Loads the registry.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let registry = Self {
            activity: Activity::new(store.clone()),
            store,
            index: RwLock::default(),
            changing: tokio::sync::Mutex::new(LastCheck { number: -1, last: Ok(()) }),
            checks: AtomicU64::new(0),
            reloads: watch::Sender::new(0),
        };
        registry.refresh().await?;
        Ok(registry)
    }

    /// The machine of this name, from memory.
    pub fn machine(&self, name: &str) -> Option<Arc<Machine>> {
        self.read().machine(name)
    }

    /// The bouncer of this name, from memory.
    pub fn bouncer(&self, name: &str) -> Option<Arc<Bouncer>> {
        self.read().bouncer(name)
    }

    /// Whether this bouncer still exists with this key.
    pub fn is_current(&self, bouncer: &Bouncer) -> bool {
        self.bouncer(&bouncer.name).is_some_and(|row| row.id == bouncer.id && row.key == bouncer.key)
    }

    /// Makes parked requests that authenticated with a certificate authenticate again.
    pub fn certificates_changed(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    /// Wakes on every reload of the registry or of certificates.
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// The number of machines and of bouncers.
    pub fn len(&self) -> (usize, usize) {
        self.read().len()
    }

    /// The number of machines that are not validated. Costs with the number of machines.
    pub fn pending_machines(&self) -> usize {
        self.read().pending_machines()
    }

    /// When each machine last sent a heartbeat to this process.
    pub fn heartbeats(&self) -> Vec<(String, UnixMillis)> {
        let index = self.read();
        let last = |machine: &Machine| Some((machine.name.clone(), machine.lock().heartbeat_here?));
        index.machines().filter_map(last).collect()
    }

    /// The machine of this name if it satisfies `fit`; otherwise the store is checked for changes first.
    ///
    /// # Errors
    ///
    /// When the store had to be read and failed.
    pub async fn machine_matching(
        &self,
        name: &str,
        fit: impl Fn(&Machine) -> bool,
    ) -> Result<Option<Arc<Machine>>, StoreError> {
        // From memory first: the database is read only when the request would be refused otherwise.
        let known = self.machine(name);
        if known.as_deref().is_some_and(fit) {
            return Ok(known);
        }
        Box::pin(self.refresh_if_stale()).await?;
        Ok(self.machine(name))
    }

    /// Reloads if the registry version has changed. Concurrent calls share one check of the store.
    ///
    /// # Errors
    ///
    /// When the store fails; memory stays as it was.
    pub async fn refresh_if_stale(&self) -> Result<(), StoreError> {
        // Read before the lock is waited for. If the number is higher afterwards, another call has read the store in
        // between and its result is new enough: a thousand requests with a wrong key cause one query.
        let asked = self.checks.load(Ordering::Acquire);
        let mut known = self.changing().await?;
        if self.checks.load(Ordering::Acquire) > asked {
            // A check that began after this call has already ended.
            return known.last.clone();
        }
        self.check(&mut known, false).await
    }

    /// Reloads unconditionally.
    ///
    /// # Errors
    ///
    /// When the store fails; memory stays as it was.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut known = self.changing().await?;
        self.check(&mut known, true).await
    }

    async fn changing(&self) -> Result<tokio::sync::MutexGuard<'_, LastCheck>, StoreError> {
        tokio::time::timeout(LOCK_TIMEOUT, self.changing.lock()).await.map_err(|_| {
            self.store.unavailable("reload machines and bouncers", "another request holds the lock")
        })
    }

    async fn check(&self, known: &mut LastCheck, anyway: bool) -> Result<(), StoreError> {
        // At the beginning: a check that began before a call may have read the store before the change the caller is
        // looking for.
        self.checks.fetch_add(1, Ordering::AcqRel);
        // If this future is dropped midway, later callers see this error.
        known.last = Err(self.store.unavailable("reload machines and bouncers", "the reload was cancelled"));
        known.last = match self.store.head().await {
            Ok(head) if anyway || head.registry_version != known.number => {
                self.read_store(&mut known.number, head.registry_version).await
            }
            Ok(_) => Ok(()),
            Err(cause) => Err(cause),
        };
        known.last.clone()
    }

    /// `number` was read before the tables: a change in between is read twice rather than missed.
    async fn read_store(&self, known: &mut i64, number: i64) -> Result<(), StoreError> {
        let machines = self.store.machines().await?;
        let bouncers = self.store.bouncers().await?;
        // Locked only now: while the store is read, requests are served from the previous index.
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let read = index.replaced_by(machines, bouncers);
        *index = read;
        drop(index);
        // After the index is in place: parked requests that are woken check against it.
        self.reloads.send_modify(|count| *count += 1);
        *known = number;
        Ok(())
    }

    /// Adds a machine to the store and to memory.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; otherwise when the store fails.
    pub async fn add_machine(&self, now: UnixMillis, new: NewMachine) -> Result<Arc<Machine>, StoreError> {
        // A reload that has read the tables before the insertion would otherwise drop the row from memory again.
        let _changing = self.changing().await?;
        let row = self.store.create_machine(now, new).await?;
        Ok(self.write().add_machine(row))
    }

    /// Replaces a machine's password hash in the store and in memory, unless the machine has changed meanwhile.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when the machine has been deleted or has another password; otherwise when the store fails.
    pub async fn replace_password(
        &self,
        now: UnixMillis,
        machine: &Machine,
        hash: String,
    ) -> Result<Arc<Machine>, StoreError> {
        let mut known = self.changing().await?;
        self.store.replace_machine_password(now, &machine.name, &machine.password, &hash).await?;
        self.check(&mut known, true).await?;
        let missing = || StoreError::NotFound { kind: "machine", name: machine.name.clone() };
        self.machine(&machine.name).ok_or_else(missing)
    }

    /// Removes a machine from the store and from memory.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when the machine does not exist; otherwise when the store fails.
    pub async fn delete_machine(&self, name: &str) -> Result<(), StoreError> {
        let _changing = self.changing().await?;
        self.store.delete_machine(name).await?;
        self.write().remove_machine(name);
        Ok(())
    }

    /// The bouncer with this key, without recording the request: for `HEAD`.
    ///
    /// # Errors
    ///
    /// When the key is unknown or the store fails.
    pub async fn bouncer_by_key(&self, key: &str) -> Result<Arc<Bouncer>, Refusal> {
        if let Some(first) = self.read().first_with_key(key) {
            return Ok(first);
        }
        Box::pin(self.refresh_if_stale()).await.map_err(Refusal::Store)?;
        self.read().first_with_key(key).ok_or(Refusal::Unknown)
    }

    /// The bouncer with this key at this address: the existing row, the key's unused row at its first use, or a new row
    /// `NAME@ADDRESS`. Concurrent requests get the same row.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub async fn bouncer_at(&self, now: UnixMillis, key: &str, ip: &str) -> Result<Arc<Bouncer>, Refusal> {
        if let Some(bouncer) = self.read().at(key, ip) {
            return key_row(bouncer);
        }
        Box::pin(self.resolve_bouncer_at(now, key, ip)).await
    }

    async fn resolve_bouncer_at(
        &self,
        now: UnixMillis,
        key: &str,
        ip: &str,
    ) -> Result<Arc<Bouncer>, Refusal> {
        // Only for an unknown key: a known one from a new address needs a row in any case.
        if self.read().first_with_key(key).is_none() {
            self.refresh_if_stale().await.map_err(Refusal::Store)?;
        }
        let mut known = self.changing().await.map_err(Refusal::Store)?;
        // Another request may have created the row meanwhile.
        if let Some(bouncer) = self.read().at(key, ip) {
            return key_row(bouncer);
        }
        // In a statement of its own, so that the read lock is not held across the await below.
        let fresh = self.read().fresh(key);
        if let Some(fresh) = fresh {
            match self.store.adopt_bouncer(now, fresh.id, ip).await {
                Ok(Some(row)) => return key_row(self.write().add_bouncer(row)),
                Ok(None) => {}
                // The key is valid, so the request is served from memory; the row gets its address when the database is
                // back.
                Err(cause) if cause.is_temporary() => return key_row(fresh),
                Err(cause) => return Err(Refusal::Store(cause)),
            }
            // Another LAPI has claimed the row, perhaps for the same address.
            self.check(&mut known, true).await.map_err(Refusal::Store)?;
            if let Some(bouncer) = self.read().at(key, ip) {
                return key_row(bouncer);
            }
        }
        let parent = self.read().first_with_key(key).ok_or(Refusal::Unknown)?;
        // As in the stock server: a row per address, named after the one that an operator created.
        match self.store.bouncer_at(now, &parent.name, AuthType::ApiKey.as_str(), key, ip).await {
            Ok(row) => Ok(self.write().add_bouncer(row)),
            Err(cause @ StoreError::Exists { .. }) => Err(Refusal::NameTaken(cause.to_string())),
            // The key is valid here too.
            Err(cause) if cause.is_temporary() => key_row(Arc::new(parent.without_position())),
            Err(cause) => Err(Refusal::Store(cause)),
        }
    }

    /// The bouncer of a certificate, created at first contact.
    ///
    /// # Errors
    ///
    /// [`Refusal::NameTaken`] when the name belongs to a bouncer with a key; otherwise when the store fails.
    pub async fn bouncer_with_certificate(
        &self,
        now: UnixMillis,
        name: &str,
        ip: &str,
    ) -> Result<Arc<Bouncer>, Refusal> {
        if let Some(bouncer) = self.bouncer(name) {
            return certified(bouncer, name);
        }
        Box::pin(self.resolve_certificate(now, name, ip)).await
    }

    async fn resolve_certificate(
        &self,
        now: UnixMillis,
        name: &str,
        ip: &str,
    ) -> Result<Arc<Bouncer>, Refusal> {
        self.refresh_if_stale().await.map_err(Refusal::Store)?;
        let mut known = self.changing().await.map_err(Refusal::Store)?;
        if let Some(bouncer) = self.bouncer(name) {
            return certified(bouncer, name);
        }
        let new = NewBouncer {
            name: name.to_owned(),
            key_hash: String::new(),
            auth_type: AuthType::Tls.as_str().to_owned(),
            ip: ip.to_owned(),
            auto_created: true,
        };
        match self.store.create_bouncer(now, new).await {
            Ok(row) => Ok(self.write().add_bouncer(row)),
            Err(StoreError::Exists { .. }) => {
                // Another LAPI has created the row.
                self.check(&mut known, true).await.map_err(Refusal::Store)?;
                certified(self.bouncer(name).ok_or(Refusal::Unknown)?, name)
            }
            Err(cause) => Err(Refusal::Store(cause)),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, RegistryIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, RegistryIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certified(bouncer: Arc<Bouncer>, name: &str) -> Result<Arc<Bouncer>, Refusal> {
    match bouncer.auth {
        AuthType::Tls => Ok(bouncer),
        _ => Err(Refusal::NameTaken(format!("bouncer '{name}' authenticates with a key"))),
    }
}

fn key_row(bouncer: Arc<Bouncer>) -> Result<Arc<Bouncer>, Refusal> {
    if bouncer.auth == AuthType::ApiKey { Ok(bouncer) } else { Err(Refusal::Unknown) }
}
