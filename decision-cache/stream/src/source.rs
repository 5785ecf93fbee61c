//! Sources of responses: separates the protocol's rules from the network.

use std::future::Future;
use std::time::Duration;

use palisade_client::{Continuation, LapiPool, PullError, StreamQuery, StreamSink};
use tokio::time::Instant;

use crate::{PullKind, Request};

/// A request without a usable response.
#[derive(Debug)]
pub struct PullFault {
    /// The cause, for the log.
    pub error: Box<dyn std::error::Error + Send + Sync>,
    /// The shortest delay before a retry is worthwhile.
    pub shortest_retry: Duration,
    /// The same after the failure has lasted for minutes.
    pub settled_retry: Duration,
    /// The LAPI may have counted the response as delivered.
    pub may_have_reached_lapi: bool,
    /// Every LAPI has answered and refused the client: retrying faster does not help.
    pub refused: bool,
    /// The request may have failed because it was parked for too long.
    pub may_end_a_hold: bool,
    /// The next request goes to another LAPI and may be sent at once.
    pub elsewhere: bool,
}

/// Answers decision-stream requests.
pub trait Source: Send {
    /// Sends one request. The sink receives the head of the response, then each item as it arrives; the head is
    /// returned after the last item. On failure everything the sink received must be discarded. Dropping the future
    /// aborts the request.
    fn pull(
        &mut self,
        request: &Request,
        sink: &mut dyn StreamSink,
    ) -> impl Future<Output = Result<Option<Continuation>, PullFault>> + Send;

    /// The LAPI in use, for display.
    fn name(&self) -> String;
}

/// One or more LAPIs, queried over HTTP with the same filters.
///
/// It stays with a LAPI that works. After a failure it switches at once to the next in the list that may be queried;
/// when all have failed in a row, to the one that may be queried soonest.
#[derive(Debug)]
pub struct Lapi {
    lapis: LapiPool,
    query: StreamQuery,
    /// The last result of each LAPI.
    states: Vec<LapiState>,
}

#[derive(Debug, Clone, Default)]
struct LapiState {
    /// It has failed since the last response, or since all had failed.
    tried: bool,
    refused: bool,
    /// See [`PullFault::settled_retry`].
    settled: Duration,
    /// It must not be queried before this time.
    not_before: Option<Instant>,
}

impl Lapi {
    /// Queries these LAPIs; `startup`, `cursor` and `wait` of the query are set per request.
    pub fn new(lapis: impl Into<LapiPool>, query: StreamQuery) -> Self {
        let lapis = lapis.into();
        Self { query, states: vec![LapiState::default(); lapis.all().len()], lapis }
    }

    fn record_response(&mut self) {
        let place = self.lapis.position();
        // A working LAPI ends the round: after its next failure all others may be tried again.
        self.states.iter_mut().for_each(|state| state.tried = false);
        self.states[place] = LapiState::default();
    }

    /// Converts an error and switches to the LAPI to query next.
    fn failed(&mut self, error: PullError, now: Instant) -> PullFault {
        let place = self.lapis.position();
        let shortest = error.shortest_retry();
        self.states[place] = LapiState {
            tried: true,
            refused: error.is_refusal(),
            settled: error.settled_retry(),
            not_before: now.checked_add(shortest),
        };
        let mut fault = PullFault {
            shortest_retry: shortest,
            settled_retry: error.settled_retry(),
            may_have_reached_lapi: error.may_have_reached_lapi(),
            refused: false,
            may_end_a_hold: error.may_end_a_hold(),
            elsewhere: false,
            error: Box::new(error),
        };
        let may_be_asked =
            |state: &LapiState| !state.tried && state.not_before.is_none_or(|not_before| not_before <= now);
        let others = (1..self.states.len()).map(|step| (place + step) % self.states.len());
        if let Some(next) = others.clone().find(|other| may_be_asked(&self.states[*other])) {
            self.lapis.switch_to(next);
            fault.elsewhere = true;
            return fault;
        }
        let left = |state: &LapiState| {
            state.not_before.map_or(Duration::ZERO, |not_before| not_before.saturating_duration_since(now))
        };
        // Ties go to the next one, so that none is queried twice in a row.
        let soonest = others.chain([place]).min_by_key(|other| left(&self.states[*other])).unwrap_or(place);
        self.lapis.switch_to(soonest);
        fault.shortest_retry = left(&self.states[soonest]);
        // The least of them: the others may recover sooner than this LAPI.
        fault.settled_retry = self.states.iter().map(|state| state.settled).min().unwrap_or_default();
        // One refusal is a matter of that LAPI; refused by all means that the key is wrong.
        fault.refused = self.states.iter().all(|state| state.refused);
        self.states.iter_mut().for_each(|state| state.tried = false);
        fault
    }
}

impl Source for Lapi {
    async fn pull(
        &mut self,
        request: &Request,
        sink: &mut dyn StreamSink,
    ) -> Result<Option<Continuation>, PullFault> {
        self.query.startup = request.ask == PullKind::Everything;
        // Set even if empty: its presence requests a cursor from a LAPI that keeps them.
        self.query.cursor = Some(request.cursor.clone());
        self.query.wait = u32::try_from(request.wait.as_secs()).unwrap_or(u32::MAX);
        match self.lapis.current().decision_stream(&self.query, sink).await {
            Ok(answer) => {
                self.record_response();
                Ok(answer.continuation)
            }
            Err(error) => Err(self.failed(error, Instant::now())),
        }
    }

