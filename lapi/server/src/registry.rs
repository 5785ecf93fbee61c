//! Machines and bouncers in memory: who may ask, and what each of them has got so far.
//!
//! The store is the truth about who exists; the registry is loaded from it and loaded again whenever `head.registry_version` has
//! moved. When somebody called last, from where and with which version changes all the time; that is kept here and
//! written back in batches, about once a second and at the end. What is lost with the process only repeats a delta.
//!
//! What asks the store is a box of its own: a request is held with the space of all that it might have had to wait for.

mod client_report;
mod index;
mod pending_writes;
mod records;
#[cfg(test)]
mod tests;

pub use client_report::ClientReport;
pub use records::{AuthType, Bouncer, BouncerLive, Machine, MachineLive};

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use palisade_store::{NewBouncer, NewMachine, Store, StoreError};
use palisade_wire::UnixMillis;
use tokio::sync::watch;

use self::{index::RegistryIndex, pending_writes::PendingWrites};

/// Machines and bouncers in memory.
#[derive(Debug)]
pub struct Registry {
    store: Store,
    index: RwLock<RegistryIndex>,
    /// Held by whoever reads the store anew or adds somebody, so that a reading from before an addition cannot undo
    /// it.
    changing: tokio::sync::Mutex<LastCheck>,
    /// How many looks at the store have begun.
    checks: AtomicU64,
    pending: Mutex<PendingWrites>,
    /// Counts the reloads of the store and of certificates, for those who wait and must know when they are let in no
    /// longer.
    reloads: watch::Sender<u64>,
}

/// How long somebody waits for others who change the registry: they may be waiting for the store in their turn.
const LOCK_TIMEOUT: Duration = Duration::from_secs(6);

/// What is known of the store.
#[derive(Debug)]
struct LastCheck {
    /// The registry's number at the last reading.
    number: i64,
    /// What the last look came to.
    last: Result<(), StoreError>,
}

