//! The records of the registry: one machine, one bouncer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_model::Commit;
use palisade_wire::UnixMillis;

/// How a machine or bouncer authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthType {
    /// Machines: a password.
    Password,
    /// Bouncers: an API key.
    ApiKey,
    /// Both: a client certificate.
    Tls,
}

impl AuthType {
    /// The value in the store and in listings.
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
    /// The row in the store.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// bcrypt hash of the password.
    pub password: String,
    /// Whether an administrator, a registration token or a certificate has validated it.
    pub validated: bool,
    /// How it authenticates.
    pub auth: AuthType,
    live: Arc<Mutex<MachineLive>>,
}

/// The state of a machine that changes at run time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MachineLive {
    /// Address of the last login.
    pub(super) ip: String,
    /// Version sent at the last login.
    pub(super) version: String,
    /// Names of its scenarios, joined by commas.
    pub(super) scenarios: String,
    /// When it last sent a heartbeat.
    pub(super) last_heartbeat: Option<UnixMillis>,
    /// When it last sent an authenticated request, to about a minute; `None` until the first since the start.
    pub(super) last_seen: Option<UnixMillis>,
    /// When it last posted alerts.
    pub(super) last_push: Option<UnixMillis>,
    /// When it last sent a heartbeat to this process: `last_heartbeat` may come from another LAPI.
    pub(super) heartbeat_here: Option<UnixMillis>,
    /// Whether a pending update has a value that the store has none of yet.
    pub(super) has_first_value: bool,
}

/// A bouncer: one row per key and address.
#[derive(Debug)]
pub struct Bouncer {
    /// The row in the store.
    pub id: i64,
    /// Unique: as given, or `NAME@ADDRESS`.
    pub name: String,
    /// SHA-512 of its key in lower-case hexadecimal; empty for certificates.
    pub key: String,
    /// How it authenticates.
    pub auth: AuthType,
    /// Whether it was created at first contact rather than by an administrator.
    pub auto_created: bool,
    // Shared by the records before and after a reload, so that an update by a request with the old record is not
    // lost.
    live: Arc<Mutex<BouncerLive>>,
}

/// The state of a bouncer that changes at run time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BouncerLive {
    /// Address of its requests; empty until the first.
    pub ip: String,
    /// The product in its User-Agent.
    pub kind: String,
    /// The version in its User-Agent.
    pub version: String,
    /// When it last requested decisions.
    pub last_pull: Option<UnixMillis>,
    /// When it last sent an authenticated request, to about a minute; `None` until the first since the start.
    pub last_seen: Option<UnixMillis>,
    /// Its stream cursor: the commit and time up to which it has received all changes. `None` before its first stream,
    /// and for clients that keep their own cursor.
    pub cursor: Option<(Commit, UnixMillis)>,
    /// Whether a pending update has a value that the store has none of yet.
    pub(super) has_first_value: bool,
}

impl Machine {
    /// From a row of the store. The run-time state of `before`, the previous record of the same row, is shared: memory
    /// is newer than the store.
    pub(super) fn from_row(row: palisade_store::Machine, before: Option<&Self>) -> Self {
        let live = match before {
            Some(before) => before.live.clone(),
            None => Arc::new(Mutex::new(MachineLive {
                ip: row.ip,
                version: row.version,
                scenarios: row.scenarios,
                last_heartbeat: row.last_heartbeat,
                last_seen: None,
                last_push: row.last_push,
                ..MachineLive::default()
            })),
        };
        let auth = if row.auth_type == "tls" { AuthType::Tls } else { AuthType::Password };
        Self { id: row.id, name: row.name, password: row.password, validated: row.validated, auth, live }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, MachineLive> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bouncer {
    /// Another client with the same key, for which no row can be made: it gets no cursor.
    pub(super) fn without_position(&self) -> Self {
        let (name, key) = (self.name.clone(), self.key.clone());
        Self {
            id: self.id,
            name,
            key,
            auth: self.auth,
            auto_created: self.auto_created,
            live: Arc::default(),
        }
    }

    /// From a row of the store; `before` as for machines. The address of a previously unused row is taken from the
    /// store, where another LAPI may have set it.
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
                last_seen: None,
                cursor: row.cursor,
                has_first_value: false,
            })),
        };
        let auth = if row.auth_type == "tls" { AuthType::Tls } else { AuthType::ApiKey };
        Self { id: row.id, name: row.name, key: row.key_hash, auth, auto_created: row.auto_created, live }
    }

    /// A copy of the run-time state.
    pub fn live(&self) -> BouncerLive {
        self.lock().clone()
    }

    /// Whether the User-Agent is the last one recorded.
    pub fn is_agent(&self, kind: &str, version: &str) -> bool {
        let live = self.lock();
        live.kind == kind && live.version == version
    }

    /// The stream cursor: the commit and time up to which the bouncer has received all changes.
    pub fn stream_cursor(&self) -> Option<(Commit, UnixMillis)> {
        self.lock().cursor
    }

    /// When it last requested decisions.
    pub fn last_pull(&self) -> Option<UnixMillis> {
        self.lock().last_pull
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BouncerLive> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
