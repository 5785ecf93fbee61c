//! Serves the connections of a receiver.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Reaction, ReceivedRequest, Shared, lock};
use crate::outcome::{Doing, Outcome};

/// Serves a listener on a thread of its own; all its connections are closed when it is dropped.
pub(super) struct Service {
    /// Its end is the signal.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(listener: TcpListener, shared: Shared) -> Outcome<Self> {
        listener.set_nonblocking(true)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().doing("starting a runtime")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes a listener");
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                lock(&shared).connections += 1;
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Shared) {
    // Not waiting for more to send; a connection that is gone shows with the next read.
    let _ = stream.set_nodelay(true);
    let Ok(socket) = SockRef::from(&stream).try_clone().map(Arc::new) else { return };
    let service = service_fn(move |request| respond(request, Arc::clone(&shared), Arc::clone(&socket)));
    // Aborted connections are no failure: the sender's side of it is what the test looks at.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    shared: Shared,
    socket: Arc<Socket>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let (at, reaction) = (Instant::now(), lock(&shared).decide());
    let mut received =
        ReceivedRequest { at, answered: None, headers, body: String::new(), reaction: reaction.clone() };
    if reaction == Reaction::ResetBefore {
        received.answered = Some(Instant::now());
        let mut state = lock(&shared);
        state.requests.push(received);
        state.doubt_everything();
        return Err(reset(&socket));
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            lock(&shared).doubt_everything();
            return Err(io::Error::other(error));
        }
    };
    received.body = String::from_utf8_lossy(&body).into_owned();
    let (place, reaction) = take(&shared, received);
    if let Reaction::Late(by) = reaction {
        tokio::time::sleep(by).await;
    }
    lock(&shared).requests[place].answered = Some(Instant::now());
    let response = Response::builder();
    let response = match reaction {
        Reaction::Accept | Reaction::Late(_) => response.status(204),
        Reaction::Status(status) => response.status(status),
        Reaction::RetryAfter(status, after) => response.status(status).header(RETRY_AFTER, after),
        Reaction::Redirect(url) => response.status(302).header(LOCATION, url),
        Reaction::ResetBefore | Reaction::ResetAfter { .. } => return Err(reset(&socket)),
    };
    response.body(Full::default()).map_err(io::Error::other)
}

/// Records a request, and lets the model take its events.
fn take(shared: &Shared, mut received: ReceivedRequest) -> (usize, Reaction) {
    let mut state = lock(shared);
    let has = |texts: &[String]| texts.iter().any(|text| received.body.contains(text));
    if received.reaction.acknowledges() && has(&state.rejected) {
        received.reaction = Reaction::Status(400);
    } else if received.reaction.acknowledges() && has(&state.unacknowledged) {
        received.reaction = Reaction::ResetAfter { taken: true };
    }
    let reaction = received.reaction.clone();
    let id = received.header("webhook-id").unwrap_or_default().to_owned();
    for model in &mut state.models {
        model.receive(&id, &received.body, reaction.takes(), reaction.acknowledges());
    }
    state.requests.push(received);
    (state.requests.len() - 1, reaction)
}

/// Makes the end of the connection a reset.
fn reset(socket: &Socket) -> io::Error {
    // If it cannot be set the sender sees an orderly end, which is nearly the same.
    let _ = socket.set_linger(Some(Duration::ZERO));
    io::ErrorKind::ConnectionReset.into()
}
