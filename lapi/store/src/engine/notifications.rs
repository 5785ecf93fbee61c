//! Notifications from other processes: of commits, by `LISTEN` on a PostgreSQL server, and requests to catch up.
//!
//! ```text
//!  writer ── UPDATE head … RETURNING pg_notify ── COMMIT ──► server ──► every listener: "COMMIT REGISTRY_VERSION WRITER"
//! ```
//!
//! Notifications are an optimisation: one may be lost with a connection, so callers poll as well. A listener also
//! notifies itself on a probe channel; when that does not arrive, it is not listening, whatever the server reports.

use std::sync::Arc;
use std::time::Duration;

use palisade_model::Commit;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use sqlx::{Error, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use super::fault::{DatabaseLocation, fault};
use super::postgres::CONNECT;
use super::session::{STATEMENT_TIMEOUT, with_timeout};
use super::sync::{self, SyncRequest, SyncSocket};
use super::{Readers, Writer};
use crate::StoreError;

pub(super) const CHANNEL: &str = "palisade_head";
/// How often a listener probes itself.
// Callers poll in any case, so this only bounds how long a listener that receives nothing is trusted.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The first delay after a failure; doubled after each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// The longest delay.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
const DOING: &str = "listen for commits";

/// The payload a writer sends with a commit.
pub(super) fn payload(commit: i64, registry_version: i64, writer: &str) -> String {
    format!("{commit} {registry_version} {writer}")
}

/// What a [`Listener`] reports.
#[derive(Debug)]
pub enum Notice {
    /// Another process waits until everything in the database has been applied.
    Sync(SyncRequest),
    /// Notifications of commits arrive from now on. Commits before this may have been missed.
    Listening,
    /// A process has committed.
    Committed {
        /// The last commit that changed decisions.
        commit: Commit,
        /// As in [`Head`](crate::Head).
        registry_version: i64,
        /// Whether this store made the commit.
        own: bool,
    },
    /// Notifications do not arrive. The next call reconnects after a delay.
    Disconnected(StoreError),
}

/// Receives notifications. On SQLite, which has none of commits, requests to catch up only.
#[derive(Debug)]
pub struct Listener {
    location: Arc<DatabaseLocation>,
    source: Source,
    backoff: Duration,
}

#[derive(Debug)]
enum Source {
    Socket(Option<SyncSocket>),
    Server(Server),
}

#[derive(Debug)]
struct Server {
    pool: PgPool,
    own: Arc<str>,
    connection: Option<PgNotifications>,
}

impl Listener {
    pub(crate) fn new(readers: &Readers, location: &Arc<DatabaseLocation>, writer: &Writer) -> Self {
        let source = match readers {
            Readers::Sqlite(_) => Source::Socket(None),
            Readers::Postgres(pool) => {
                let own = Arc::clone(writer.name());
                Source::Server(Server { pool: pool.clone(), own, connection: None })
            }
        };
        Self { location: Arc::clone(location), source, backoff: Duration::ZERO }
    }

    /// The next event; connects and reconnects as needed. Not cancel-safe: a dropped call may lose notifications.
    pub async fn next(&mut self) -> Notice {
        let error = match &mut self.source {
            Source::Server(server) => match server.next(&mut self.backoff).await {
                Ok(notice) => return notice,
                Err(error) => fault(&error, &self.location, DOING),
            },
            Source::Socket(socket) => match next_on_socket(socket, &self.location, self.backoff).await {
                Ok(request) => {
                    self.backoff = Duration::ZERO;
                    return Notice::Sync(request);
                }
                Err(error) => {
                    let reason = error.to_string();
                    let database = self.location.to_string();
                    StoreError::Unavailable { doing: "listen for the admin command", database, reason }
                }
            },
        };
        self.backoff = (self.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
        Notice::Disconnected(error)
    }
}

/// Binds the socket if there is none, after a delay, and waits for a request.
async fn next_on_socket(
    socket: &mut Option<SyncSocket>,
    location: &DatabaseLocation,
    backoff: Duration,
) -> std::io::Result<SyncRequest> {
    let bound = match socket {
        Some(bound) => bound,
        None => {
            tokio::time::sleep(backoff).await;
            let DatabaseLocation::File(path) = location else { unreachable!("a SQLite database is a file") };
            socket.insert(SyncSocket::bind(path)?)
        }
    };
    bound.next().await
}

impl Server {
    async fn next(&mut self, backoff: &mut Duration) -> Result<Notice, Error> {
        loop {
            let received = match &mut self.connection {
                Some(connection) => connection.next().await,
                None => {
                    // Before connecting, not after a failure: the failure is reported without delay.
                    tokio::time::sleep(*backoff).await;
                    match PgNotifications::open(&self.pool.connect_options()).await {
                        Ok(connection) => {
                            self.connection = Some(connection);
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match received {
                Ok(Received::Listening) => {
                    // Not after connecting: behind a pooler connections succeed and notifications never come.
                    *backoff = Duration::ZERO;
                    return Ok(Notice::Listening);
                }
                Ok(Received::Notification(notification)) => {
                    let pid = self.connection.as_ref().and_then(|connection| connection.pid);
                    let channel = sync::reply_channel(notification.payload().split(' ').nth(3));
                    if let Some((channel, pid)) = channel.zip(pid) {
                        return Ok(Notice::Sync(SyncRequest::notification(self.pool.clone(), channel, pid)));
                    }
                    // Ignore payloads of other programs on the channel.
                    if let Some(notice) = read(notification.payload(), &self.own) {
                        return Ok(notice);
                    }
                }
                Err(error) => {
                    self.connection = None;
                    return Err(error);
                }
            }
        }
    }
}

fn read(payload: &str, own: &str) -> Option<Notice> {
    let mut words = payload.split(' ');
    let commit = Commit(words.next()?.parse().ok()?);
    let registry_version = words.next()?.parse().ok()?;
    // Further words are ignored, so that later versions can add some.
    Some(Notice::Committed { commit, registry_version, own: words.next() == Some(own) })
}

enum Received {
    /// The first probe arrived.
    Listening,
    Notification(PgNotification),
}

#[derive(Debug)]
struct PgNotifications {
    listener: PgListener,
    /// A unique channel for probes.
    probe_channel: String,
    listening: bool,
    /// The server's process for this connection, by which requesters know this LAPI; from the first probe on.
    pid: Option<i32>,
    /// Whether a probe is in flight.
    probe_sent: bool,
    due: Instant,
}

impl PgNotifications {
    async fn open(options: &Arc<PgConnectOptions>) -> Result<Self, Error> {
        let opened = async {
            // sqlx listens through a pool; this one has a single connection.
            let pool = PgPoolOptions::new()
                .max_connections(1)
                // The pool must not replace the connection: `LISTEN` belongs to it.
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(CONNECT)
                .acquire_slow_threshold(CONNECT * 2)
                .connect_lazy_with(PgConnectOptions::clone(options));
            let mut listener = PgListener::connect_with(&pool).await?;
            // Report lost connections: notifications in between were missed.
            listener.eager_reconnect(false);
            let probe_channel = format!("palisade_ear_{}", Uuid::new_v4().simple());
            // One channel per listener, as a probe on a shared one could come from another process.
            listener.listen_all([CHANNEL, &probe_channel]).await?;
            Ok((listener, probe_channel))
        };
        let (listener, probe_channel) = with_timeout(CONNECT + STATEMENT_TIMEOUT, opened).await?;
        Ok(Self {
            listener,
            probe_channel,
            listening: false,
            pid: None,
            probe_sent: false,
            due: Instant::now(),
        })
    }

    async fn next(&mut self) -> Result<Received, Error> {
        loop {
            let received = tokio::select! {
                received = self.listener.try_recv() => received?,
                () = tokio::time::sleep_until(self.due) => {
                    self.probe().await?;
                    continue;
                }
            };
            let notification = received.ok_or_else(|| aborted("the connection broke"))?;
            if notification.channel() != self.probe_channel {
                return Ok(Received::Notification(notification));
            }
            self.probe_sent = false;
            // The probe has arrived, so the timer is no longer its timeout but the time of the next probe.
            self.due = Instant::now() + PROBE_INTERVAL;
            if !std::mem::replace(&mut self.listening, true) {
                self.announce().await?;
                return Ok(Received::Listening);
            }
        }
    }

    /// Takes the lock by which requesters find this LAPI. Not before notifications are known to arrive: behind a pooler
    /// requests would never be answered.
    async fn announce(&mut self) -> Result<(), Error> {
        let lock = sqlx::query_scalar("SELECT pg_backend_pid() FROM pg_advisory_lock_shared($1)")
            .bind(sync::LOCK)
            .fetch_one(&mut self.listener);
        self.pid = Some(with_timeout(STATEMENT_TIMEOUT, lock).await?);
        Ok(())
    }

    /// Sends a probe, or fails when the last one has not arrived.
    async fn probe(&mut self) -> Result<(), Error> {
        if self.probe_sent {
            return Err(aborted("notices do not come, a pooler between us and the server may swallow them"));
        }
        let sent = sqlx::query("SELECT pg_notify($1, '')")
            .bind(self.probe_channel.clone())
            .execute(&mut self.listener);
        with_timeout(STATEMENT_TIMEOUT, sent).await?;
        self.probe_sent = true;
        self.due = Instant::now() + PROBE_TIMEOUT;
        Ok(())
    }
}

fn aborted(words: &str) -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, words.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_read_as_it_was_written() {
        let read = |payload: &str| match read(payload, "me") {
            Some(Notice::Committed { commit: Commit(7), registry_version: 3, own }) => Some(own),
            None => None,
            other => panic!("{payload}: {other:?}"),
        };
        assert_eq!(read(&payload(7, 3, "me")), Some(true));
        assert_eq!(read(&payload(7, 3, "you")), Some(false));
        assert_eq!(read("7 3"), Some(false));
        for odd in ["", "7", "x 3", "-1 3", "7 x you"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
