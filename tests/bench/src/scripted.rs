//! A LAPI that sends prepared bytes, as a stock one does, and records when the last of them was sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use palisade_e2e::{Access, Failure, Host, Outcome};

/// Listens on a loopback until dropped.
pub(crate) struct ScriptedStream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    startup: Vec<u8>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    startup_sent: Option<Instant>,
    delta: Option<String>,
    delta_sent: Option<Instant>,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl ScriptedStream {
    /// Answers `startup=true` with these decisions, and everything else with nothing new.
    pub(crate) fn start(host: &Host, decisions: impl Iterator<Item = String>) -> Outcome<Self> {
        Self::serve(host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?, decisions)
    }

    /// The same on the host that this program runs on.
    pub(crate) fn start_here(decisions: impl Iterator<Item = String>) -> Outcome<Self> {
        Self::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, decisions)
    }

    fn serve(listener: TcpListener, decisions: impl Iterator<Item = String>) -> Outcome<Self> {
        let address = listener.local_addr()?;
        let mut startup = br#"{"new":["#.to_vec();
        for (at, decision) in decisions.enumerate() {
            startup.extend_from_slice(if at == 0 { b"" } else { b"," });
            startup.extend_from_slice(decision.as_bytes());
        }
        startup.extend_from_slice(br#"],"deleted":[]}"#);
        let shared = Arc::new(Shared { startup, state: Mutex::default(), changed: Condvar::new() });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if served.state().closed {
                    return;
                }
                let shared = Arc::clone(&served);
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// What a bouncer needs to connect.
    pub(crate) fn access(&self) -> Access {
        Access { url: format!("http://{}/", self.address), key: "key".to_owned() }
    }

    /// When the last byte of the startup answer left.
    pub(crate) fn startup_sent(&self) -> Option<Instant> {
        self.shared.state().startup_sent
    }

    /// Puts one more decision into the next answer; returns when that answer's last byte left.
    pub(crate) fn announce(&self, decision: &str) -> Outcome<Instant> {
        self.answer_with(format!(r#"{{"new":[{decision}],"deleted":[]}}"#))
    }

    /// Puts the end of a decision into the next answer; returns when that answer's last byte left.
    pub(crate) fn delete(&self, decision: &str) -> Outcome<Instant> {
        self.answer_with(format!(r#"{{"new":[],"deleted":[{decision}]}}"#))
    }

    fn answer_with(&self, delta: String) -> Outcome<Instant> {
        let mut state = self.shared.state();
        (state.delta, state.delta_sent) = (Some(delta), None);
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, Duration::from_secs(120), |state| state.delta_sent.is_none())
            .expect("no holder panics");
        match state.delta_sent {
            Some(sent) if !waited.timed_out() => Ok(sent),
            _ => Err(Failure::new("the bouncer stopped asking")),
        }
    }
}

impl Drop for ScriptedStream {
    fn drop(&mut self) {
        // Takes effect at the next request or connection; a bouncer that was killed makes none.
        self.shared.state().closed = true;
    }
}

fn serve(mut connection: TcpStream, shared: &Shared) {
    // Head and body are two writes: the second must not wait for the first to be acknowledged.
    let _ = connection.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(head) = read_request(&mut connection, &mut buffer) {
        if shared.state().closed {
            return;
        }
        let stream = head.starts_with("GET") && head.contains("/decisions/stream");
        let startup = stream && head.contains("startup=true");
        let delta = if stream && !startup { shared.state().delta.take() } else { None };
        let body = match &delta {
            _ if startup => shared.startup.as_slice(),
            Some(delta) => delta.as_bytes(),
            None => br#"{"new":[],"deleted":[]}"#,
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body)).is_err() {
            return;
        }
        let mut state = shared.state();
        if startup {
            state.startup_sent = Some(Instant::now());
        } else if delta.is_some() {
            state.delta_sent = Some(Instant::now());
        }
        shared.changed.notify_all();
    }
}

/// The head of the next request; its body is skipped.
fn read_request(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let mut more = |buffer: &mut Vec<u8>| {
        let mut part = [0u8; 4096];
        match connection.read(&mut part) {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                buffer.extend_from_slice(&part[..read]);
                Some(())
            }
        }
    };
    let end = loop {
        match buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(buffer)?,
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let whole = end + length.unwrap_or(0);
    while buffer.len() < whole {
        more(buffer)?;
    }
    buffer.drain(..whole);
    Some(head)
}