    fn name(&self) -> String {
        self.lapis.current().url()
    }
}

#[cfg(test)]
mod tests {
    use palisade_client::{Auth, Client, ClientConfig, Credential, Secret, UserAgent};

    use super::*;

    fn lapi(count: usize) -> Lapi {
        let agent = UserAgent::new("palisade-test", "v0").unwrap();
        let mut clients = (0..count).map(|n| {
            let config =
                ClientConfig::new(format!("http://lapi-{n}.test:8080/"), Auth::Key(Secret::new("k")));
            Client::new(&config, &agent).unwrap()
        });
        Lapi::new(LapiPool::new(clients.next().unwrap(), clients), StreamQuery::default())
    }

    fn status(status: u16, retry_after: Option<u64>) -> PullError {
        let retry_after = retry_after.map(Duration::from_secs);
        PullError::Status {
            url: String::new(),
            status,
            message: String::new(),
            advice: String::new(),
            retry_after,
        }
    }

    fn refused() -> PullError {
        PullError::Refused {
            url: String::new(),
            credential: Credential::Key,
            status: 403,
            message: String::new(),
            advice: String::new(),
            retry_after: None,
        }
    }

    /// The LAPI queried next, and the delay unless it is queried at once.
    fn next(lapi: &mut Lapi, error: PullError, now: Instant) -> (usize, Option<u64>) {
        let fault = lapi.failed(error, now);
        (lapi.lapis.position(), (!fault.elsewhere).then_some(fault.shortest_retry.as_secs()))
    }

    #[tokio::test]
    async fn the_next_lapi_is_tried_at_once_and_each_before_any_twice() {
        let (mut lapi, now) = (lapi(3), Instant::now());
        assert_eq!(next(&mut lapi, status(503, Some(30)), now), (1, None));
        assert_eq!(next(&mut lapi, status(503, Some(10)), now), (2, None));
        // All have failed: the one that may be queried soonest, after its delay.
        assert_eq!(next(&mut lapi, status(503, Some(20)), now), (1, Some(10)));
        let now = now + Duration::from_secs(10);
        // One of the others may be queried in 10 s, one in 20 s.
        assert_eq!(next(&mut lapi, status(503, Some(60)), now), (2, Some(10)));
    }

    #[tokio::test]
    async fn the_lapi_that_responds_stays_in_use() {
        let (mut lapi, now) = (lapi(3), Instant::now());
        assert_eq!(next(&mut lapi, status(500, None), now).0, 1);
        lapi.record_response();
        assert_eq!(lapi.name(), "http://lapi-1.test:8080/");
        // The first one's delay of half a second has passed: it is next after the third.
        let later = now + Duration::from_secs(60);
        assert_eq!(next(&mut lapi, status(500, None), later), (2, None));
        assert_eq!(next(&mut lapi, status(500, None), later), (0, None));
    }

    #[tokio::test]
    async fn a_lapi_that_sent_retry_after_is_skipped() {
        let (mut lapi, now) = (lapi(3), Instant::now());
        assert_eq!(next(&mut lapi, status(503, Some(300)), now).0, 1);
        lapi.record_response();
        let later = now + Duration::from_secs(5);
        assert_eq!(next(&mut lapi, status(500, None), later), (2, None));
        assert_eq!(next(&mut lapi, status(500, None), later).0, 1, "the first still has its five minutes");
    }

    #[tokio::test]
    async fn a_slow_lapi_is_given_up_for_the_next() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (mut clients, mut serving) = (Vec::new(), tokio::task::JoinSet::new());
        for drips in [true, false] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut config = ClientConfig::new(
                format!("http://{}", listener.local_addr().unwrap()),
                Auth::Key(Secret::new("k")),
            );
            config.idle_timeout = Duration::from_millis(300);
            clients.push(Client::new(&config, &UserAgent::new("palisade-test", "v0").unwrap()).unwrap());
            serving.spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                if !drips {
                    return stream.write_all(b"2\r\n{}\r\n0\r\n\r\n").await.unwrap();
                }
                while stream.write_all(b"1\r\n \r\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        let mut clients = clients.into_iter();
        let mut lapi = Lapi::new(LapiPool::new(clients.next().unwrap(), clients), StreamQuery::default());
        let request = crate::Schedule::new(crate::Cadence::default()).next_request(crate::now());
        let mut ignore = |_: palisade_client::StreamItem<'_>| {};
        let fault = lapi.pull(&request, &mut ignore).await.unwrap_err();
        assert!(fault.elsewhere && fault.may_have_reached_lapi, "{fault:?}");
        lapi.pull(&request, &mut ignore).await.unwrap();
        assert_eq!(lapi.lapis.position(), 1);
    }

    #[tokio::test]
    async fn only_when_all_refuse_is_the_key_no_good() {
        let (mut lapi, now) = (lapi(2), Instant::now());
        assert!(!lapi.failed(refused(), now).refused, "the other may know the key");
        let fault = lapi.failed(refused(), now);
        assert!(fault.refused && fault.shortest_retry == Duration::from_secs(2), "{fault:?}");
        assert_eq!(fault.settled_retry, Duration::from_secs(60));
        let mut alone = self::lapi(1);
        assert!(alone.failed(refused(), now).refused);
    }
}
