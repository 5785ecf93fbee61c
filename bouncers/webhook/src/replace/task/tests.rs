use std::collections::VecDeque;
use std::path::Path;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Snapshot};
use palisade_stream::{Publisher, channel};

use super::*;
use crate::config::{BatchConfig, FilterConfig, Initial, Receiver, ReplaceService, RetryConfig};
use crate::event::Grouping;
use crate::replace::testing::{all, http_config};
use crate::sink::FailureKind;

const INTERVAL: Duration = Duration::from_secs(60);

/// A receiver that answers by a script, and with success after its end.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    outcomes: VecDeque<Result<(), Failure>>,
    /// When each list arrived, and its values.
    lists: Vec<(Instant, Vec<String>)>,
}

impl Replacer for Script {
    fn shape(&self, max_entries: usize, aggregate: bool) -> Shape {
        Shape::any(max_entries, aggregate)
    }

    fn digest(&self, list: &List) -> [u8; 32] {
        list.digest("script", |_, _| {})
    }

    async fn replace(&mut self, list: &List) -> Result<(), Failure> {
        let outcome = {
            let mut scripted = self.0.lock().unwrap();
            let values = list.items.iter().map(|item| item.value.to_string()).collect();
            scripted.lists.push((Instant::now(), values));
            scripted.outcomes.pop_front().unwrap_or(Ok(()))
        };
        sleep(Duration::from_secs(1)).await;
        outcome
    }
}

impl Script {
    fn failing(failures: &[(FailureKind, Option<u64>)]) -> Self {
        let script = Self::default();
        script.0.lock().unwrap().outcomes = failures
            .iter()
            .map(|&(kind, after)| {
                let retry_after = after.map(Duration::from_secs);
                Err(Failure { kind, perhaps_received: true, reason: "no".to_owned(), retry_after })
            })
            .collect();
        script
    }

    fn lists(&self) -> Vec<Vec<String>> {
        self.0.lock().unwrap().lists.iter().map(|(_, values)| values.clone()).collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.0.lock().unwrap().lists.iter().map(|(time, _)| *time).collect()
    }
}

struct World {
    publisher: Publisher,
    cache: CacheHandle,
    ledger: Mutex<Ledger>,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (publisher, cache) = channel(Snapshot::default());
        let ledger = Mutex::new(Ledger::new(Policy::default(), 0));
        Self { publisher, cache, ledger, dir: tempfile::tempdir().unwrap() }
    }

    fn state_file(&self) -> PathBuf {
        self.dir.path().join("x.accepted")
    }

    fn start(&self, script: &Script) -> ReplaceEndpoint {
        self.start_at(script, &self.state_file(), std::future::ready(true), None)
    }

    fn start_at(
        &self,
        script: &Script,
        state_file: &Path,
        first: impl Future<Output = bool> + Send + 'static,
        snapshot_interval: Option<Duration>,
    ) -> ReplaceEndpoint {
        let service = ReplaceService::Http(http_config("http://127.0.0.1/".parse().unwrap()));
        let replace =
            Arc::new(ReplaceConfig { service, interval: INTERVAL, max_entries: 100, aggregate: false });
        let start = ReplaceStart {
            config: Arc::new(endpoint(Receiver::Replace(Arc::clone(&replace)), snapshot_interval)),
            replace,
            replacer: script.clone(),
            takes: all(),
            cache: self.cache.clone(),
            state_file: state_file.to_owned(),
            stop: CancellationToken::new(),
        };
        ReplaceEndpoint::start(start, first)
    }

    /// Publishes that these addresses are banned and no others.
    fn publish(&self, addresses: &[&str]) {
        let mut batch = Batch::new();
        for address in addresses {
            let reason = Reason { remediation: "ban", origin: "cscli", scenario: "manual" };
            batch.announce_net(
                format!("{address}/32").parse().unwrap(),
                reason,
                Timestamp::from_millis(60_000),
                1,
            );
        }
        let mut ledger = self.ledger.lock().unwrap();
        ledger.apply(Mode::Everything, batch);
        self.publisher.publish(ledger.snapshot());
    }
}

fn endpoint(receiver: Receiver, snapshot_interval: Option<Duration>) -> EndpointConfig {
    EndpointConfig {
        name: "cdn".to_owned(),
        grouping: Grouping::Value,
        filter: FilterConfig::default(),
        initial: Initial::Snapshot,
        snapshot_interval,
        batch: BatchConfig { events: 1, bytes: 1000, wait: Duration::ZERO },
        parallel: 1,
        hold_repeats: Duration::ZERO,
        replay_at_start: false,
        history: None,
        retry: RetryConfig {
            first: Duration::from_secs(1),
            max: Duration::from_secs(3600),
            breaker_failures: 3,
            max_retry_after: Duration::from_secs(7200),
            refused: Duration::from_secs(1800),
        },
        max_dead_letters: 10,
        receiver,
    }
}

/// Waits on tokio's clock, which passes at once.
async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("it never holds");
}

