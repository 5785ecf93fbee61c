//! The HTTP/2 connections of an upstream.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{CONNECTION_WINDOW, MAX_CONNECTIONS, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW};
use crate::upstream::connect::ConnectError;
use crate::upstream::error::ErrorKind;
use crate::upstream::h1::MAX_HEAD_BYTES;
use crate::upstream::metrics::OpenConnection;
use crate::upstream::transport::Transport;

/// The connections of one upstream.
#[derive(Debug)]
pub(crate) struct Connections {
    entries: Mutex<Vec<Entry>>,
    /// Held while a connection is established, so that requests share the first one instead of opening one each.
    connecting: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    epoch: Instant,
}

#[derive(Debug)]
struct Entry {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// What a connection, its task and its requests share.
#[derive(Debug)]
struct Shared {
    usable: AtomicBool,
    streams: AtomicUsize,
    /// Milliseconds from the epoch to the end of the last request.
    last_used: AtomicU64,
    epoch: Instant,
}

/// The place of one request on a connection.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    pub(crate) send: SendRequest<Bytes>,
    /// Whether requests were sent on the connection before.
    pub(crate) reused: bool,
    shared: Arc<Shared>,
}

impl StreamSlot {
    /// No further request is sent on this connection.
    pub(crate) fn condemn(&self) {
        self.shared.usable.store(false, Ordering::Relaxed);
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let now = u64::try_from(self.shared.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.last_used.store(now, Ordering::Relaxed);
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Entry {
    fn free(&self) -> usize {
        let limit = self.send.current_max_send_streams().min(MAX_STREAMS);
        limit.saturating_sub(self.shared.streams.load(Ordering::Relaxed))
    }

    fn slot(&self) -> StreamSlot {
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        StreamSlot { send: self.send.clone(), reused: true, shared: Arc::clone(&self.shared) }
    }
}

impl Connections {
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self {
            entries: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            tasks,
            epoch: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on the connection with the most room.
    pub(crate) fn take(&self) -> Option<StreamSlot> {
        let mut entries = self.lock();
        entries.retain(|entry| entry.shared.usable.load(Ordering::Relaxed));
        let entry = entries.iter().max_by_key(|entry| entry.free())?;
        // With all connections open, a request waits for a stream on one of them.
        (entry.free() > 0 || entries.len() >= MAX_CONNECTIONS).then(|| entry.slot())
    }

    /// A place on a connection, which `connect` establishes when the others have none, or `fresh` asks for a new one and
    /// there are not too many.
    ///
    /// `connect` may find that the upstream speaks HTTP/1.1, and return that connection.
    pub(crate) async fn take_or_connect<T>(
        &self,
        fresh: bool,
        connect: impl Future<Output = Result<Result<(Transport, OpenConnection), T>, ConnectError>>,
    ) -> Result<Result<StreamSlot, T>, ConnectError> {
        let may_share = || !fresh || self.lock().len() >= MAX_CONNECTIONS;
        if may_share()
            && let Some(slot) = self.take()
        {
            return Ok(Ok(slot));
        }
        let _connecting = self.connecting.lock().await;
        // Another request may have established one meanwhile.
        if may_share()
            && let Some(slot) = self.take()
        {
            return Ok(Ok(slot));
        }
        match connect.await? {
            Ok((transport, open)) => self.add(transport, open).await.map(Ok),
            Err(other) => Ok(Err(other)),
        }
    }

    async fn add(&self, transport: Transport, open: OpenConnection) -> Result<StreamSlot, ConnectError> {
        let failed = |error: h2::Error| ConnectError {
            kind: ErrorKind::Connect,
            source: Some(error.into()),
            local: false,
        };
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).initial_window_size(STREAM_WINDOW);
        builder.initial_connection_window_size(CONNECTION_WINDOW).max_send_buffer_size(SEND_BUFFER);
        builder.max_header_list_size(MAX_HEAD_BYTES as u32);
        let (send, mut connection) = builder.handshake(transport).await.map_err(failed)?;
        let ping = connection.ping_pong();
        let shared = Arc::new(Shared {
            usable: AtomicBool::new(true),
            streams: AtomicUsize::new(0),
            last_used: AtomicU64::new(u64::MAX),
            epoch: self.epoch,
        });
        let state = Arc::clone(&shared);
        // Ends when the upstream closes the connection, or all that could use it is gone.
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to an upstream failed");
            }
            state.usable.store(false, Ordering::Relaxed);
            drop(open);
        });
        // The answer comes after the upstream's settings: from here on its limit of streams is known, whether it has
        // extended CONNECT, and that it speaks HTTP/2 at all.
        if let Some(mut ping) = ping {
            ping.ping(h2::Ping::opaque()).await.map_err(failed)?;
        }
        let entry = Entry { send, shared };
        let mut slot = entry.slot();
        slot.reused = false;
        self.lock().push(entry);
        Ok(slot)
    }

    /// Closes connections without requests for `max_age`. Called now and then.
    pub(crate) fn sweep(&self, max_age: Duration) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        self.lock().retain(|entry| {
            let is_idle = entry.shared.streams.load(Ordering::Relaxed) == 0;
            let age = now.saturating_sub(entry.shared.last_used.load(Ordering::Relaxed));
            entry.shared.usable.load(Ordering::Relaxed) && !(is_idle && age >= max_age)
        });
    }

    /// Connections without requests.
    pub(crate) fn idle(&self) -> usize {
        self.lock().iter().filter(|entry| entry.shared.streams.load(Ordering::Relaxed) == 0).count()
    }
}
