//! An HTTP endpoint that accepts everything, and notes when it has received as many events as it expects.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use palisade_e2e::{Failure, Outcome};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What precedes each value in the bodies.
const VALUE: &[u8] = br#""value":""#;

/// Listens on loopback until dropped; then connections are refused.
pub(super) struct HttpReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    wanted: usize,
    received: Mutex<Received>,
    changed: Condvar,
}

#[derive(Default)]
struct Received {
    events: usize,
    bodies: Vec<Bytes>,
    complete_at: Option<Instant>,
}

impl HttpReceiver {
    /// Expects this many events.
    pub(super) fn start(wanted: usize) -> Outcome<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Shared { wanted, received: Mutex::default(), changed: Condvar::new() };
        let (shared, stop) = (Arc::new(shared), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (served, stopped) = (Arc::clone(&shared), stop.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(serve(listener, served)));
        });
        Ok(Self { address, shared, stop, thread: Some(thread) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits until all expected events are there; returns since when they are.
    pub(super) fn wait_until_complete(&self, limit: Duration) -> Outcome<Instant> {
        let received = self.shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        let is_waiting = |received: &mut Received| received.complete_at.is_none();
        let (received, _) = self
            .shared
            .changed
            .wait_timeout_while(received, limit, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        received
            .complete_at
            .ok_or_else(|| Failure::new(format!("{} of {} events", received.events, self.shared.wanted)))
    }

    /// Waits for this text in a body.
    pub(super) fn wait_for_text(&self, text: &str, limit: Duration) -> Outcome {
        let received = self.shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        let is_waiting = |received: &mut Received| {
            !received.bodies.iter().any(|body| String::from_utf8_lossy(body).contains(text))
        };
        let (received, waited) = self
            .shared
            .changed
            .wait_timeout_while(received, limit, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        drop(received);
        if waited.timed_out() { Err(Failure::new(format!("no message with {text}"))) } else { Ok(()) }
    }

    /// How many different values were received, and in how many messages.
    pub(super) fn different(&self) -> (usize, usize) {
        let received = self.shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        let values: HashSet<&[u8]> = received.bodies.iter().flat_map(|body| values(body)).collect();
        (values.len(), received.bodies.len())
    }
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It only panics by a fault of this program, which the run has shown already.
            let _ = thread.join();
        }
    }
}

/// The values of JSON objects, one after the other.
pub(super) fn values(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = find(rest, VALUE)?;
        let value = &rest[at + VALUE.len()..];
        let end = value.iter().position(|byte| *byte == b'"')?;
        rest = &value[end..];
        Some(&value[..end])
    })
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Few bytes are the third of the part, so that little is compared.
    while let Some(at) = text.get(from..)?.iter().position(|byte| *byte == part[1]) {
        let start = (from + at).checked_sub(1);
        if let Some(start) = start.filter(|start| text[*start..].starts_with(part)) {
            return Some(start);
        }
        from += at + 1;
    }
    None
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("the listener does not block");
    // Dropped with them when the receiver is.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Responses are one write each.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| receive(request, &shared));
            // A sender that ends cuts its connections.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn receive(request: Request<Incoming>, shared: &Shared) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let body = body.to_bytes();
    let mut received = shared.received.lock().unwrap_or_else(PoisonError::into_inner);
    received.events += values(&body).count();
    received.bodies.push(body);
    if received.events >= shared.wanted {
        received.complete_at.get_or_insert_with(Instant::now);
    }
    shared.changed.notify_all();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_one_object_and_in_many() {
        let text =
            br#"{"data":{"events":[{"value":"192.0.2.7","v":1},{"x":"val","value":"2001:db8::/32"}]}}"#;
        let found: Vec<&[u8]> = values(text).collect();
        assert_eq!(found, [b"192.0.2.7".as_slice(), b"2001:db8::/32"]);
        assert_eq!(values(b"{}").count(), 0);
    }
}
