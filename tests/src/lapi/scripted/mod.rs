//! A LAPI that stores decisions like a real one, and fails on request in the ways real ones do.

mod rows;
mod serve;
mod wire;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::rows::DecisionTable;
use super::{Access, Ban};
use crate::host::Host;
use crate::outcome::{Doing, Outcome};

/// A fault that replaces the correct response to a stream request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with a LAPI's error body.
    Status(u16),
    /// This many bytes of the correct response, then a reset. The cursor has advanced.
    CutAfter(usize),
    /// This many bytes of the correct response, then nothing more, until the fault is over.
    StallAfter(usize),
    /// 200 with this body. The cursor has advanced.
    Body(String),
    /// A redirect to this URL.
    Redirect(String),
    /// A well-formed response without any decision, as from a LAPI whose database fails.
    Empty,
    /// The correct response with this delay.
    Late(Duration),
    /// The connection is closed before any response.
    HangUp,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// When it was received.
    pub at: Instant,
    /// `GET`, `POST`, `HEAD`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Raw.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// For usage metrics: the JSON posted.
    pub body: Option<Value>,
}

impl RecordedRequest {
    /// Whether it requests a full pull.
    pub fn is_startup(&self) -> bool {
        self.query.split('&').any(|pair| pair == "startup=true")
    }

    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The scripted LAPI, listening on a host until dropped.
pub struct ScriptedLapi {
    host: Host,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    rows: DecisionTable,
    keys: Vec<String>,
    /// Status for an unknown key: 403, or the upstream suite's 404.
    refusal: u16,
    usage_metrics: u16,
    next: VecDeque<Fault>,
    meanwhile: Option<Fault>,
    seen: Vec<RecordedRequest>,
    /// Connections of an older epoch are dropped.
    epoch: u64,
    /// Number of calls of `heal`: each ends every stalled connection.
    heals: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScriptedLapi {
    /// Listens on the router's loopback, or wherever `host` is, with one valid key and no decision.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(host: &Host) -> Outcome<Self> {
        Self::start_at(host, IpAddr::from([127, 0, 0, 1]))
    }

    /// Listens on another address of `host`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start_at(host: &Host, at: IpAddr) -> Outcome<Self> {
        let state = State {
            rows: DecisionTable::default(),
            keys: vec!["key-of-the-story".to_owned()],
            refusal: 403,
            usage_metrics: 201,
            next: VecDeque::new(),
            meanwhile: None,
            seen: Vec::new(),
            epoch: 0,
            heals: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut lapi = Self { host: host.clone(), address: SocketAddr::new(at, 0), shared };
        lapi.open()?;
        Ok(lapi)
    }

    /// The settings of a bouncer.
    pub fn access(&self) -> Access {
        Access { url: format!("http://{}/", self.address), key: "key-of-the-story".to_owned() }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn open(&mut self) -> Outcome {
        let address = self.address;
        let listener = self.host.run(move || serve::listen(address)).doing("opening the scripted LAPI")?;
        self.address = listener.local_addr()?;
        let epoch = self.shared.state().epoch;
        let shared = Arc::clone(&self.shared);
        // Ends with `close` or when the LAPI is dropped.
        std::thread::spawn(move || serve::accept(&listener, &shared, epoch));
        Ok(())
    }

    /// Refuses connections from now on and drops the open ones.
    pub fn close(&self) {
        let mut state = self.shared.state();
        state.epoch += 1;
        drop(state);
        self.shared.changed.notify_all();
        // The waiting thread closes the listener; this waits for it.
        let address = self.address;
        let refused =
            || self.host.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err());
        let _ = crate::eventually("the scripted LAPI is closed", refused);
    }

    /// Adds a decision; returns its id.
    pub fn ban(&self, ban: impl Into<Ban>) -> i64 {
        self.shared.state().rows.add(ban.into(), Instant::now())
    }

    /// Adds many.
    pub fn ban_all(&self, bans: impl IntoIterator<Item = Ban>) {
        let mut state = self.shared.state();
        let now = Instant::now();
        for ban in bans {
            state.rows.add(ban, now);
        }
    }

    /// Ends every decision on this value; returns how many there were.
    pub fn lift(&self, value: &str) -> usize {
        self.shared.state().rows.lift(value)
    }

