//! Subscribes a bouncer to its LAPI's decisions: loads the persisted ones, then follows.

use std::time::Duration;

use palisade_cache::{Ledger, Policy};
use palisade_client::{Backoff, LapiPool, PullError, RetryPolicy};
use palisade_go_compat::with_causes;
use palisade_stream::{
    Admission, CacheHandle, Ended, Follower, Freshness, Lapi, PullFault, StateFile, channel_with, keep, now,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::settings::LapiSettings;

/// The minimum time between two writes of changes to disk.
// A burst of decisions becomes one record; at most this much is lost in a crash, and a LAPI sends it again.
const PERSIST_INTERVAL: Duration = Duration::from_millis(500);

/// A subscription ready to run. Persisted decisions are in [`Subscription::cache`] from the start.
#[derive(Debug)]
pub struct Subscription {
    /// The decisions.
    pub cache: CacheHandle,
    follower: Follower<Lapi>,
    state_file: Option<StateFile>,
    give_up: bool,
}

/// New settings after a reload.
#[derive(Debug)]
pub struct Change {
    /// The new settings.
    pub settings: LapiSettings,
    /// Clients made from them.
    pub lapis: LapiPool,
    /// The decision types to admit now.
    pub types: Option<Vec<String>>,
}

impl Subscription {
    /// Loads persisted decisions and prepares to follow. `types` are the decision types to admit, all if `None`.
    ///
    /// Persisted decisions that cannot be used are logged and ignored. A LAPI that refuses the client from the start
    /// ends the subscription, unless there are persisted decisions to enforce or the settings say to continue
    /// (`retry_initial_connect`); an unreachable LAPI never ends it.
    pub fn open(
        settings: &LapiSettings,
        lapis: LapiPool,
        types: Option<Vec<String>>,
        policy: Policy,
    ) -> Self {
        let state_file = settings.state_file(types.as_deref());
        let mut ledger = Ledger::new(policy, seed());
        let mut cursor = String::new();
        let mut state = Freshness::default();
        if let Some(state_file) = &state_file {
            match state_file.load(now()) {
                Ok(None) => {}
                Ok(Some(remembered)) => {
                    cursor.clone_from(&remembered.cursor);
                    state.remembered = Some(remembered.written);
                    let age = now().saturating_duration_since(remembered.written);
                    remembered.restore(&mut ledger, now());
                    info!(
                        decisions = ledger.len(),
                        age_seconds = age.as_secs(),
                        "remembered decisions are in force until the LAPI answers"
                    );
                }
                // A damaged file must not keep the bouncer from starting: the LAPI has the decisions.
                Err(error) => warn!("{}", with_causes(&error)),
            }
        }
        // As the stock bouncers, which end when the LAPI refuses the first request. With persisted decisions there is
        // something to enforce.
        let give_up = settings.retry_initial_connect != Some(true) && ledger.is_empty();
        let (publisher, cache) = channel_with(ledger.snapshot(), state.clone());
        let follower = Follower {
            source: Lapi::new(lapis, settings.query.clone()),
            cadence: settings.cadence.clone(),
            backoff: Backoff::new(RetryPolicy::for_interval(settings.cadence.interval)),
            admission: Admission::new(types),
            ledger,
            cursor,
            publisher,
            state,
        };
        Self { cache, follower, state_file, give_up }
    }

    /// Follows until `stop`, with new settings whenever some arrive through `changes`: decisions then stay in force
    /// until the next full response.
    ///
    /// # Errors
    /// When the LAPI refused the client from the start; see [`Subscription::open`].
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        stop: CancellationToken,
    ) -> Result<(), Terminated> {
        loop {
            // A round ends with new settings, and with it the task that writes the state file: the next round opens it
            // anew.
            let round = stop.child_token();
            let follow = async {
                let next = tokio::select! {
                    ended = self.follower.run(self.give_up, round.clone()) => Err(ended),
                    Some(change) = changes.recv() => Ok(change),
                };
                round.cancel();
                next
            };
            let persist = async {
                if let Some(state_file) = self.state_file.take() {
                    keep(state_file, self.cache.clone(), PERSIST_INTERVAL, round.clone()).await;
                }
            };
            match tokio::join!(follow, persist).0 {
                Ok(Change { settings, lapis, types }) => {
                    self.state_file = settings.state_file(types.as_deref());
                    // Only the start can fail for good; after a reload the decisions known so far stay in force.
                    self.give_up = false;
                    // Anew: the waiting time was for LAPIs that are not used any more.
                    self.follower.backoff =
                        Backoff::new(RetryPolicy::for_interval(settings.cadence.interval));
                    self.follower.admission.set_types(types);
                    self.follower.source = Lapi::new(lapis, settings.query);
                    self.follower.cadence = settings.cadence;
                }
                Err(Ended::GaveUp(fault)) => return Err(Terminated::from(fault)),
                Err(_) => return Ok(()),
            }
        }
    }
}

