//! Notifications of commits by other processes: `LISTEN` on a PostgreSQL server.
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
use sqlx::Error;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use tokio::time::Instant;
use uuid::Uuid;

use super::fault::{DatabaseLocation, fault};
use super::postgres::CONNECT;
use super::session::{STATEMENT_TIMEOUT, with_timeout};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Notifications arrive from now on. Commits before this may have been missed.
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

/// Receives commit notifications over a connection of its own.
#[derive(Debug)]
pub struct Listener {
    options: Arc<PgConnectOptions>,
    location: Arc<DatabaseLocation>,
    own: Arc<str>,
    connection: Option<PgNotifications>,
    backoff: Duration,
}

impl Listener {
    pub(crate) fn new(readers: &Readers, location: &Arc<DatabaseLocation>, writer: &Writer) -> Option<Self> {
        let Readers::Postgres(pool) = readers else { return None };
        Some(Self {
            options: pool.connect_options(),
            location: Arc::clone(location),
            own: Arc::clone(writer.name()),
            connection: None,
            backoff: Duration::ZERO,
        })
    }

    /// The next event; connects and reconnects as needed. Not cancel-safe: a dropped call may lose notifications.
    pub async fn next(&mut self) -> Notice {
        loop {
            let received = match &mut self.connection {
                Some(connection) => connection.next().await,
                None => {
                    // Before connecting, not after a failure: the failure is reported without delay.
                    tokio::time::sleep(self.backoff).await;
                    match PgNotifications::open(&self.options).await {
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
                    self.backoff = Duration::ZERO;
                    return Notice::Listening;
                }
                Ok(Received::Notification(notification)) => {
                    // Ignore payloads of other programs on the channel.
                    if let Some(notice) = read(notification.payload(), &self.own) {
                        return notice;
                    }
                }
                Err(error) => {
                    self.connection = None;
                    self.backoff = (self.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
                    return Notice::Disconnected(fault(&error, &self.location, DOING));
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
        Ok(Self { listener, probe_channel, listening: false, probe_sent: false, due: Instant::now() })
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
                return Ok(Received::Listening);
            }
        }
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
        let moved = |own| Some(Notice::Committed { commit: Commit(7), registry_version: 3, own });
        assert_eq!(read(&payload(7, 3, "me"), "me"), moved(true));
        assert_eq!(read(&payload(7, 3, "you"), "me"), moved(false));
        assert_eq!(read("7 3", "me"), moved(false));
        for odd in ["", "7", "x 3", "-1 3", "7 x you"] {
            assert_eq!(read(odd, "me"), None, "{odd}");
        }
    }
}
