//! Serves the control socket: creates it, answers requests from the cache and the bouncer's status, and removes it at
//! the end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt as _, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_cache::Snapshot;
use palisade_stream::{CacheHandle, now};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::answer::NOT_UNDERSTOOD;
use super::{About, Answer, Effect, LookupAnswer, MAX_REQUEST_BYTES, Request, State, StatusAnswer, Subject};

/// Timeout of receiving a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a request and its response together. What was begun for the request goes on after it.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of connections; others wait in the socket's queue.
// More than requests, so that clients which send nothing do not keep others waiting until their timeout.
const MAX_CONNECTIONS: usize = 256;
/// Maximum number of requests that are answered at the same time.
// A lookup of a range scans the whole table, so the number bounds processor time and memory.
const MAX_CONCURRENT: usize = 8;

/// The socket cannot be created. The bouncer works without it, except for `lookup` and `status`.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}; `lookup` and `status` will not reach this process", path.display())]
pub struct ControlError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Computes the effect on a packet from a subject. Must not block.
pub type EffectOf = Box<dyn Fn(&Subject, &Snapshot) -> Effect + Send + Sync>;

/// Carries out the action of a name with its arguments. May block, but must end well within [`EXCHANGE_TIMEOUT`].
pub type Act = Box<dyn Fn(&str, &[String]) -> Result<serde_json::Value, String> + Send + Sync>;

/// What responses are computed from.
pub struct View {
    /// Identifies the bouncer.
    pub about: About,
    /// The decisions.
    pub cache: CacheHandle,
    /// The bouncer's own lines of `status`, ordered by key. Must not block.
    pub enforcer: Box<dyn Fn() -> BTreeMap<String, String> + Send + Sync>,
    /// The bouncer's report in the JSON of `status`. Must not block.
    pub report: Box<dyn Fn() -> Option<serde_json::Value> + Send + Sync>,
    /// The effect on a packet from a subject, given these decisions.
    pub effect: EffectOf,
    /// The program's own actions.
    pub act: Act,
}

/// A socket that answers `lookup` and `status` and takes actions, accessible to the owner of the process only.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, to recognise a socket that has replaced it.
    identity: (u64, u64),
}

impl Control {
    /// Binds `path`, replacing the socket of an earlier process. The directory is created if missing, accessible to the
    /// owner only.
    ///
    /// # Errors
    /// When the directory cannot be created or written to, or the path is too long for a socket.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |doing| move |cause| ControlError { doing, path: path.to_owned(), cause };
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed("make the folder of the control socket"))?;
        }
        // Created under another name and renamed: so it is never accessible with the wrong mode, and a path is never
        // without a socket.
        let aside = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&aside);
        let made = (|| {
            // The rename would replace it, whatever it is.
            if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket()) {
                return Err(io::Error::other("something else than a socket is there"));
            }
            let listener = UnixListener::bind(&aside)?;
            fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
            // Before the rename: afterwards the path may already lead to the socket of another process.
            let metadata = fs::symlink_metadata(&aside)?;
            fs::rename(&aside, path)?;
            Ok(Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
        })();
        made.map_err(|cause| {
            let _ = fs::remove_file(&aside);
            failed("listen at the control socket")(cause)
        })
    }

    /// Serves until `stop`, then removes the socket.
    pub async fn serve(self, view: View, stop: CancellationToken) {
        let (view, limit) = (Arc::new(view), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
        let answering = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                // Otherwise finished tasks would stay in the set for the life of the daemon.
                while connections.try_join_next().is_some() {}
                // Before the accept, so that excess connections wait in the kernel's queue and not in this process.
                let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let (view, answering) = (Arc::clone(&view), Arc::clone(&answering));
                        connections.spawn(async move {
                            if timeout(EXCHANGE_TIMEOUT, handle(stream, view, &answering)).await.is_err() {
                                debug!("a request at the control socket timed out");
                            }
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept at the control socket; retrying in a second");
                        // Out of file descriptors, for example: without the pause the loop would spin.
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        // A restarted daemon may have replaced the socket already; its own must stay.
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn handle(mut stream: UnixStream, view: Arc<View>, answering: &Semaphore) {
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST_BYTES));
    let Ok(Ok(_)) = timeout(REQUEST_TIMEOUT, reader.read_until(b'\n', &mut line)).await else { return };
    let Ok(_permit) = answering.acquire().await else { return };
    // A lookup may scan the whole table, an action may wait: on a blocking thread, so that following the LAPI is not
    // delayed.
    let Ok(answer) = tokio::task::spawn_blocking(move || answer(&line, &view)).await else { return };
    let mut bytes = serde_json::to_vec(&answer).expect("texts and numbers always serialise");
    bytes.push(b'\n');
    if let Err(error) = writer.write_all(&bytes).await {
        debug!(%error, "cannot send a response at the control socket");
    }
}

fn answer(line: &[u8], view: &View) -> Answer {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        // Without its line feed at the bound: cut off.
        Err(_) if line.len() as u64 == MAX_REQUEST_BYTES && !line.ends_with(b"\n") => {
            return Answer::Refused {
                reason: format!("{NOT_UNDERSTOOD}it is longer than {MAX_REQUEST_BYTES} bytes"),
            };
        }
        Err(error) => return Answer::Refused { reason: format!("{NOT_UNDERSTOOD}{error}") },
    };
    match request {
        Request::Status => status(view),
        Request::Lookup { subject } => lookup(&subject, view),
        Request::Action { name, arguments } => match (view.act)(&name, &arguments) {
            Ok(result) => Answer::Action { result },
            Err(reason) => Answer::Refused { reason },
        },
    }
}

fn status(view: &View) -> Answer {
    let published = view.cache.published();
    let (snapshot, freshness) = (&published.snapshot, &*published.freshness);
    let state = State::running(view.about.clone(), snapshot, freshness, now());
    Answer::Status(StatusAnswer {
        enforcement: (view.report)(),
        ..StatusAnswer::of(snapshot, freshness, state, (view.enforcer)())
    })
}

fn lookup(subject: &str, view: &View) -> Answer {
    let subject = match subject.parse::<Subject>() {
        Ok(subject) => subject,
        Err(error) => return Answer::Refused { reason: error.to_string() },
    };
    let (published, now) = (view.cache.published(), now());
    let state = State::running(view.about.clone(), &published.snapshot, &published.freshness, now);
    let effect = (view.effect)(&subject, &published.snapshot);
    Answer::Lookup(LookupAnswer::of(&subject, &published.snapshot, Some(effect), state, now))
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("about", &self.about).finish_non_exhaustive()
    }
}
