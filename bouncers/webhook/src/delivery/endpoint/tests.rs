use std::collections::VecDeque;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason};
use palisade_stream::{Publisher, channel};
use tokio::time::timeout;

use super::*;
use crate::config::{BatchConfig, FilterConfig, HistoryConfig, Initial, Receiver, RetryConfig};
use crate::event::{EventKind, Grouping};
use crate::replace::testing::{all, http_config};
use crate::sink::{Failure, FailureKind, Message};
use crate::store::DEFAULT_CACHE_BYTES;

/// What happens to the next messages; all others are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Lose,
    Fail,
    Panic,
    /// Ends only when the endpoint does.
    Hang,
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    steps: VecDeque<Step>,
    /// What was accepted: kind and value.
    accepted: Vec<(&'static str, String)>,
    closed: usize,
}

impl Script {
    fn with(steps: &[Step]) -> Self {
        let script = Self::default();
        script.0.lock().unwrap().steps = steps.iter().copied().collect();
        script
    }

    fn accepted(&self) -> Vec<(&'static str, String)> {
        self.0.lock().unwrap().accepted.clone()
    }
}

impl Connector for Script {
    type Sink = Self;

    fn sink(&self) -> Self {
        self.clone()
    }
}

impl Sink for Script {
    async fn deliver(&mut self, message: &Message) -> Outcome {
        let step = self.0.lock().unwrap().steps.pop_front();
        match step {
            Some(Step::Lose) => return Outcome::Lost("started again".to_owned()),
            Some(Step::Fail) => {
                let (kind, reason) = (FailureKind::Retry, "no".to_owned());
                let failure = Failure { kind, perhaps_received: false, reason, retry_after: None };
                return Outcome::Failed(failure);
            }
            Some(Step::Panic) => panic!("scripted"),
            Some(Step::Hang) => std::future::pending().await,
            None => {}
        }
        let mut scripted = self.0.lock().unwrap();
        for event in &message.events {
            let kind = match event.kind {
                EventKind::Lifted(_) => "lifted",
                _ => "holds",
            };
            scripted.accepted.push((kind, event.value.to_string()));
        }
        Outcome::Delivered
    }

    async fn close(self) {
        self.0.lock().unwrap().closed += 1;
    }
}

fn config() -> Arc<EndpointConfig> {
    Arc::new(EndpointConfig {
        name: "test".to_owned(),
        grouping: Grouping::Value,
        filter: FilterConfig::default(),
        initial: Initial::Snapshot,
        snapshot_interval: None,
        batch: BatchConfig { events: 1, bytes: 65_536, wait: Duration::ZERO },
        parallel: 3,
        hold_repeats: Duration::ZERO,
        replay_at_start: false,
        history: None,
        retry: RetryConfig {
            first: Duration::from_millis(10),
            max: Duration::from_millis(100),
            breaker_failures: 3,
            max_retry_after: Duration::from_secs(60),
            refused: Duration::from_secs(60),
        },
        max_dead_letters: 10,
        receiver: Receiver::Http(http_config("http://127.0.0.1:1/".parse().unwrap())),
    })
}

/// Decisions, and an endpoint that follows them.
struct World {
    ledger: Ledger,
    publisher: Publisher,
    cache: CacheHandle,
    endpoint: Endpoint,
    fault: mpsc::Sender<Fault>,
    faults: mpsc::Receiver<Fault>,
    directory: tempfile::TempDir,
}

impl World {
    fn start(script: &Script) -> Self {
        Self::start_with(script, config())
    }

    fn start_with(script: &Script, config: Arc<EndpointConfig>) -> Self {
        Self::start_when(script, config, std::future::ready(true))
    }

    fn start_when(
        script: &Script,
        config: Arc<EndpointConfig>,
        first_decisions: impl Future<Output = bool> + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(Policy::default(), 0);
        let (publisher, cache) = channel(ledger.snapshot());
        let (fault, faults) = mpsc::channel(1);
        let store = directory.path().join("test.redb");
        let start = EndpointStart {
            config,
            connector: script.clone(),
            takes: all(),
            cache: cache.clone(),
            store,
            cache_bytes: DEFAULT_CACHE_BYTES,
            faults: fault.clone(),
            stop: CancellationToken::new(),
        };
        let endpoint = Endpoint::start(start, first_decisions);
        Self { ledger, publisher, cache, endpoint, fault, faults, directory }
    }

    /// Ends the endpoint and starts it with another configuration.
    async fn restart(&mut self, script: &Script, config: Arc<EndpointConfig>) {
        self.endpoint.stop().await;
        let start = EndpointStart {
            config,
            connector: script.clone(),
            takes: all(),
            cache: self.cache.clone(),
            store: self.directory.path().join("test.redb"),
            cache_bytes: DEFAULT_CACHE_BYTES,
            faults: self.fault.clone(),
            stop: CancellationToken::new(),
        };
        self.endpoint = Endpoint::start(start, std::future::ready(true));
    }

    fn ban(&mut self, addresses: &[&str]) {
        let mut batch = Batch::new();
        for address in addresses {
            let reason = Reason { remediation: "ban", origin: "cscli", scenario: "test" };
            let until = now().saturating_add(Duration::from_secs(3600));
            batch.announce_net(format!("{address}/32").parse().unwrap(), reason, until, 1);
        }
        self.ledger.apply(Mode::Everything, batch);
        self.publisher.publish(self.ledger.snapshot());
    }

