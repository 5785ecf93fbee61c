//! The receiver of an endpoint: an HTTP/1.1 server that keeps what it is sent, and misbehaves on request.
//!
//! ```text
//!   serve ── connections, bodies, responses, resets
//!     └─ model ── what the messages say the receiver holds, and what is wrong with them   (pure)
//!   truth ── what was decided, in versions, to compare that with
//! ```

mod model;
mod serve;
mod truth;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use self::model::Model;
use self::serve::Service;
use crate::host::Host;
use crate::lapi::Access;
use crate::outcome::{Doing, Failure, Outcome};

pub use self::model::{Entries, ReceivedEvent};
pub use self::truth::{Decides, Truth};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Its events are taken; 204.
    Accept,
    /// Its events are taken; 204 after this time.
    Late(Duration),
    /// Refused with this status.
    Status(u16),
    /// Refused with this status and `Retry-After`.
    RetryAfter(u16, String),
    /// A redirect to this URL.
    Redirect(String),
    /// The connection is reset before the body is read.
    ResetBefore,
    /// The body is read, its events are taken or not, and the connection is reset without a response.
    ResetAfter {
        /// Whether they are taken.
        taken: bool,
    },
}

impl Reaction {
    fn takes(&self) -> bool {
        matches!(self, Self::Accept | Self::Late(_) | Self::ResetAfter { taken: true })
    }

    fn acknowledges(&self) -> bool {
        matches!(self, Self::Accept | Self::Late(_))
    }
}

/// A received request.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// When its head was received.
    pub at: Instant,
    /// When it was responded to, or the connection reset; `None` while it is under way.
    pub answered: Option<Instant>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body; empty when the connection was reset before.
    pub body: String,
    /// What became of it.
    pub reaction: Reaction,
}

impl ReceivedRequest {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is decided at the head of each request when nothing is queued.
type Script = Box<dyn FnMut(&mut Rng) -> Reaction + Send>;

struct State {
    /// One that takes each message as it comes, and one that drops repeats: both must hold the same in the end.
    models: [Model; 2],
    requests: Vec<ReceivedRequest>,
    connections: usize,
    next: VecDeque<Reaction>,
    script: Script,
    rng: Rng,
    /// Bodies that contain one of these get 400.
    rejected: Vec<String>,
    /// Bodies that contain one of these are taken, and their connections reset.
    unacknowledged: Vec<String>,
}

impl State {
    fn doubt_everything(&mut self) {
        self.models.iter_mut().for_each(Model::doubt_everything);
    }

    fn decide(&mut self) -> Reaction {
        self.next.pop_front().unwrap_or_else(|| (self.script)(&mut self.rng))
    }
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A receiver on the loopback of a host, until dropped.
pub struct Receiver {
    host: Host,
    address: SocketAddr,
    shared: Shared,
    service: Option<Service>,
}

impl Receiver {
    /// Listens, and accepts everything. Entries are held as `events: value` sends them.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(host: &Host) -> Outcome<Self> {
        let state = State {
            models: [Model::default(), Model::dropping_repeats()],
            requests: Vec::new(),
            connections: 0,
            next: VecDeque::new(),
            script: Box::new(|_| Reaction::Accept),
            rng: Rng::with_seed(0),
            rejected: Vec::new(),
            unacknowledged: Vec::new(),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let shared = Arc::new(Mutex::new(state));
        let mut receiver = Self { host: host.clone(), address, shared, service: None };
        receiver.open()?;
        Ok(receiver)
    }

