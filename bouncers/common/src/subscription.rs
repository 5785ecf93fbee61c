//! One bouncer's view of its LAPI's decisions: remembered ones first, then followed.

use std::error::Error;
use std::time::Duration;

use palisade_cache::{Ledger, Mode, Policy};
use palisade_client::{Backoff, Client, PullError, RetryPolicy};
use palisade_stream::{Admission, CacheHandle, Ended, Follower, Lapi, Memory, PullFault, channel, keep, now};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::settings::LapiSettings;

/// Changes are written to disk at most this often.
const REMEMBER_EVERY: Duration = Duration::from_secs(5);

/// Decisions, ready to be followed. What was remembered is in [`Subscription::cache`] from the start.
#[derive(Debug)]
pub struct Subscription {
    /// Where the decisions are.
    pub cache: CacheHandle,
    follower: Follower<Lapi>,
    memory: Option<Memory>,
    give_up_when_refused: bool,
}

impl Subscription {
    /// Loads what is remembered and makes ready to follow. `types` are the decision types to admit, all if `None`;
    /// with `give_up_when_refused`, following ends if the LAPI refuses us before it ever answered.
    ///
    /// What is remembered but cannot be used is logged and does no harm.
    pub fn open(
        settings: &LapiSettings,
        client: Client,
        types: Option<Vec<String>>,
        policy: Policy,
        give_up_when_refused: bool,
    ) -> Self {
        let memory = settings.memory(types.as_deref());
        let mut ledger = Ledger::new(policy, seed());
        if let Some(memory) = &memory {
            match memory.load(now()) {
                Ok(None) => {}
                Ok(Some((batch, written))) => {
                    ledger.apply(Mode::Everything, batch);
                    let age = now().saturating_duration_since(written);
                    info!(
                        decisions = ledger.len(),
                        ?age,
                        "remembered decisions are in force until the LAPI answers"
                    );
                }
                Err(error) => warn!("{}", with_causes(&error)),
            }
        }
        let (publisher, cache) = channel(ledger.snapshot());
        let follower = Follower {
            source: Lapi::new(client, settings.query.clone()),
            cadence: settings.cadence.clone(),
            backoff: Backoff::new(RetryPolicy::for_interval(settings.cadence.interval)),
            admission: Admission::new(types),
            ledger,
            publisher,
        };
        Self { cache, follower, memory, give_up_when_refused }
    }

    /// Follows until `stop`, in tasks of `tasks`. The handle tells why it ended.
    pub fn start(self, tasks: &TaskTracker, stop: &CancellationToken) -> JoinHandle<Result<(), Terminated>> {
        if let Some(memory) = self.memory {
            tasks.spawn(keep(memory, self.cache.clone(), REMEMBER_EVERY, stop.clone()));
        }
        let (follower, give_up, stop) = (self.follower, self.give_up_when_refused, stop.clone());
        tasks.spawn(async move {
            match follower.run(give_up, stop).await {
                Ended::GaveUp(fault) => Err(Terminated::from(fault)),
                _ => Ok(()),
            }
        })
    }
}

/// The LAPI refused us from the start, and following was to end on that. The text is the stock bouncers'.
#[derive(Debug, thiserror::Error)]
#[error("process terminated with error: {stock}; {advice}")]
pub struct Terminated {
    stock: String,
    advice: String,
}

impl From<PullFault> for Terminated {
    fn from(fault: PullFault) -> Self {
        let stock = match fault.error.downcast_ref::<PullError>() {
            Some(error) => error.stock_text(),
            None => fault.error.to_string(),
        };
        Self { stock, advice: with_causes(fault.error.as_ref()) }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Differs between processes, so that nobody can choose addresses that crowd one place of a table.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use palisade_cache::{Batch, Reason, Timestamp};
    use palisade_client::{Auth, ClientConfig, Secret, StreamQuery, UserAgent};
    use palisade_stream::Cadence;

    use super::*;

    fn settings(url: String, state: &std::path::Path) -> LapiSettings {
        LapiSettings {
            client: ClientConfig::new(url, Auth::Key(Secret::new("k"))),
            query: StreamQuery::default(),
            cadence: Cadence::default(),
            retry_initial_connect: None,
            state_dir: Some(state.to_owned()),
            warnings: Vec::new(),
        }
    }

    /// Where nobody listens.
    fn vacant() -> String {
        format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
    }

    fn open(settings: &LapiSettings, give_up: bool) -> Subscription {
        let client = settings.connect(&UserAgent::new("palisade-test", "v0.1.0").unwrap()).unwrap();
        Subscription::open(settings, client, None, Policy::default(), give_up)
    }

    #[tokio::test]
    async fn remembered_decisions_hold_though_the_lapi_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(vacant(), folder.path());
        let mut ledger = Ledger::new(Policy::default(), 0);
        let mut batch = Batch::new();
        let until = Timestamp::from_millis(now().as_millis() + 3_600_000);
        let reason = Reason { remediation: "ban", origin: "cscli", scenario: "why" };
        batch.announce_net("192.0.2.0/24".parse().unwrap(), reason, until, 1);
        ledger.apply(Mode::Everything, batch);
        settings.memory(None).unwrap().save(&ledger.snapshot(), now()).unwrap();

        let subscription = open(&settings, false);
        let cache = subscription.cache.clone();
        assert!(cache.read().holds("192.0.2.7".parse().unwrap()));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let following = subscription.start(&tasks, &stop);
        let failed = async {
            while cache.freshness().failing.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap();
        assert!(cache.read().holds("192.0.2.7".parse().unwrap()));
        stop.cancel();
        following.await.unwrap().unwrap();

        // A file that is no good does no harm.
        std::fs::write(settings.memory(None).unwrap().path(), "junk").unwrap();
        assert!(open(&settings, false).cache.read().is_empty());
    }

    /// A LAPI that knows nobody.
    fn refusing() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.read(&mut [0; 4096]).unwrap();
                let body = r#"{"message":"access forbidden"}"#;
                let head = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length";
                write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn giving_up_says_what_the_stock_bouncers_say() {
        let folder = tempfile::tempdir().unwrap();
        let subscription = open(&settings(refusing(), folder.path()), true);
        let following = subscription.start(&TaskTracker::new(), &CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(20), following).await.unwrap().unwrap();
        let text = ended.unwrap_err().to_string();
        assert!(text.starts_with("process terminated with error: API error: access forbidden"), "{text}");
        assert!(text.contains("cscli bouncers add"), "{text}");
    }
}