    /// Deletes the rows of this value without announcement, as deleting an alert does.
    pub fn erase(&self, value: &str) {
        self.shared.state().rows.rows.retain(|row| row.ban.value != value);
    }

    /// Adds a decision that no delta will ever contain: its transaction commits after the cursors have passed its
    /// timestamp.
    pub fn ban_unseen(&self, ban: impl Into<Ban>) {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap_or_else(Instant::now);
        self.shared.state().rows.add(ban.into(), long_ago);
    }

    /// Simulates another puller with the same key, which takes the pending delta.
    pub fn steal_delta(&self) {
        let now = Instant::now();
        for cursor in self.shared.state().rows.cursors.values_mut() {
            *cursor = now;
        }
    }

    /// Refreshes a blocklist: the rows of this origin are deleted and added again with new ids, `duration` long.
    pub fn refresh_origin(&self, origin: &str, duration: Duration) {
        let mut state = self.shared.state();
        let (old, kept) =
            std::mem::take(&mut state.rows.rows).into_iter().partition(|row| row.ban.origin == origin);
        state.rows.rows = kept;
        let now = Instant::now();
        let old: Vec<rows::ScriptedRow> = old;
        for row in old {
            state.rows.add(row.ban.lasting(duration), now);
        }
    }

    /// Replaces the database by an empty one: ids start again, and no cursor is known.
    pub fn replace_database(&self) {
        let mut state = self.shared.state();
        let modern = state.rows.modern;
        state.rows = DecisionTable { modern, ..DecisionTable::default() };
    }

    /// Behaves like LAPI 1.7.8 (chunks, `[]`, whole seconds) instead of 1.4.6.
    pub fn modern(&self) {
        self.shared.state().rows.modern = true;
    }

    /// The status for a request with an unknown key; 404 is what the upstream suite's mock gives.
    pub fn refuse_unknown_keys_with(&self, status: u16) {
        self.shared.state().refusal = status;
    }

    /// Replaces the valid keys.
    pub fn accept_keys(&self, keys: &[&str]) {
        self.shared.state().keys = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    /// The status for usage metrics; 404 is what an old LAPI gives.
    pub fn answer_usage_metrics_with(&self, status: u16) {
        self.shared.state().usage_metrics = status;
    }

    /// The next stream request gets this fault; calls queue up.
    pub fn next(&self, fault: Fault) {
        self.shared.state().next.push_back(fault);
    }

    /// The next stream request gets exactly these decisions, `(id, ban, duration)`, whatever the database holds.
    pub fn next_is(&self, new: &[(i64, Ban, &str)], deleted: &[(i64, Ban, &str)]) {
        let list = |rows: &[(i64, Ban, &str)]| {
            let objects: Vec<_> =
                rows.iter().map(|(id, ban, duration)| rows::object(*id, ban, duration)).collect();
            if objects.is_empty() { "null".to_owned() } else { format!("[{}]", objects.join(",")) }
        };
        self.next(Fault::Body(format!("{{\"deleted\":{},\"new\":{}}}", list(deleted), list(new))));
    }

    /// Every stream request gets this fault, until [`heal`](Self::heal).
    pub fn meanwhile(&self, fault: Fault) {
        self.shared.state().meanwhile = Some(fault);
    }

    /// Correct responses from now on; stalled ones are cut off.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.meanwhile = None;
        state.next.clear();
        state.heals += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Every request so far, oldest first.
    pub fn seen(&self) -> Vec<RecordedRequest> {
        self.shared.state().seen.clone()
    }

    /// The stream requests among them.
    pub fn pulls(&self) -> Vec<RecordedRequest> {
        self.seen().into_iter().filter(|seen| seen.path == "/v1/decisions/stream").collect()
    }

    /// The usage metrics posted so far.
    pub fn usage_metrics(&self) -> Vec<Value> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.path == "/v1/usage-metrics")
            .filter_map(|seen| seen.body)
            .collect()
    }

    /// Waits until `count` more stream requests have been answered; earlier state has then been received.
    ///
    /// # Errors
    /// When they do not come.
    pub fn pulled(&self, count: usize) -> Outcome {
        let before = self.pulls().len();
        let what = format!("the bouncer asks the LAPI {count} more times");
        crate::eventually(&what, || self.pulls().len() >= before + count).map(drop)
    }
}

impl Drop for ScriptedLapi {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.epoch += 1;
        drop(state);
        self.shared.changed.notify_all();
    }
}
