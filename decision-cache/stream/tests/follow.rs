//! The follower against a scripted LAPI: everything the protocol does to a client, survived.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_cache::{Ledger, Policy};
use palisade_client::{Backoff, Continuation, RetryPolicy, StreamSink};
use palisade_stream::{
    Admission, CacheHandle, Cadence, Ended, Follower, Freshness, Peer, PullFault, PullKind, Request, Source,
    StateFile, channel, keep, now,
};
use palisade_wire::follow::{Content, FullReason};
use palisade_wire::{StreamDecision, StreamItem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// (value, origin, duration, id)
type Line = (&'static str, &'static str, &'static str, i64);

#[derive(Debug)]
enum Answer {
    Full(Vec<Line>),
    /// A full answer that lists ends too, as a stock LAPI's does.
    FullWithEnds(Vec<Line>, Vec<Line>),
    Delta {
        new: Vec<Line>,
        deleted: Vec<Line>,
    },
    /// Of a LAPI that keeps cursors: its cursor, what it holds, how long it would hold a request, both lists.
    Kept(&'static str, Content, Option<u64>, Vec<Line>, Vec<Line>),
    /// Some items, then the connection breaks.
    Cut(Vec<Line>),
    Refused,
    Unreachable,
}

/// Sends one scripted response per request, records the requests, and blocks when there are no more responses.
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: mpsc::UnboundedSender<PullKind>,
    requests: Arc<Mutex<Vec<Request>>>,
}

fn decision((value, origin, duration, id): Line) -> StreamDecision<'static> {
    StreamDecision {
        id,
        origin: origin.into(),
        scenario: "story".into(),
        scope: if value.contains('/') { "Range".into() } else { "Ip".into() },
        kind: "ban".into(),
        value: value.into(),
        duration: duration.into(),
    }
}

impl Source for Script {
    async fn pull(
        &mut self,
        request: &Request,
        sink: &mut dyn StreamSink,
    ) -> Result<Option<Continuation>, PullFault> {
        let ask = request.ask;
        let fault = |text: &str, may_have_reached_lapi, refused| PullFault {
            error: text.to_owned().into(),
            shortest_retry: Duration::from_secs(if refused { 2 } else { 1 }),
            settled_retry: Duration::from_secs(if refused { 60 } else { 0 }),
            may_have_reached_lapi,
            refused,
            may_end_a_hold: may_have_reached_lapi,
            elsewhere: false,
        };
        self.requests.lock().unwrap().push(request.clone());
        self.asked.send(ask).unwrap();
        let Some(answer) = self.answers.lock().unwrap().pop_front() else {
            return std::future::pending().await;
        };
        if !matches!(answer, Answer::Kept(..)) {
            sink.begin(None);
        }
        match answer {
            Answer::Full(new) => {
                assert_eq!(ask, PullKind::Everything, "the script plays a full answer here");
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                Ok(None)
            }
            Answer::FullWithEnds(new, deleted) => {
                assert_eq!(ask, PullKind::Everything, "the script plays a full answer here");
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                deleted.into_iter().for_each(|line| sink.item(StreamItem::Deleted(decision(line))));
                Ok(None)
            }
            Answer::Kept(cursor, content, wait, new, deleted) => {
                let wait = wait.map(Duration::from_secs);
                let head = Continuation { cursor: cursor.to_owned(), content, wait };
                sink.begin(Some(&head));
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                deleted.into_iter().for_each(|line| sink.item(StreamItem::Deleted(decision(line))));
                Ok(Some(head))
            }
            Answer::Delta { new, deleted } => {
                assert_eq!(ask, PullKind::Changes, "the script plays changes here");
                // The order on the wire is the LAPI's choice; ends must still come first.
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                deleted.into_iter().for_each(|line| sink.item(StreamItem::Deleted(decision(line))));
                Ok(None)
            }
            Answer::Cut(new) => {
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                Err(fault("cut", true, false))
            }
            Answer::Refused => Err(fault("refused", true, true)),
            Answer::Unreachable => Err(fault("unreachable", false, false)),
        }
    }

    fn name(&self) -> String {
        "the script".to_owned()
    }
}

/// The log of a test, as text. It is the thread's, so the test must run on one.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = subscriber.without_time().with_target(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines_with(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).map(|line| line.trim().to_owned()).collect()
    }
}

struct Story {
    cache: CacheHandle,
    asked: mpsc::UnboundedReceiver<PullKind>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Ended>,
}

impl Story {
    fn begin(answers: Vec<Answer>) -> Self {
        Self::with(answers, false)
    }