/// The LAPI refused the client from the start. The text is the stock bouncers'.
#[derive(Debug, thiserror::Error)]
#[error("process terminated with error: {stock}; {advice}")]
pub struct Terminated {
    stock: String,
    advice: String,
}

impl From<PullFault> for Terminated {
    fn from(fault: PullFault) -> Self {
        match fault.error.downcast_ref::<PullError>() {
            Some(error) => Self { stock: error.stock_text(), advice: error.advice() },
            None => Self { stock: fault.error.to_string(), advice: with_causes(fault.error.as_ref()) },
        }
    }
}

/// The seed of the ledger's hash tables.
fn seed() -> u64 {
    // Differs between processes, so that attackers cannot choose addresses that collide.
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use palisade_cache::{Batch, Mode, Reason, Timestamp};
    use palisade_client::{Auth, ClientConfig, Secret, StreamQuery, UserAgent};
    use palisade_stream::Cadence;

    use super::*;

    fn settings(url: String, state: &std::path::Path) -> LapiSettings {
        LapiSettings {
            urls: vec![url.clone()],
            client: ClientConfig::new(url, Auth::Key(Secret::new("k"))),
            query: StreamQuery::default(),
            cadence: Cadence::default(),
            usage_interval: Duration::ZERO,
            retry_initial_connect: None,
            state_dir: Some(state.to_owned()),
            warnings: Vec::new(),
        }
    }

    /// An address where no server listens.
    fn vacant() -> String {
        format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
    }

    fn client(settings: &LapiSettings) -> LapiPool {
        settings.connect(&UserAgent::new("palisade-test", "v0.1.0").unwrap()).unwrap()
    }

    fn open(settings: &LapiSettings) -> Subscription {
        Subscription::open(settings, client(settings), None, Policy::default())
    }

    /// Answers every request with this status and body, for as long as the test runs.
    fn answering(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let _ = connection.read(&mut [0; 4096]);
                let length = body.len();
                let _ = write!(
                    connection,
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        url
    }

    #[tokio::test]
    async fn persisted_decisions_are_enforced_without_the_lapi() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(vacant(), folder.path());
        let mut ledger = Ledger::new(Policy::default(), 0);
        let mut batch = Batch::new();
        let until = Timestamp::from_millis(now().as_millis() + 3_600_000);
        let reason = Reason { remediation: "ban", origin: "cscli", scenario: "why" };
        batch.announce_net("192.0.2.0/24".parse().unwrap(), reason, until, 1);
        ledger.apply(Mode::Everything, batch);
        settings.state_file(None).unwrap().save(&ledger.snapshot(), now()).unwrap();

        let subscription = open(&settings);
        let cache = subscription.cache.clone();
        assert!(cache.read().holds("192.0.2.7".parse().unwrap()));
        let stop = CancellationToken::new();
        let (sender, changes) = mpsc::channel(1);
        let following = subscription.run(changes, stop.clone());
        let watching = async {
            while cache.freshness().failing.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(cache.read().holds("192.0.2.7".parse().unwrap()));
            // Another LAPI answers: its list applies once it is confirmed.
            let url = answering("200 OK", r#"{"new":[],"deleted":[]}"#);
            let elsewhere = LapiSettings {
                urls: vec![url.clone()],
                client: ClientConfig::new(url, Auth::Key(Secret::new("k"))),
                cadence: Cadence { confirm_after: Duration::from_millis(10), ..Cadence::default() },
                ..settings.clone()
            };
            let change = Change { lapis: client(&elsewhere), settings: elsewhere, types: None };
            sender.send(change).await.unwrap();
            while !cache.read().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(following, watching) };
        let (ended, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
        ended.unwrap();

        // An invalid file is ignored.
        std::fs::write(settings.state_file(None).unwrap().path(), "junk").unwrap();
        assert!(open(&settings).cache.read().is_empty());
    }

    #[tokio::test]
    async fn a_wrong_key_ends_it_with_the_stock_message() {
        let folder = tempfile::tempdir().unwrap();
        let url = answering("403 Forbidden", r#"{"message":"access forbidden"}"#);
        let (_sender, changes) = mpsc::channel(1);
        let following = open(&settings(url, folder.path())).run(changes, CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(20), following).await.unwrap();
        let text = ended.unwrap_err().to_string();
        assert!(text.starts_with("process terminated with error: API error: access forbidden"), "{text}");
        assert_eq!(text.matches("access forbidden").count(), 1, "{text}");
        assert!(text.contains("the key in `api_key` (403)"), "{text}");
    }
}
