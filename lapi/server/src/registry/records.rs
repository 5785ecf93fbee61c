//! One machine, one bouncer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_active::Commit;
use palisade_wire::UnixMillis;

/// How somebody proves who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthType {
    /// Machines: a password.
    Password,
    /// Bouncers: a key.
    ApiKey,
    /// Both: a client certificate.
    Tls,
}

impl AuthType {
    /// The word in the store and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ApiKey => "api-key",
            Self::Tls => "tls",
        }
    }
}

/// A machine: a log processor, or an administrator's `cscli`.
#[derive(Debug)]
pub struct Machine {
    /// Number of its row.
    pub id: i64,
    /// Its name, unique.
    pub name: String,
    /// bcrypt hash of its password.
    pub password: String,
    /// Whether an administrator, a token or a certificate let it in.
    pub validated: bool,
    /// How it logs in.
    pub auth: AuthType,
    live: Arc<Mutex<MachineLive>>,
}

/// What changes while a machine works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineLive {
    /// Address it logged in from.
    pub ip: String,
    /// Version it told at login.
    pub version: String,
    /// Names of its scenarios, joined by commas.
    pub scenarios: String,
    /// When it last said that it lives.
    pub last_heartbeat: Option<UnixMillis>,
    /// When it last sent alerts.
    pub last_push: Option<UnixMillis>,
}

/// A bouncer: one row per key and address.
#[derive(Debug)]
pub struct Bouncer {
    /// Number of its row.
    pub id: i64,
    /// Its name, unique: as given, or `NAME@ADDRESS`.
    pub name: String,
    /// SHA-512 of its key in lower-case hexadecimal; empty for certificates.
    pub key: String,
    /// How it authenticates.
    pub auth: AuthType,
    /// Whether it was made at first contact rather than by an administrator.
    pub auto_created: bool,
    live: Arc<Mutex<BouncerLive>>,
}

/// What changes while a bouncer works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BouncerLive {
    /// Address it calls from; empty until the first call.
    pub ip: String,
    /// What it is, by its User-Agent.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// When it last asked for decisions.
    pub last_pull: Option<UnixMillis>,
    /// Its place in the stream: up to which commit, and which time, it has been told everything. `None` while it never
    /// had a stream, or keeps its place itself.
    pub cursor: Option<(Commit, UnixMillis)>,
}

impl Machine {
    /// A row of the store. `before` is the same row as it was known: what changes is shared with it, for what is in
    /// memory is newer than what is in the store.
    pub(super) fn from_row(row: palisade_store::Machine, before: Option<&Self>) -> Self {
        let live = match before {
            Some(before) => before.live.clone(),
            None => Arc::new(Mutex::new(MachineLive {
                ip: row.ip,
                version: row.version,
                scenarios: row.scenarios,
                last_heartbeat: row.last_heartbeat,
                last_push: row.last_push,
            })),
        };
        let auth = if row.auth_type == "tls" { AuthType::Tls } else { AuthType::Password };
        Self { id: row.id, name: row.name, password: row.password, validated: row.validated, auth, live }
    }

    /// What changes, as it is now.
    pub fn live(&self) -> MachineLive {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, MachineLive> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bouncer {
    /// A row of the store; `before` as for machines. Only the address of a fresh row is settled by the store, where
    /// another LAPI may have been the first.
    pub(super) fn from_row(row: palisade_store::Bouncer, before: Option<&Self>) -> Self {
        let live = match before {
            Some(before) => {
                if !row.ip.is_empty() {
                    before.lock().ip = row.ip;
                }
                before.live.clone()
            }
            None => Arc::new(Mutex::new(BouncerLive {
                ip: row.ip,
                kind: row.kind,
                version: row.version,
                last_pull: row.last_pull,
                cursor: row.cursor,
            })),
        };
        let auth = if row.auth_type == "tls" { AuthType::Tls } else { AuthType::ApiKey };
        Self { id: row.id, name: row.name, key: row.key_hash, auth, auto_created: row.auto_created, live }
    }

    /// What changes, as it is now.
    pub fn live(&self) -> BouncerLive {
        self.lock().clone()
    }

    /// Whether this is what its User-Agent said last.
    pub(crate) fn is_agent(&self, kind: &str, version: &str) -> bool {
        let live = self.lock();
        live.kind == kind && live.version == version
    }

    /// Its place in the stream: up to which commit, and which time, it has been told everything.
    pub fn stream_cursor(&self) -> Option<(Commit, UnixMillis)> {
        self.lock().cursor
    }

    /// When it last asked for decisions.
    pub fn last_pull(&self) -> Option<UnixMillis> {
        self.lock().last_pull
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BouncerLive> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