    #[expect(clippy::disallowed_methods, reason = "the story owns the task and awaits it")]
    fn with(answers: Vec<Answer>, give_up: bool) -> Self {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let (sender, asked) = mpsc::unbounded_channel();
        let requests = Arc::default();
        let mut ledger = Ledger::new(Policy::default(), 0);
        let (publisher, cache) = channel(ledger.snapshot());
        let mut follower = Follower {
            source: Script { answers: Arc::clone(&answers), asked: sender, requests: Arc::clone(&requests) },
            cadence: Cadence::default(),
            backoff: Backoff::with_seed(RetryPolicy::for_interval(Duration::from_secs(10)), 1),
            admission: Admission::new(None),
            ledger,
            cursor: String::new(),
            publisher,
            state: Freshness::default(),
        };
        let stop = CancellationToken::new();
        let told = stop.clone();
        let task = tokio::spawn(async move { follower.run(give_up, told).await });
        Self { cache, asked, answers, requests, stop, task }
    }

    /// Waits until all scripted responses were sent and the follower has made one more request.
    async fn play_out(&mut self) -> Vec<PullKind> {
        let mut asked = Vec::new();
        loop {
            let played_out = self.answers.lock().unwrap().is_empty();
            let before = asked.len();
            asked.push(self.asked.recv().await.unwrap());
            if played_out && before > 0 {
                return asked;
            }
        }
    }

    fn held(&self) -> Vec<String> {
        let snapshot = self.cache.load();
        let mut held: Vec<_> = snapshot.decisions().map(|d| format!("{} {}", d.target, d.origin)).collect();
        held.sort();
        held
    }

    fn freshness(&self) -> Arc<Freshness> {
        self.cache.freshness()
    }
}

fn full(lines: &[Line]) -> Answer {
    Answer::Full(lines.to_vec())
}

fn delta(new: &[Line], deleted: &[Line]) -> Answer {
    Answer::Delta { new: new.to_vec(), deleted: deleted.to_vec() }
}

const A: Line = ("192.0.2.1", "cscli", "4h0m0s", 1);
const B: Line = ("192.0.2.2", "CAPI", "3h59m58.172934512s", 2);
const RANGE: Line = ("198.51.100.7/24", "lists", "24h", 3);

