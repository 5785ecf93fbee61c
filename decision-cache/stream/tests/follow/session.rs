//! A follower with a scripted LAPI.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_cache::{Ledger, Policy};
use palisade_client::{Backoff, Continuation, RetryPolicy, StreamSink};
use palisade_stream::{
    Admission, CacheHandle, Cadence, Ended, Follower, Freshness, PullFault, PullKind, Request, Source,
    channel,
};
use palisade_wire::follow::Content;
use palisade_wire::{StreamDecision, StreamItem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// (value, origin, duration, id)
pub(crate) type Line = (&'static str, &'static str, &'static str, i64);

#[derive(Debug)]
pub(crate) enum Response {
    Full(Vec<Line>),
    /// A full response that lists ends too, as a stock LAPI's does.
    FullWithEnds(Vec<Line>, Vec<Line>),
    Delta {
        new: Vec<Line>,
        deleted: Vec<Line>,
    },
    /// Of a LAPI that sends cursors: the cursor, the content, the time of a long poll in seconds, both lists.
    WithCursor(&'static str, Content, Option<u64>, Vec<Line>, Vec<Line>),
    /// Some items, then the connection breaks.
    Cut(Vec<Line>),
    Refused,
    Unreachable,
}

/// Sends one scripted response per request, records the requests, and blocks when there are no more responses.
pub(crate) struct Script {
    responses: Arc<Mutex<VecDeque<Response>>>,
    asked: mpsc::UnboundedSender<PullKind>,
    requests: Arc<Mutex<Vec<Request>>>,
}

pub(crate) fn decision((value, origin, duration, id): Line) -> StreamDecision<'static> {
    StreamDecision {
        id,
        origin: origin.into(),
        scenario: "session".into(),
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
        let Some(answer) = self.responses.lock().unwrap().pop_front() else {
            return std::future::pending().await;
        };
        if !matches!(answer, Response::WithCursor(..)) {
            sink.begin(None);
        }
        match answer {
            Response::Full(new) => {
                assert_eq!(ask, PullKind::Everything, "the script has a full response here");
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                Ok(None)
            }
            Response::FullWithEnds(new, deleted) => {
                assert_eq!(ask, PullKind::Everything, "the script has a full response here");
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                deleted.into_iter().for_each(|line| sink.item(StreamItem::Deleted(decision(line))));
                Ok(None)
            }
            Response::WithCursor(cursor, content, wait, new, deleted) => {
                let wait = wait.map(Duration::from_secs);
                let head = Continuation { cursor: cursor.to_owned(), content, wait };
                sink.begin(Some(&head));
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                deleted.into_iter().for_each(|line| sink.item(StreamItem::Deleted(decision(line))));
                Ok(Some(head))
            }
            Response::Delta { new, deleted } => {
                assert_eq!(ask, PullKind::Changes, "the script has changes here");
                // The order on the wire is the LAPI's choice; ends must still come first.
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                deleted.into_iter().for_each(|line| sink.item(StreamItem::Deleted(decision(line))));
                Ok(None)
            }
            Response::Cut(new) => {
                new.into_iter().for_each(|line| sink.item(StreamItem::New(decision(line))));
                Err(fault("cut", true, false))
            }
            Response::Refused => Err(fault("refused", true, true)),
            Response::Unreachable => Err(fault("unreachable", false, false)),
        }
    }

    fn name(&self) -> String {
        "the script".to_owned()
    }
}

/// The log of a test, as text. It is the thread's, so the test must run on one.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

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
    pub(crate) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = subscriber.without_time().with_target(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn lines_with(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).map(|line| line.trim().to_owned()).collect()
    }
}

pub(crate) struct Session {
    pub(crate) cache: CacheHandle,
    pub(crate) pulls: mpsc::UnboundedReceiver<PullKind>,
    pub(crate) responses: Arc<Mutex<VecDeque<Response>>>,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: tokio::task::JoinHandle<Ended>,
}

impl Session {
    pub(crate) fn begin(responses: Vec<Response>) -> Self {
        Self::with(responses, false)
    }

    #[expect(clippy::disallowed_methods, reason = "the session owns the task and awaits it")]
    pub(crate) fn with(responses: Vec<Response>, give_up: bool) -> Self {
        let responses = Arc::new(Mutex::new(VecDeque::from(responses)));
        let (sender, pulls) = mpsc::unbounded_channel();
        let requests = Arc::default();
        let mut ledger = Ledger::new(Policy::default(), 0);
        let (publisher, cache) = channel(ledger.snapshot());
        let mut follower = Follower {
            source: Script {
                responses: Arc::clone(&responses),
                asked: sender,
                requests: Arc::clone(&requests),
            },
            cadence: Cadence::default(),
            backoff: Backoff::with_seed(RetryPolicy::for_interval(Duration::from_secs(10)), 1),
            admission: Admission::new(None),
            ledger,
            cursor: String::new(),
            publisher,
            state: Freshness::default(),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { follower.run(give_up, stopped).await });
        Self { cache, pulls, responses, requests, stop, task }
    }

    /// Waits until all scripted responses were sent and the follower has made one more request.
    pub(crate) async fn play_out(&mut self) -> Vec<PullKind> {
        let mut asked = Vec::new();
        loop {
            let played_out = self.responses.lock().unwrap().is_empty();
            let before = asked.len();
            asked.push(self.pulls.recv().await.unwrap());
            if played_out && before > 0 {
                return asked;
            }
        }
    }

    pub(crate) fn held(&self) -> Vec<String> {
        let snapshot = self.cache.load();
        let mut held: Vec<_> = snapshot.decisions().map(|d| format!("{} {}", d.target, d.origin)).collect();
        held.sort();
        held
    }

    pub(crate) fn freshness(&self) -> Arc<Freshness> {
        self.cache.freshness()
    }
}

pub(crate) fn full(lines: &[Line]) -> Response {
    Response::Full(lines.to_vec())
}

pub(crate) fn delta(new: &[Line], deleted: &[Line]) -> Response {
    Response::Delta { new: new.to_vec(), deleted: deleted.to_vec() }
}

pub(crate) const A: Line = ("192.0.2.1", "cscli", "4h0m0s", 1);
pub(crate) const B: Line = ("192.0.2.2", "CAPI", "3h59m58.172934512s", 2);
pub(crate) const RANGE: Line = ("198.51.100.7/24", "lists", "24h", 3);