/// Lets everything that is due within two intervals happen.
async fn pause() {
    sleep(2 * INTERVAL).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_uploaded_before_the_first_decisions_are_known() {
    let world = World::new();
    let script = Script::default();
    let (known, first) = tokio::sync::oneshot::channel();
    let first = async move { first.await.unwrap_or(false) };
    let endpoint = world.start_at(&script, &world.state_file(), first, None);
    pause().await;
    assert!(script.lists().is_empty() && !endpoint.status().ready);
    world.publish(&["192.0.2.1"]);
    known.send(true).unwrap();
    until(|| endpoint.status().accepted == 1).await;
    assert_eq!(script.lists(), [["192.0.2.1"]]);
    endpoint.stop().await;
    let never = world.start_at(&script, &world.dir.path().join("y"), std::future::ready(false), None);
    pause().await;
    assert_eq!(script.lists().len(), 1);
    never.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_within_the_interval_are_one_update_with_the_newest_state() {
    let world = World::new();
    let script = Script::default();
    let endpoint = world.start(&script);
    until(|| endpoint.status().accepted == 1).await;
    for addresses in [&["192.0.2.1"][..], &["192.0.2.1", "192.0.2.2"], &["192.0.2.3"]] {
        world.publish(addresses);
        sleep(Duration::from_secs(5)).await;
    }
    until(|| endpoint.status().accepted == 2).await;
    assert_eq!(script.lists()[1], ["192.0.2.3"]);
    let times = script.times();
    assert!(times[1] - times[0] >= INTERVAL);
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_accepted_is_not_uploaded_again_not_even_after_a_restart() {
    let world = World::new();
    let script = Script::default();
    world.publish(&["192.0.2.1"]);
    let endpoint = world.start(&script);
    until(|| endpoint.status().accepted == 1).await;
    world.publish(&["192.0.2.2"]);
    world.publish(&["192.0.2.1"]);
    pause().await;
    assert!(!endpoint.status().waiting);
    endpoint.stop().await;
    let endpoint = world.start(&script);
    until(|| endpoint.status().ready && !endpoint.status().waiting).await;
    assert_eq!(script.lists().len(), 1);
    endpoint.snapshot();
    until(|| endpoint.status().accepted == 1).await;
    assert_eq!(script.lists().len(), 2, "unless it is asked for");
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_abandoned_is_repeated_although_the_old_list_is_back() {
    let world = World::new();
    let script = Script::default();
    world.publish(&["192.0.2.1"]);
    let endpoint = world.start(&script);
    until(|| endpoint.status().accepted == 1).await;
    world.publish(&["192.0.2.2"]);
    until(|| script.lists().len() == 2).await;
    endpoint.stop().await;
    world.publish(&["192.0.2.1"]);
    let endpoint = world.start(&script);
    until(|| endpoint.status().accepted == 1).await;
    assert_eq!(script.lists()[2], ["192.0.2.1"], "the receiver may hold the list of the abandoned upload");
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_with_back_off_and_the_newest_state() {
    let world = World::new();
    let script = Script::failing(&[
        (FailureKind::Retry, None),
        (FailureKind::Retry, Some(600)),
        (FailureKind::Rejected, None),
        (FailureKind::Refusing, None),
    ]);
    world.publish(&["192.0.2.1"]);
    let endpoint = world.start(&script);
    until(|| endpoint.status().failed == 2).await;
    assert!(endpoint.status().failing_since.is_some());
    world.publish(&["192.0.2.2"]);
    until(|| endpoint.status().failed == 4).await;
    assert_eq!(endpoint.status().state, CircuitState::Refused);
    until(|| endpoint.status().accepted == 1).await;
    let times = script.times();
    assert!(times[2] - times[1] >= Duration::from_secs(600), "Retry-After is honoured");
    assert!(times[4] - times[3] >= Duration::from_secs(1600), "a refusing receiver is tried rarely");
    assert_eq!(script.lists()[4], ["192.0.2.2"]);
    let status = endpoint.status();
    assert_eq!((status.state, status.failing_since), (CircuitState::Closed, None));
    assert_eq!(status.last_error.as_deref(), Some("no"));
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_called_again_only_when_resumed() {
    let world = World::new();
    let script = Script::failing(&[(FailureKind::Gone, None)]);
    let endpoint = world.start(&script);
    until(|| endpoint.status().state == CircuitState::Stopped).await;
    endpoint.stop().await;
    let endpoint = world.start(&script);
    world.publish(&["192.0.2.1"]);
    sleep(Duration::from_secs(1_000_000)).await;
    assert_eq!((script.lists().len(), endpoint.status().state), (1, CircuitState::Stopped));
    endpoint.resume();
    until(|| endpoint.status().accepted == 1).await;
    assert_eq!(script.lists()[1], ["192.0.2.1"]);
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_snapshot_is_uploaded_on_schedule() {
    let world = World::new();
    let script = Script::default();
    let every = Some(Duration::from_secs(3600));
    let endpoint = world.start_at(&script, &world.state_file(), std::future::ready(true), every);
    until(|| endpoint.status().accepted == 3).await;
    let times = script.times();
    assert!(times[2] - times[1] >= Duration::from_secs(3600));
    endpoint.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_state_directory_that_cannot_be_written_does_not_stop_uploads() {
    let world = World::new();
    let script = Script::default();
    let nowhere = world.dir.path().join("missing/x.accepted");
    let endpoint = world.start_at(&script, &nowhere, std::future::ready(true), None);
    until(|| endpoint.status().accepted == 1).await;
    world.publish(&["192.0.2.1"]);
    until(|| endpoint.status().accepted == 2).await;
    endpoint.stop().await;
}