    async fn until(&self, what: &str, is_so: impl Fn(&EndpointStatus) -> bool) {
        let reached = async {
            while !is_so(&self.endpoint.status()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = timeout(Duration::from_secs(30), reached).await;
        assert!(reached.is_ok(), "{what}: {:?}", self.endpoint.status());
    }
}

fn holds(addresses: &[&str]) -> Vec<(&'static str, String)> {
    addresses.iter().map(|address| ("holds", (*address).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_the_receiver_and_an_end_in_order_closes_every_sink() {
    let script = Script::default();
    let mut world = World::start(&script);
    world.ban(&["192.0.2.1", "192.0.2.2"]);
    world.until("both", |status| status.delivered == 2).await;
    world.ban(&["192.0.2.1"]);
    world.until("one lifted", |status| status.delivered == 3 && status.waiting == 0).await;
    world.endpoint.stop().await;
    let mut accepted = script.accepted();
    assert_eq!(accepted.pop(), Some(("lifted", "192.0.2.2".to_owned())));
    accepted.sort();
    assert_eq!(accepted, holds(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(script.0.lock().unwrap().closed, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_lost_its_state_is_sent_it_again_without_a_failure() {
    let script = Script::default();
    let mut world = World::start(&script);
    world.ban(&["192.0.2.1"]);
    world.until("delivered", |status| status.delivered == 1 && !status.is_snapshot_running).await;
    script.0.lock().unwrap().steps.push_back(Step::Lose);
    world.ban(&["192.0.2.1", "192.0.2.2"]);
    world.until("sent again", |status| status.delivered >= 3 && status.waiting == 0).await;
    let accepted = script.accepted();
    assert!(accepted.iter().filter(|one| **one == holds(&["192.0.2.1"])[0]).count() >= 2, "{accepted:?}");
    let status = world.endpoint.status();
    assert_eq!((status.failed_attempts, status.failing_since), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_new_with_the_endpoint_is_sent_everything_once() {
    // A program is started by the first message, and then reports that it knows nothing.
    let script = Script::with(&[Step::Lose]);
    // What is announced while the snapshot begins may be sent as a change too.
    let (begin, is_begun) = tokio::sync::oneshot::channel();
    let mut world = World::start_when(&script, config(), async { is_begun.await.is_ok() });
    world.ban(&["192.0.2.1", "192.0.2.2"]);
    begin.send(()).unwrap();
    world.until("sent", |status| status.delivered >= 2 && !status.is_snapshot_running).await;
    world.endpoint.stop().await;
    let mut accepted = script.accepted();
    accepted.sort();
    assert_eq!(accepted, holds(&["192.0.2.1", "192.0.2.2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_events_are_delivered_also_after_keep_history_was_removed() {
    let script = Script::default();
    let mut kept = EndpointConfig::clone(&config());
    kept.history = Some(HistoryConfig::default());
    let mut world = World::start_with(&script, Arc::new(kept));
    world.until("begun", |status| status.last_success.is_some() && status.waiting == 0).await;
    script.0.lock().unwrap().steps.extend([Step::Fail; 1000]);
    world.ban(&["192.0.2.1"]);
    world.until("queued", |status| status.failed_attempts > 0).await;
    world.ban(&["192.0.2.2"]);
    world.until("both changes queued", |status| status.waiting == 3).await;
    let script = Script::default();
    world.restart(&script, config()).await;
    world.until("all", |status| status.waiting == 0 && status.generation.is_some()).await;
    let accepted = script.accepted();
    let on_first = accepted.iter().filter(|(_, value)| value == "192.0.2.1").map(|(kind, _)| *kind);
    assert_eq!(on_first.collect::<Vec<_>>(), ["holds", "lifted"], "{accepted:?}");
    assert!(accepted.contains(&holds(&["192.0.2.2"])[0]), "{accepted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_sink_is_reported_as_a_fault() {
    let mut world = World::start(&Script::with(&[Step::Panic]));
    let fault = timeout(Duration::from_secs(30), world.faults.recv()).await.unwrap();
    assert_eq!(fault, Some(Fault("test".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_waits_a_bounded_time_for_a_receiver_that_hangs() {
    let script = Script::with(&[Step::Hang]);
    let world = World::start(&script);
    world.until("under way", |status| status.in_flight == 1).await;
    let ended = timeout(DRAIN_TIME * 4, world.endpoint.stop()).await;
    assert!(ended.is_ok());
    assert_eq!(world.endpoint.status().in_flight, 1);
    assert_eq!(script.0.lock().unwrap().closed, 3, "also the sink whose message was abandoned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_opened_is_shown_and_opened_later() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("endpoints");
    std::fs::write(&blocked, "a file where a directory should be").unwrap();
    let (_publisher, cache) = channel(Ledger::new(Policy::default(), 0).snapshot());
    let start = EndpointStart {
        config: config(),
        connector: Script::default(),
        takes: all(),
        cache,
        store: blocked.join("test.redb"),
        cache_bytes: DEFAULT_CACHE_BYTES,
        faults: mpsc::channel(1).0,
        stop: CancellationToken::new(),
    };
    let endpoint = Endpoint::start(start, std::future::ready(true));
    let wait = |is_so: fn(&EndpointStatus) -> bool| {
        let endpoint = &endpoint;
        timeout(Duration::from_secs(30), async move {
            while !is_so(&endpoint.status()) {
                sleep(Duration::from_millis(5)).await;
            }
        })
    };
    wait(|status| status.store_problem.is_some()).await.unwrap();
    assert!(
        endpoint.resume().unwrap_err().to_string().starts_with("the endpoint has not opened its store yet")
    );
    std::fs::remove_file(&blocked).unwrap();
    wait(|status| status.store_problem.is_none() && status.generation.is_some()).await.unwrap();
    endpoint.resume().unwrap();
}