    /// Holds the entries that this `events` setting distinguishes.
    #[must_use]
    pub fn holding(self, entries: Entries) -> Self {
        self.state().models.iter_mut().for_each(|model| model.entries = entries);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where messages are sent.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Listens again, on the same port, if it was closed.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn open(&mut self) -> Outcome {
        if self.service.is_some() {
            return Ok(());
        }
        let address = self.address;
        let listener = self.host.run(move || TcpListener::bind(address)).doing("opening the receiver")?;
        self.address = listener.local_addr()?;
        self.service = Some(Service::start(listener, Arc::clone(&self.shared))?);
        Ok(())
    }

    /// Closes all connections, and refuses new ones.
    pub fn close(&mut self) {
        self.service = None;
        // What was written to them has perhaps been lost.
        self.state().doubt_everything();
    }

    /// The next request gets this reaction; calls queue up.
    pub fn next(&self, reaction: Reaction) {
        self.state().next.push_back(reaction);
    }

    /// Every request that finds no queued reaction gets this one.
    pub fn always(&self, reaction: Reaction) {
        self.script(0, move |_| reaction.clone());
    }

    /// Every request that finds no queued reaction gets what this returns; it is given a generator with this seed.
    pub fn script(&self, seed: u64, script: impl FnMut(&mut Rng) -> Reaction + Send + 'static) {
        let mut state = self.state();
        state.next.clear();
        state.rng = Rng::with_seed(seed);
        state.script = Box::new(script);
    }

    /// Accepts everything again.
    pub fn heal(&self) {
        self.always(Reaction::Accept);
        let mut state = self.state();
        state.rejected.clear();
        state.unacknowledged.clear();
    }

    /// Rejects bodies that contain this text with status 400.
    pub fn reject(&self, text: &str) {
        self.state().rejected.push(text.to_owned());
    }

    /// Takes bodies that contain this text without a response: their connections are reset.
    pub fn never_acknowledge(&self, text: &str) {
        self.state().unacknowledged.push(text.to_owned());
    }

    /// The sender was killed: it cannot know which messages have arrived.
    pub fn sender_was_killed(&self) {
        self.state().doubt_everything();
    }

    /// Loses all it holds, as one that was set up anew.
    pub fn forget(&self) {
        self.state().models.iter_mut().for_each(Model::forget);
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state().requests.clone()
    }

    /// How many requests there have been.
    pub fn request_count(&self) -> usize {
        self.state().requests.len()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// The events of all messages that were taken, oldest first. Of messages with the same id the first.
    pub fn events(&self) -> Vec<ReceivedEvent> {
        self.state().models[1].events.clone()
    }

    /// How many events there are, as [`events`](Self::events).
    pub fn event_count(&self) -> usize {
        self.state().models[1].events.len()
    }

    /// What it holds: the scenarios of each value's entries.
    pub fn holds(&self) -> BTreeMap<String, Vec<String>> {
        self.state().models[0].holds()
    }

    /// What it would hold if it dropped repeats.
    pub fn holds_without_repeats(&self) -> BTreeMap<String, Vec<String>> {
        self.state().models[1].holds()
    }

    /// Complete snapshots so far.
    pub fn snapshots(&self) -> usize {
        self.state().models[1].snapshots
    }

    /// Fails with what was wrong with the messages.
    ///
    /// # Errors
    /// When something was.
    pub fn is_content(&self) -> Outcome {
        let state = self.state();
        match state.models.iter().map(|model| &model.problems).find(|problems| !problems.is_empty()) {
            None => Ok(()),
            Some(problems) => Err(Failure::new(format!(
                "the receiver found {} problems: {}",
                problems.len(),
                problems.iter().take(8).cloned().collect::<Vec<_>>().join("; ")
            ))),
        }
    }

    /// An endpoint that sends to this receiver and repeats soon, with these keys besides.
    pub fn endpoint(&self, name: &str, keys: Value) -> Value {
        let mut endpoint = json!({
            "name": name, "url": self.url(), "allow_addresses": ["127.0.0.1"],
            "retry": { "first": "50ms", "max": "400ms" },
        });
        if let (Some(endpoint), Value::Object(keys)) = (endpoint.as_object_mut(), keys) {
            endpoint.extend(keys);
        }
        endpoint
    }
}

/// The file of a webhook bouncer that polls often.
pub fn webhook_file(lapi: &Access, endpoints: &[Value]) -> String {
    json!({
        "api_url": lapi.url, "api_key": lapi.key, "update_frequency": "100ms", "endpoints": endpoints,
    })
    .to_string()
}
