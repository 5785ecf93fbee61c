//! Serves the scripted LAPI's connections: authenticates requests, and sends correct responses or faults.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::rows::StreamQuery;
use super::wire::{self, Request};
use super::{Fault, RecordedRequest, Shared, State};

/// Interval at which a thread that waits for connections checks whether to stop.
const TICK: Duration = Duration::from_micros(500);

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves connections until the epoch is over.
pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>, epoch: u64) {
    while shared.state().epoch == epoch {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                // Ends when the client closes, a response cannot be written, or the epoch is over. An aborted request
                // is not an error.
                std::thread::spawn(move || {
                    let _ = serve(stream, &shared, epoch);
                });
            }
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

/// Serves one connection's requests in sequence.
fn serve(stream: TcpStream, shared: &Shared, epoch: u64) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    while let Some(request) = Request::read(&mut requests)? {
        if shared.state().epoch != epoch {
            return Ok(());
        }
        let mut exchange = Exchange { out: &mut out, request: &request, shared, epoch };
        if !exchange.answer()? {
            return Ok(());
        }
    }
    Ok(())
}

/// One request and its connection.
struct Exchange<'a> {
    out: &'a mut TcpStream,
    request: &'a Request,
    shared: &'a Shared,
    epoch: u64,
}

impl Exchange<'_> {
    /// Responds; `false` if the connection is to be closed.
    fn answer(&mut self) -> io::Result<bool> {
        let (shared, request) = (self.shared, self.request);
        let mut state = shared.state();
        state.seen.push(RecordedRequest {
            at: Instant::now(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: serde_json::from_slice(&request.body).ok(),
        });
        let key = request.header("x-api-key").unwrap_or_default();
        if !state.keys.iter().any(|known| known == key) {
            let refusal = state.refusal;
            drop(state);
            wire::answer(self.out, refusal, "", r#"{"message":"access forbidden"}"#)?;
            return Ok(true);
        }
        match request.path.as_str() {
            "/v1/decisions/stream" => {
                let fault = state.next.pop_front().or_else(|| state.meanwhile.clone());
                return match fault {
                    None => {
                        // Under the lock under which the request is recorded: a test that has seen the request may
                        // change the decisions, and the response must not contain that.
                        let body = self.body(&mut state);
                        drop(state);
                        self.send(&body)
                    }
                    Some(fault) => {
                        drop(state);
                        self.wrong_answer(fault)
                    }
                };
            }
            "/v1/usage-metrics" => {
                let status = state.usage_metrics;
                drop(state);
                wire::answer(self.out, status, "", "")?;
            }
            _ => {
                drop(state);
                wire::answer(self.out, 404, "", "")?;
            }
        }
        Ok(true)
    }

    /// The body a real LAPI would send now; advances the cursor.
    fn body(&self, state: &mut State) -> String {
        let (scopes, origins) = (self.request.parameter("scopes"), self.request.parameter("origins"));
        let ask = StreamQuery {
            startup: self.request.parameter("startup").as_deref() == Some("true"),
            scopes: scopes.as_deref(),
            origins: origins.as_deref(),
        };
        let key = self.request.header("x-api-key").unwrap_or_default();
        state.rows.stream(key, &ask, Instant::now())
    }

    fn body_now(&self) -> String {
        self.body(&mut self.shared.state())
    }

    fn send(&mut self, body: &str) -> io::Result<bool> {
        if self.modern() {
            wire::answer_in_chunks(self.out, body)?
        } else {
            wire::answer(self.out, 200, "", body)?
        }
        Ok(true)
    }

    fn wrong_answer(&mut self, fault: Fault) -> io::Result<bool> {
        match fault {
            Fault::Late(by) => {
                self.hold(by);
                let body = self.body_now();
                return self.send(&body);
            }
            Fault::Status(status) => {
                let message = if status == 403 { "access forbidden" } else { "unable to query" };
                wire::answer(self.out, status, "", &format!("{{\"message\":\"{message}\"}}"))?;
            }
            Fault::CutAfter(bytes) => {
                let body = self.body_now();
                wire::cut(self.out, &body, bytes)?;
                return Ok(false);
            }
            Fault::StallAfter(bytes) => {
                let body = self.body_now();
                wire::begin(self.out, &body, bytes)?;
                self.hold(Duration::from_secs(3600));
                return Ok(false);
            }
            Fault::Body(body) => {
                self.body_now();
                wire::answer(self.out, 200, "", &body)?;
            }
            Fault::Empty if self.modern() => {
                wire::answer_in_chunks(self.out, r#"{"new": [], "deleted": []}"#)?
            }
            Fault::Empty => wire::answer(self.out, 200, "", r#"{"deleted":null,"new":null}"#)?,
            Fault::Redirect(to) => wire::answer(self.out, 302, &format!("Location: {to}\r\n"), "")?,
            Fault::HangUp => return Ok(false),
        }
        Ok(true)
    }

    fn modern(&self) -> bool {
        self.shared.state().rows.modern
    }

    /// Holds the connection for `span`, or until the LAPI is healed or closed.
    fn hold(&self, span: Duration) {
        let state: MutexGuard<'_, State> = self.shared.state();
        let (epoch, heals) = (self.epoch, state.heals);
        let held = |state: &mut State| state.epoch == epoch && state.heals == heals;
        // A poisoned lock ends the wait; the test has failed by then.
        let _ = self.shared.changed.wait_timeout_while(state, span, held);
    }
}
