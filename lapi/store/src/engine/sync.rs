//! Lets a process that has written the database wait until the running LAPIs have applied it.
//!
//! ```text
//!  SQLite      connect to FILE-sync.sock ─────────────────► LAPI catches up ──► "ok" on the connection
//!  PostgreSQL  NOTIFY palisade_head, 'COMMIT VERSION WRITER CHANNEL' ──► each LAPI catches up ──► NOTIFY CHANNEL, 'PID'
//! ```
//!
//! On PostgreSQL the LAPIs that run are those that hold an advisory lock, which ends with their connection; on SQLite
//! no process accepts connections to the socket of a LAPI that has died. So nothing is waited for when no LAPI runs.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use uuid::Uuid;

use super::notifications::{CHANNEL, payload};
use super::postgres::CONNECT;
use crate::Head;

/// The first half of the advisory lock that running LAPIs hold shared: "PALI", and "SYNC" below.
const LOCK_CLASS: i64 = i64::from_be_bytes(*b"\0\0\0\0PALI");
const LOCK_OBJECT: i64 = i64::from_be_bytes(*b"\0\0\0\0SYNC");
pub(super) const LOCK: i64 = LOCK_CLASS << 32 | LOCK_OBJECT;
/// What a LAPI answers on the socket.
const DONE: &[u8] = b"ok\n";
/// A longer path does not fit into the address of a socket.
const MAX_SOCKET_PATH: usize = 100;
const REPLY_PREFIX: &str = "palisade_sync_";

/// A process waits until this LAPI has applied everything in the database. Dropped without an answer, it stops waiting
/// on SQLite, and waits for its timeout on PostgreSQL.
#[derive(Debug)]
pub struct SyncRequest(Reply);

#[derive(Debug)]
enum Reply {
    Socket(UnixStream),
    Notification { pool: PgPool, channel: String, pid: i32 },
}

impl SyncRequest {
    pub(super) fn notification(pool: PgPool, channel: String, pid: i32) -> Self {
        Self(Reply::Notification { pool, channel, pid })
    }

    /// Reports that everything has been applied. A requester that has gone is no error.
    pub async fn answer(self) {
        match self.0 {
            Reply::Socket(mut stream) => {
                stream.write_all(DONE).await.ok();
            }
            Reply::Notification { pool, channel, pid } => {
                let notify = sqlx::query("SELECT pg_notify($1, $2)")
                    .bind(channel)
                    .bind(pid.to_string())
                    .execute(&pool);
                if let Err(error) = notify.await {
                    tracing::debug!(%error, "cannot confirm that a change has been applied");
                }
            }
        }
    }
}

/// The socket beside a SQLite file; removed on drop.
#[derive(Debug)]
pub(super) struct SyncSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl SyncSocket {
    /// Binds the socket. That of a process that has died is replaced.
    pub(super) fn bind(database: &Path) -> Result<Self> {
        let path = socket_beside(database);
        match within(&path, |path| std::os::unix::net::UnixStream::connect(path)) {
            Ok(_) => return Err(Error::new(ErrorKind::AddrInUse, "another LAPI serves this database")),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(&path)?,
            Err(_) => {}
        }
        let listener = within(&path, |path| UnixListener::bind(path))?;
        // The same access as to the database; the umask may have removed the group's permission.
        let found = std::fs::metadata(database)?;
        let mode = 0o600 | found.permissions().mode() & 0o060;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&path, Some(found.uid()), Some(found.gid())).ok();
        }
        Ok(Self { listener, path })
    }

    pub(super) async fn next(&self) -> Result<SyncRequest> {
        let (stream, _) = self.listener.accept().await?;
        Ok(SyncRequest(Reply::Socket(stream)))
    }
}

impl Drop for SyncSocket {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

/// Waits for the LAPI on a SQLite file; true at once when none runs.
pub(super) async fn wait_on_socket(database: &Path) -> Result<bool> {
    let path = socket_beside(database);
    // A local connect does not block: it fails when the queue of connections is full.
    let stream = match within(&path, |path| std::os::unix::net::UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    stream.set_nonblocking(true)?;
    let mut answer = Vec::new();
    UnixStream::from_std(stream)?.take(DONE.len() as u64).read_to_end(&mut answer).await?;
    Ok(answer == DONE)
}

/// Waits for all LAPIs on a PostgreSQL database; at once when none runs.
pub(super) async fn wait_on_server(
    pool: &PgPool,
    head: &Head,
    writer: &str,
) -> std::result::Result<(), sqlx::Error> {
    let mut running: HashSet<i32> = sqlx::query_scalar(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
         AND classid::bigint = $1 AND objid::bigint = $2 \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .bind(LOCK_CLASS)
    .bind(LOCK_OBJECT)
    .fetch_all(pool)
    .await?
    .into_iter()
    .collect();
    if running.is_empty() {
        return Ok(());
    }
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&own).await?;
    let channel = format!("{REPLY_PREFIX}{}", Uuid::new_v4().simple());
    listener.listen(&channel).await?;
    let commit = crate::decisions::number(head.commit);
    let request = format!("{} {channel}", payload(commit, head.registry_version, writer));
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(request).execute(&mut listener).await?;
    while !running.is_empty() {
        let answer = listener.recv().await?;
        if answer.channel() == channel
            && let Ok(pid) = answer.payload().parse()
        {
            running.remove(&pid);
        }
    }
    Ok(())
}

/// The channel to answer on, if a notification asks for it.
pub(super) fn reply_channel(word: Option<&str>) -> Option<String> {
    let id = word?.strip_prefix(REPLY_PREFIX)?;
    let is_ours = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| format!("{REPLY_PREFIX}{id}"))
}

fn socket_beside(database: &Path) -> PathBuf {
    // Both sides must find the same socket, whatever links their paths to the file contain.
    let file = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    PathBuf::from(format!("{}-sync.sock", file.display()))
}

/// Calls `on` with a path that is short enough for a socket's address.
fn within<T>(path: &Path, on: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return on(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return on(path) };
    let folder =
        File::options().read(true).custom_flags(rustix::fs::OFlags::PATH.bits() as i32).open(folder)?;
    on(&PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}
