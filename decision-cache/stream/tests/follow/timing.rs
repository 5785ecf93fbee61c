//! Ends and persistence in real time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_cache::{Ledger, Policy};
use palisade_client::{Backoff, Continuation, RetryPolicy, StreamSink};
use palisade_stream::{
    Admission, Cadence, Follower, Freshness, PullFault, PullKind, Request, Source, StateFile, channel, keep,
    now,
};
use palisade_wire::follow::{Content, FullReason};
use palisade_wire::{StreamDecision, StreamItem};
use tokio_util::sync::CancellationToken;

use crate::session::{A, B, RANGE, Response, Session, decision, full};

#[tokio::test]
async fn a_ban_ends_on_time_without_a_response() {
    let short = ("192.0.2.3", "cscli", "300ms", 5);
    let mut session = Session::begin(vec![full(&[A, short])]);
    session.pulls.recv().await.unwrap();
    let mut changed = session.cache.changed();
    changed.wait_for(|generation| *generation == 1).await.unwrap();
    assert_eq!(session.held().len(), 2);
    tokio::time::timeout(Duration::from_secs(5), changed.wait_for(|generation| *generation == 2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.held(), ["192.0.2.1 cscli"]);
}

/// A stock LAPI with one decision, which it prolongs without announcing that in its changes.
struct Prolongs {
    ends: Arc<Mutex<std::time::Instant>>,
}

impl Source for Prolongs {
    async fn pull(
        &mut self,
        request: &Request,
        sink: &mut dyn StreamSink,
    ) -> Result<Option<Continuation>, PullFault> {
        sink.begin(None);
        let left = self.ends.lock().unwrap().saturating_duration_since(std::time::Instant::now());
        if request.ask == PullKind::Everything && !left.is_zero() {
            let duration = format!("{}ms", left.as_millis());
            let one = StreamDecision { duration: duration.into(), ..decision(A) };
            sink.item(StreamItem::New(one));
        }
        Ok(None)
    }

    fn name(&self) -> String {
        "a stock LAPI".to_owned()
    }
}

#[tokio::test]
async fn a_decision_prolonged_without_an_announcement_stays_in_force() {
    let in_seconds = |seconds| std::time::Instant::now() + Duration::from_secs(seconds);
    let ends = Arc::new(Mutex::new(in_seconds(4)));
    let mut ledger = Ledger::new(Policy::default(), 0);
    let (publisher, cache) = channel(ledger.snapshot());
    let mut follower = Follower {
        source: Prolongs { ends: Arc::clone(&ends) },
        cadence: Cadence { interval: Duration::from_millis(200), ..Cadence::default() },
        backoff: Backoff::with_seed(RetryPolicy::for_interval(Duration::from_secs(10)), 1),
        admission: Admission::new(None),
        ledger,
        cursor: String::new(),
        publisher,
        state: Freshness::default(),
    };
    let stop = CancellationToken::new();
    let holds = || cache.read().holds("192.0.2.1".parse().unwrap());
    let checks = async {
        cache.changed().wait_for(|generation| *generation > 0).await.unwrap();
        *ends.lock().unwrap() = in_seconds(3600);
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(holds(), "the decision is in force at the LAPI");
        }
        assert!(cache.freshness().full_pulls <= 4, "{}", cache.freshness().full_pulls);
        stop.cancel();
    };
    tokio::join!(follower.run(false, stop.clone()), checks);
}

#[tokio::test]
async fn changes_are_persisted_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "all");
    let start = Content::Everything(FullReason::Start);
    let mut session = Session::begin(vec![
        Response::WithCursor("T1", start, Some(60), vec![A], vec![]),
        Response::WithCursor("T2", Content::Changes, Some(60), vec![B], vec![]),
        Response::WithCursor("T3", Content::Changes, Some(60), vec![RANGE], vec![A]),
    ]);
    let stop = CancellationToken::new();
    let keeping = keep(memory.clone(), session.cache.clone(), Duration::from_millis(500), stop.clone());
    let checks = async {
        session.play_out().await;
        let in_force = std::time::Instant::now();
        loop {
            let mut ledger = Ledger::new(Policy::default(), 0);
            if let Some(remembered) = memory.load(now()).unwrap() {
                let cursor = remembered.cursor.clone();
                remembered.restore(&mut ledger, now());
                if cursor == "T3" {
                    break assert_eq!(ledger.len(), 2);
                }
            }
            assert!(in_force.elapsed() < Duration::from_secs(1), "{} are remembered", ledger.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    tokio::join!(keeping, checks);
}