/// Why a bouncer is not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No row has this key, or it is not one for keys.
    #[error("unknown key")]
    Unknown,
    /// An operator gave the name of the new row to somebody else.
    #[error("cannot add the row for this address: {0}; delete or rename the bouncer of that name")]
    NameTaken(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl Registry {
    /// Reads index from the store.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let registry = Self {
            store,
            index: RwLock::default(),
            changing: tokio::sync::Mutex::new(LastCheck { number: -1, last: Ok(()) }),
            checks: AtomicU64::new(0),
            pending: Mutex::default(),
            reloads: watch::Sender::new(0),
        };
        registry.refresh().await?;
        Ok(registry)
    }

    /// The machine of this name, as far as memory knows.
    pub fn machine(&self, name: &str) -> Option<Arc<Machine>> {
        self.read().machine(name)
    }

    /// The bouncer of this name, as far as memory knows.
    pub fn bouncer(&self, name: &str) -> Option<Arc<Bouncer>> {
        self.read().bouncer(name)
    }

    /// Whether this bouncer is still there, with this key.
    pub fn is_current(&self, bouncer: &Bouncer) -> bool {
        self.bouncer(&bouncer.name).is_some_and(|row| row.id == bouncer.id && row.key == bouncer.key)
    }

    /// Other certificates are taken than before: who waits with one has to show it again.
    pub(crate) fn certificates_changed(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    /// Wakes whenever the store or certificates were read anew.
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// How many machines and bouncers there are.
    pub fn len(&self) -> (usize, usize) {
        self.read().len()
    }

    /// The machine of this name if `fit` agrees with it; if not, the store is asked whether something has changed.
    ///
    /// # Errors
    ///
    /// When the store had to be asked and failed.
    pub async fn machine_matching(
        &self,
        name: &str,
        fit: impl Fn(&Machine) -> bool,
    ) -> Result<Option<Arc<Machine>>, StoreError> {
        let known = self.machine(name);
        if known.as_deref().is_some_and(fit) {
            return Ok(known);
        }
        Box::pin(self.refresh_if_stale()).await?;
        Ok(self.machine(name))
    }

    /// Reads index anew if the store says that something has changed. Requests that come while somebody looks
    /// share the next look.
    ///
    /// # Errors
    ///
    /// When the store fails; memory stays as it was.
    pub async fn refresh_if_stale(&self) -> Result<(), StoreError> {
        let asked = self.checks.load(Ordering::Acquire);
        let mut known = self.changing().await?;
        if self.checks.load(Ordering::Acquire) > asked {
            // A look that began after we asked has ended.
            return known.last.clone();
        }
        self.check(&mut known, false).await
    }

    /// Reads index anew, come what may.
    ///
    /// # Errors
    ///
    /// When the store fails; memory stays as it was.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut known = self.changing().await?;
        self.check(&mut known, true).await
    }

    async fn changing(&self) -> Result<tokio::sync::MutexGuard<'_, LastCheck>, StoreError> {
        tokio::time::timeout(LOCK_TIMEOUT, self.changing.lock())
            .await
            .map_err(|_| self.store.unavailable("look for machines and bouncers", "others wait for it, too"))
    }

    async fn check(&self, known: &mut LastCheck, anyway: bool) -> Result<(), StoreError> {
        self.checks.fetch_add(1, Ordering::AcqRel);
        // Who is given up in the middle leaves word that it came to nothing.
        known.last = Err(self.store.unavailable("look for machines and bouncers", "the look was given up"));
        known.last = match self.store.head().await {
            Ok(head) if anyway || head.registry_version != known.number => {
                self.read_store(&mut known.number, head.registry_version).await
            }
            Ok(_) => Ok(()),
            Err(cause) => Err(cause),
        };
        known.last.clone()
    }

    /// The number is from before the reading: what changes in between is read twice rather than never.
    async fn read_store(&self, known: &mut i64, number: i64) -> Result<(), StoreError> {
        let machines = self.store.machines().await?;
        let bouncers = self.store.bouncers().await?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let read = index.replaced_by(machines, bouncers);
        *index = read;
        drop(index);
        self.reloads.send_modify(|count| *count += 1);
        *known = number;
        Ok(())
    }

    /// Adds a machine.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] when the name is taken; else when the store fails.
    pub async fn add_machine(&self, now: UnixMillis, new: NewMachine) -> Result<Arc<Machine>, StoreError> {
        let _changing = self.changing().await?;
        let row = self.store.create_machine(now, new).await?;
        Ok(self.write().add_machine(row))
    }

    /// Deletes a machine.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when it is gone already; else when the store fails.
    pub async fn delete_machine(&self, name: &str) -> Result<(), StoreError> {
        let _changing = self.changing().await?;
        self.store.delete_machine(name).await?;
        self.write().remove_machine(name);
        Ok(())
    }

    /// The bouncer for a `HEAD` request: whose key it is, with no trace left.
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

    /// The bouncer with this key at this address: the row there is, the fresh row of the key at its first use, or a
    /// new row `NAME@ADDRESS`. Two requests at once get the same row.
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
        if self.read().first_with_key(key).is_none() {
            self.refresh_if_stale().await.map_err(Refusal::Store)?;
        }
        let mut known = self.changing().await.map_err(Refusal::Store)?;
        // Somebody may have been faster.
        if let Some(bouncer) = self.read().at(key, ip) {
            return key_row(bouncer);
        }
        let fresh = self.read().fresh(key);
        if let Some(fresh) = fresh {
            match self.store.adopt_bouncer(now, fresh.id, ip).await {
                Ok(Some(row)) => return key_row(self.write().add_bouncer(row)),
                Ok(None) => {}
                // The key is good, and that is enough to be served from memory; whose row it is is settled later.
                Err(cause) if cause.is_temporary() => return key_row(fresh),
                Err(cause) => return Err(Refusal::Store(cause)),
            }
            // Another LAPI was faster, perhaps for the very same address.
            self.check(&mut known, true).await.map_err(Refusal::Store)?;
            if let Some(bouncer) = self.read().at(key, ip) {
                return key_row(bouncer);
            }
        }
        let parent = self.read().first_with_key(key).ok_or(Refusal::Unknown)?;
        match self.store.bouncer_at(now, &parent.name, AuthType::ApiKey.as_str(), key, ip).await {
            Ok(row) => Ok(self.write().add_bouncer(row)),
            Err(cause @ StoreError::Exists { .. }) => Err(Refusal::NameTaken(cause.to_string())),
            Err(cause) => Err(Refusal::Store(cause)),
        }
    }

    /// The bouncer of a certificate, made at first contact.
    ///
    /// # Errors
    ///
    /// [`Refusal::NameTaken`] when the name belongs to a key; else when the store fails.
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
                // Another LAPI was faster.
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

    fn pending(&self) -> std::sync::MutexGuard<'_, PendingWrites> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
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
