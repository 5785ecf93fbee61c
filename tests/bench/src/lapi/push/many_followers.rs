//! Many real clients in one thread: each is a follower with its own connection, schedule and back-off, and every
//! request is written down.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_cache::{Ledger, Policy};
use palisade_client::{Auth, Backoff, Client, ClientConfig, RetryPolicy, Secret, StreamQuery, UserAgent};
use palisade_e2e::Outcome;
use palisade_stream::{
    Admission, Cadence, Continuation, Follower, Freshness, Lapi, PullFault, PullKind, Request, Source,
    StreamSink, channel,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Something that one of the clients did or met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) client: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// It sent a request.
    Requested {
        /// Which may be parked.
        wait: bool,
    },
    /// It received a whole response.
    Responded {
        /// Which contained every decision in force.
        everything: bool,
    },
    /// The request failed.
    Failed,
}

/// All the clients, until dropped.
pub(super) struct ManyFollowers {
    log: Arc<Log>,
    clients: usize,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    events: Mutex<Vec<Event>>,
}

/// A LAPI that records its requests.
#[derive(Debug)]
struct Witnessed {
    lapi: Lapi,
    client: usize,
    log: Arc<Log>,
}

impl ManyFollowers {
    /// So many clients of the LAPI at `url`, which poll at `interval` when they are not held, and try again by
    /// `policy`.
    pub(super) fn gather(
        clients: usize,
        url: &str,
        key: &str,
        interval: Duration,
        policy: RetryPolicy,
    ) -> Outcome<Self> {
        let (log, stop) = (Arc::<Log>::default(), CancellationToken::new());
        let agent = UserAgent::new("palisade-bench", "v1")?;
        let mut followers = Vec::new();
        for number in 0..clients {
            let mut config = ClientConfig::new(url, Auth::Key(Secret::new(key)));
            config.instance = Some(format!("bench/{number}"));
            let mut ledger = Ledger::new(Policy::default(), number as u64);
            let (publisher, cache) = channel(ledger.snapshot());
            let lapi = Lapi::new(Client::new(&config, &agent)?, StreamQuery::default());
            let follower = Follower {
                source: Witnessed { lapi, client: number, log: Arc::clone(&log) },
                cadence: Cadence { interval, ..Cadence::default() },
                backoff: Backoff::new(policy),
                admission: Admission::new(None),
                ledger,
                cursor: String::new(),
                publisher,
                state: Freshness::default(),
            };
            followers.push((follower, cache));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let mut running = JoinSet::new();
                for (mut follower, cache) in followers {
                    let stopped = stopped.clone();
                    running.spawn(async move {
                        // A cache without a handle is not published to.
                        let _cache = cache;
                        follower.run(false, stopped).await
                    });
                }
                stopped.cancelled().await;
            });
        });
        Ok(Self { log, clients, stop, thread: Some(thread) })
    }

    /// How many have sent a request that may be held, and not had an answer.
    pub(super) fn held(&self) -> usize {
        let mut held = vec![false; self.clients];
        for event in self.log.events().iter() {
            held[event.client] = matches!(event.what, What::Requested { wait: true });
        }
        held.into_iter().filter(|held| *held).count()
    }

    /// How many have had an answer since then.
    pub(super) fn answered_since(&self, since: Instant) -> usize {
        let mut answered = vec![false; self.clients];
        for event in self.log.events().iter().filter(|event| event.at > since) {
            answered[event.client] |= matches!(event.what, What::Responded { .. });
        }
        answered.into_iter().filter(|answered| *answered).count()
    }

    /// All there was, in order of time.
    pub(super) fn events(&self) -> Vec<Event> {
        self.log.events().clone()
    }
}

impl Drop for ManyFollowers {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Log {
    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().expect("no holder panics")
    }

    fn note(&self, client: usize, what: What) {
        // Under the lock, so that they are in order.
        let mut events = self.events();
        events.push(Event { at: Instant::now(), client, what });
    }
}

impl Source for Witnessed {
    async fn pull(
        &mut self,
        request: &Request,
        sink: &mut dyn StreamSink,
    ) -> Result<Option<Continuation>, PullFault> {
        self.log.note(self.client, What::Requested { wait: !request.wait.is_zero() });
        let pulled = self.lapi.pull(request, sink).await;
        let what = match &pulled {
            Ok(head) => What::Responded { everything: request.brings(head.as_ref()) == PullKind::Everything },
            Err(_) => What::Failed,
        };
        self.log.note(self.client, what);
        pulled
    }

    fn name(&self) -> String {
        self.lapi.name()
    }
}