#[tokio::test(start_paused = true)]
async fn a_start_up_pull_is_followed_by_changes() {
    let later = ("192.0.2.2", "CAPI", "1h", 4);
    let mut story = Story::begin(vec![full(&[A, RANGE]), delta(&[later], &[]), delta(&[], &[A])]);
    use PullKind::{Changes, Everything};
    assert_eq!(story.play_out().await, [Everything, Changes, Changes, Changes]);
    assert_eq!(story.held(), ["192.0.2.2 CAPI", "198.51.100.0/24 lists"]);
    assert_eq!(story.cache.load().generation(), 3);
    story.stop.cancel();
    assert!(matches!(story.task.await.unwrap(), Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn an_end_and_a_new_ban_in_one_answer_leave_the_ban() {
    let again = ("192.0.2.1", "cscli", "1h", 9);
    let mut story = Story::begin(vec![full(&[A]), delta(&[again], &[A])]);
    story.play_out().await;
    assert_eq!(story.held(), ["192.0.2.1 cscli"]);
    assert_eq!(story.cache.load().decisions().next().unwrap().id, 9);
}

#[tokio::test(start_paused = true)]
async fn an_end_under_an_id_never_seen_ends_it_and_twice_is_harmless() {
    let other_id = ("192.0.2.1", "cscli", "-1s", 77);
    let mut story =
        Story::begin(vec![full(&[A, B]), delta(&[], &[other_id]), delta(&[], &[other_id, other_id])]);
    story.play_out().await;
    assert_eq!(story.held(), ["192.0.2.2 CAPI"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_repeated_leaves_the_ban_that_came_since() {
    // A stock LAPI repeats the ends of the 2 s before the last request, and identifies addresses by their notation.
    let first = ("::ffff:192.0.2.1", "cscli", "4h", 5);
    let ended = ("::ffff:192.0.2.1", "cscli", "-1s", 5);
    let again = ("192.0.2.1/32", "cscli", "4h", 6);
    let mut story = Story::begin(vec![
        full(&[first]),
        delta(&[], &[ended]),
        delta(&[again], &[ended]),
        delta(&[], &[ended]),
        delta(&[], &[ended]),
    ]);
    story.play_out().await;
    assert_eq!(story.held(), ["192.0.2.1 cscli"], "the new ban holds");

    // The end of the new ban itself lifts it, whatever was repeated before.
    let mut story = Story::begin(vec![
        full(&[first]),
        delta(&[], &[ended]),
        delta(&[again], &[ended]),
        delta(&[], &[ended, ("192.0.2.1/32", "cscli", "-1s", 6)]),
    ]);
    story.play_out().await;
    assert_eq!(story.held().len(), 0);

    // The end may have been in a full answer first.
    let old = ("192.0.2.1/32", "cscli", "-2m", 5);
    for (listed, held) in [(ended, 1), (old, 0)] {
        let whole = Answer::FullWithEnds(vec![again], vec![listed]);
        let mut story = Story::begin(vec![whole, delta(&[], &[ended])]);
        story.play_out().await;
        assert_eq!(story.held().len(), held, "{listed:?}");
    }

    // A LAPI that keeps cursors repeats nothing.
    let start = Content::Everything(FullReason::Start);
    let mut story = Story::begin(vec![
        Answer::Kept("T1", start, None, vec![again], vec![]),
        Answer::Kept("T2", Content::Changes, None, vec![], vec![ended]),
        Answer::Kept("T3", Content::Changes, None, vec![again], vec![]),
        Answer::Kept("T4", Content::Changes, None, vec![], vec![ended]),
    ]);
    story.play_out().await;
    assert_eq!(story.held().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn lifting_a_host_leaves_the_range_around_it() {
    let inside = ("198.51.100.9", "cscli", "1h", 4);
    let mut story = Story::begin(vec![full(&[RANGE, inside]), delta(&[], &[inside])]);
    story.play_out().await;
    let snapshot = story.cache.load();
    assert_eq!(snapshot.verdict("198.51.100.9".parse().unwrap()).unwrap().origin, "lists");
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_is_discarded_whole_and_healed_by_a_full_pull() {
    let mut story = Story::begin(vec![full(&[A]), Answer::Cut(vec![B]), full(&[A, RANGE]), delta(&[], &[])]);
    use PullKind::{Changes, Everything};
    assert_eq!(story.play_out().await, [Everything, Changes, Everything, Changes, Changes]);
    assert_eq!(story.held(), ["192.0.2.1 cscli", "198.51.100.0/24 lists"]);
    assert_eq!((story.freshness().failed_requests, story.freshness().failures_in_a_row), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lapi_that_was_never_reached_lost_no_delta() {
    let mut story = Story::begin(vec![full(&[A]), Answer::Unreachable, delta(&[B], &[])]);
    use PullKind::{Changes, Everything};
    assert_eq!(story.play_out().await, [Everything, Changes, Changes, Changes]);
}

#[tokio::test(start_paused = true)]
async fn decisions_stay_while_the_lapi_is_away_and_a_long_gap_asks_for_everything() {
    let away = (0..40).map(|_| Answer::Unreachable);
    let answers = [full(&[A, B])].into_iter().chain(away).chain([full(&[A, B])]).collect();
    let mut story = Story::begin(answers);
    // Paused time advances, the boot clock does not: gaps are covered by the schedule's own tests.
    story.answers.lock().unwrap().truncate(30);
    for _ in 0..30 {
        story.asked.recv().await.unwrap();
    }
    assert_eq!(story.held().len(), 2);
    assert!(story.freshness().failures_in_a_row > 20);
    assert!(story.freshness().failing.as_deref().is_some_and(|text| text.contains("unreachable")));
}

#[tokio::test(start_paused = true)]
async fn one_empty_answer_wipes_nothing_two_do() {
    let mut story =
        Story::begin(vec![full(&[A, B]), Answer::Cut(vec![]), full(&[]), full(&[A, B]), delta(&[], &[])]);
    story.play_out().await;
    assert_eq!((story.held().len(), story.freshness().held_back), (2, 1));
    let mut story =
        Story::begin(vec![full(&[A, B]), Answer::Cut(vec![]), full(&[]), full(&[]), delta(&[], &[])]);
    story.play_out().await;
    assert_eq!(story.held().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_database_is_noticed_by_its_ids() {
    let high = ("192.0.2.1", "cscli", "4h", 500);
    let restarted = ("192.0.2.9", "cscli", "4h", 1);
    let mut story =
        Story::begin(vec![full(&[high]), delta(&[restarted], &[]), full(&[restarted]), delta(&[], &[])]);
    use PullKind::{Changes, Everything};
    assert_eq!(story.play_out().await, [Everything, Changes, Everything, Changes, Changes]);
    assert_eq!(story.held(), ["192.0.2.9 cscli"], "what only the old database knew is gone");
}

#[tokio::test(start_paused = true)]
async fn a_blocklist_told_again_under_new_ids_is_no_change() {
    let again = ("198.51.100.0/24", "lists", "24h", 3000);
    let longer = ("192.0.2.1", "cscli", "9h", 3001);
    let mut story = Story::begin(vec![full(&[A, RANGE]), delta(&[again], &[]), delta(&[longer], &[])]);
    let first = async {
        while story.cache.load().generation() < 1 {
            tokio::task::yield_now().await;
        }
        story.cache.load()
    }
    .await;
    story.play_out().await;
    let last = story.cache.load();
    assert_eq!(last.generation(), 2, "the repeated list publishes nothing, the longer ban does");
    let changed: Vec<_> = last.diff(&first).iter().map(|change| change.net.addr().to_string()).collect();
    assert_eq!(changed, ["192.0.2.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_lapi_that_keeps_cursors_is_asked_again_with_the_last_one_whatever_fails() {
    let start = Content::Everything(FullReason::Start);
    let mut story = Story::begin(vec![
        Answer::Kept("T1", start, Some(60), vec![A], vec![]),
        Answer::Kept("T2", Content::Changes, Some(60), vec![B], vec![]),
        Answer::Cut(vec![RANGE]),
        Answer::Unreachable,
        Answer::Kept("T3", Content::Changes, Some(60), vec![], vec![A]),
        // Changes were requested, and the LAPI sends a full response.
        Answer::Kept("T4", Content::Everything(FullReason::TooOld), Some(60), vec![B, RANGE], vec![]),
    ]);
    use PullKind::{Changes, Everything};
    let mut asked = Vec::new();
    while asked.len() < 7 {
        asked.push(story.asked.recv().await.unwrap());
    }
    assert_eq!(asked, [Everything, Changes, Changes, Changes, Changes, Changes, Changes]);
    assert_eq!(story.held(), ["192.0.2.2 CAPI", "198.51.100.0/24 lists"]);
    let requests = story.requests.lock().unwrap().clone();
    let cursors: Vec<_> = requests.iter().map(|request| request.cursor.as_str()).collect();
    assert_eq!(cursors, ["", "T1", "T2", "T2", "T2", "T3", "T4"]);
    assert!(requests[0].wait.is_zero() && requests[1].wait == Duration::from_secs(25), "{requests:?}");
    let state = story.freshness();
    assert_eq!((state.peer, state.push, state.missed), (Peer::KeepsCursors, true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lapi_that_turns_out_to_be_a_stock_one_is_asked_for_everything() {
    let start = Content::Everything(FullReason::Start);
    let mut story = Story::begin(vec![
        Answer::Kept("T1", start, None, vec![A], vec![]),
        delta(&[B], &[]),
        full(&[A, B, RANGE]),
        delta(&[], &[]),
    ]);
    use PullKind::{Changes, Everything};
    assert_eq!(story.play_out().await, [Everything, Changes, Everything, Changes, Changes]);
    assert_eq!(story.held().len(), 3);
    assert_eq!(story.freshness().peer, Peer::Stock);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_ends_it_only_when_asked_to_and_only_the_second_time() {
    let mut story = Story::with(vec![Answer::Refused, Answer::Refused], true);
    assert!(matches!((&mut story.task).await.unwrap(), Ended::GaveUp(fault) if fault.refused));
    let mut story =
        Story::with(vec![Answer::Refused, full(&[A]), Answer::Refused, Answer::Refused, full(&[A])], true);
    story.play_out().await;
    assert_eq!(story.held().len(), 1, "a key that once worked is asked with again");
}

#[tokio::test]
async fn a_ban_ends_on_time_though_no_answer_comes() {
    let short = ("192.0.2.3", "cscli", "300ms", 5);
    let mut story = Story::begin(vec![full(&[A, short])]);
    story.asked.recv().await.unwrap();
    let mut changed = story.cache.changed();
    changed.wait_for(|generation| *generation == 1).await.unwrap();
    assert_eq!(story.held().len(), 2);
    tokio::time::timeout(Duration::from_secs(5), changed.wait_for(|generation| *generation == 2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(story.held(), ["192.0.2.1 cscli"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_begin_is_logged_after_ten_seconds_once() {
    let (log, _guard) = Log::begin();
    let mut story = Story::begin(vec![]);
    story.asked.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(log.lines_with("has not begun").len(), 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lines = log.lines_with("has not begun");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(r#"lapi="the script" seconds=10"#), "{lines:?}");

    // A request that may be held for 25 s is slow after 35.
    let (log, _guard) = Log::begin();
    let first = Answer::Kept("T1", Content::Everything(FullReason::Start), Some(25), vec![A], vec![]);
    let mut story = Story::begin(vec![first]);
    story.asked.recv().await.unwrap();
    story.asked.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(34)).await;
    assert_eq!(log.lines_with("has not begun").len(), 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(log.lines_with("has not begun").len(), 1);
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
async fn a_decision_that_a_stock_lapi_prolongs_unannounced_holds_without_a_gap() {
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
    let looking = async {
        cache.changed().wait_for(|generation| *generation > 0).await.unwrap();
        *ends.lock().unwrap() = in_seconds(3600);
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(holds(), "the decision is in force at the LAPI");
        }
        assert!(cache.freshness().full_pulls <= 4, "{}", cache.freshness().full_pulls);
        stop.cancel();
    };
    tokio::join!(follower.run(false, stop.clone()), looking);
}

#[tokio::test]
async fn what_an_answer_changes_is_remembered_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateFile::new(folder.path().join("decisions"), ["a"], "all");
    let start = Content::Everything(FullReason::Start);
    let mut story = Story::begin(vec![
        Answer::Kept("T1", start, Some(60), vec![A], vec![]),
        Answer::Kept("T2", Content::Changes, Some(60), vec![B], vec![]),
        Answer::Kept("T3", Content::Changes, Some(60), vec![RANGE], vec![A]),
    ]);
    let stop = CancellationToken::new();
    let keeping = keep(memory.clone(), story.cache.clone(), Duration::from_millis(500), stop.clone());
    let looking = async {
        story.play_out().await;
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
    tokio::join!(keeping, looking);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_added_again_is_tried_within_seconds() {
    let begun = tokio::time::Instant::now();
    let refused = (0..20).map(|_| Answer::Refused);
    let answers = [full(&[A])].into_iter().chain(refused).chain([full(&[A])]).collect();
    let mut story = Story::begin(answers);
    let mut asked = Vec::new();
    while asked.len() < 22 {
        story.asked.recv().await.unwrap();
        asked.push(begun.elapsed());
    }
    let apart: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).skip(1).collect();
    assert!(apart.iter().all(|apart| *apart <= Duration::from_millis(10_010)), "{apart:?}");
    assert!(apart[..3].iter().sum::<Duration>() <= Duration::from_secs(13), "{apart:?}");
}

#[tokio::test(start_paused = true)]
async fn log_lines_carry_fields_and_one_line_each() {
    let (log, _guard) = Log::begin();
    let mut story = Story::begin(vec![
        full(&[A, B]),
        delta(&[RANGE], &[A]),
        delta(&[], &[]),
        Answer::Unreachable,
        Answer::Refused,
        full(&[B, RANGE]),
    ]);
    story.play_out().await;
    let one = |part: &str| {
        let lines = log.lines_with(part);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    };
    assert!(log.lines_with("decisions changed").is_empty(), "that is the enforcer's line");
    let pulls = log.lines_with("every decision in force was pulled");
    assert!(pulls[0].ends_with("added=2 renewed=0 removed=0 held=2"), "{pulls:?}");
    assert!(pulls[1].ends_with("added=0 renewed=0 removed=0 held=2"), "{pulls:?}");
    assert!(one("no answer from the LAPI").contains("retry_seconds="));
    let all = log.lines_with("");
    for odd in [" { ", "Some(", "None", "applied=", "retry_in"] {
        assert!(all.iter().all(|line| !line.contains(odd)), "{odd}: {all:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn completeness_is_never_claimed_before_the_decisions_are_there() {
    const MANY: usize = 50_000;
    let lines = (0..MANY).map(|n| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap());
        let text: &'static str = address.to_string().leak();
        (text, "CAPI", "4h", i64::try_from(n).unwrap() + 1)
    });
    let mut story = Story::begin(vec![full(&lines.collect::<Vec<Line>>())]);
    let cache = story.cache.clone();
    let reader = std::thread::spawn(move || {
        loop {
            // In this order a snapshot is at least as new as the freshness that was read.
            let complete = cache.freshness().is_complete();
            let held = cache.load().len();
            if complete {
                return held;
            }
        }
    });
    story.play_out().await;
    assert_eq!(reader.join().unwrap(), MANY);
}
