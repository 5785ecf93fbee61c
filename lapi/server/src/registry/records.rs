//! The records of the registry: one machine, one bouncer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_replica::Commit;
use palisade_wire::UnixMillis;

/// How a machine or bouncer authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AuthType {
    /// Machines: a password.
    Password,
    /// Bouncers: an API key.
    ApiKey,
    /// Both: a client certificate.
    Tls,
}

impl AuthType {
    /// The value in the store and in listings.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ApiKey => "api-key",
            Self::Tls => "tls",
        }
    }
}

/// A machine: a log processor, or an administrator's `cscli`.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: i64,
    /// Unique.
    pub(crate) name: String,
    /// bcrypt hash of the password.
    pub(crate) password: String,
    /// Whether an administrator, a registration token or a certificate has validated it.
    pub(crate) validated: bool,
    pub(crate) auth: AuthType,
    live: Arc<Mutex<MachineLive>>,
}

/// The state of a machine that changes at run time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MachineLive {
    /// Address of the last login.
    pub(crate) ip: String,
    /// Version sent at the last login.
    pub(crate) version: String,
    /// Names of its scenarios, joined by commas.
    pub(crate) scenarios: String,
    pub(crate) last_heartbeat: Option<UnixMillis>,
    /// When it last posted alerts.
    pub(crate) last_push: Option<UnixMillis>,
}

/// A bouncer: one row per key and address.
#[derive(Debug)]
pub(crate) struct Bouncer {
    pub(crate) id: i64,
    /// Unique: as given, or `NAME@ADDRESS`.
    pub(crate) name: String,
    /// SHA-512 of its key in lower-case hexadecimal; empty for certificates.
    pub(crate) key: String,
    pub(crate) auth: AuthType,
    /// Whether it was created at first contact rather than by an administrator.
    #[cfg(test)]
    pub(crate) auto_created: bool,
    live: Arc<Mutex<BouncerLive>>,
}

/// The state of a bouncer that changes at run time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BouncerLive {
    /// Address of its requests; empty until the first.
    pub(crate) ip: String,
    /// The product in its User-Agent.
    pub(crate) kind: String,
    pub(crate) version: String,
    /// When it last requested decisions.
    pub(crate) last_pull: Option<UnixMillis>,
    /// Its stream cursor: the commit and time up to which it has received all changes. `None` before its first stream,
    /// and for clients that keep their own cursor.
    pub(crate) cursor: Option<(Commit, UnixMillis)>,
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
                last_push: row.last_push,
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
                cursor: row.cursor,
            })),
        };
        let auth = if row.auth_type == "tls" { AuthType::Tls } else { AuthType::ApiKey };
        Self {
            id: row.id,
            name: row.name,
            key: row.key_hash,
            auth,
            #[cfg(test)]
            auto_created: row.auto_created,
            live,
        }
    }

    /// A copy of the run-time state.
    #[cfg(test)]
    pub(crate) fn live(&self) -> BouncerLive {
        self.lock().clone()
    }

    /// Whether the User-Agent is the last one recorded.
    pub(crate) fn is_agent(&self, kind: &str, version: &str) -> bool {
        let live = self.lock();
        live.kind == kind && live.version == version
    }

    /// The stream cursor: the commit and time up to which the bouncer has received all changes.
    pub(crate) fn stream_cursor(&self) -> Option<(Commit, UnixMillis)> {
        self.lock().cursor
    }

    /// When it last requested decisions.
    pub(crate) fn last_pull(&self) -> Option<UnixMillis> {
        self.lock().last_pull
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BouncerLive> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
