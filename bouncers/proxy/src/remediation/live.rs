//! Queries the LAPI for single clients, for routes in live mode.
//!
//! ```text
//!  decisions_on(target) ─► answer kept and fresh? ──────────────────────► answer
//!        │ no                                                              ▲
//!        └─► one query at a time for each target ─► breaker ─► LAPI ───────┘
//!            (later requests share its result)      open: fails at once
//! ```
//!
//! An answer is used for [`LiveConfig::hit_ttl`] or [`LiveConfig::miss_ttl`]: so long may a new decision, or the end of
//! one, have no effect.

mod breaker;
mod slot;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use palisade_cache::{Decision, Timestamp};
use palisade_client::{DecisionTarget, LapiPool, PullError};
use palisade_go_compat::with_causes;
use palisade_stream::{Admitted, admit, now};
use palisade_wire::{GoDuration, Scope, StreamDecision};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use self::breaker::{Breaker, Change};
use self::slot::Slot;
use super::geo::{CountryCode, SystemNumber};
use super::outcome::DecisionInfo;
use crate::config::LiveConfig;

/// Queries that the LAPI receives at once, at most. Others wait, within their deadline.
// A client with a /32 of IPv6 could otherwise have as many in flight as it sends requests.
const MAX_QUERIES: usize = 128;

/// What a query is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A client's address.
    Address(IpAddr),
    /// The country of clients.
    Country(CountryCode),
    /// The autonomous system of clients.
    System(SystemNumber),
}

/// The LAPI's decisions on a target.
#[derive(Debug)]
pub struct LiveAnswer {
    decisions: Vec<Arc<DecisionInfo>>,
    fresh_until: Instant,
}

impl LiveAnswer {
    /// The decisions.
    pub fn decisions(&self) -> &[Arc<DecisionInfo>] {
        &self.decisions
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// The LAPI did not answer in time.
    #[error("the LAPI did not answer in time")]
    TimedOut,
    /// The LAPI answered with an error, or not at all.
    #[error("the LAPI gave no usable answer")]
    Failed,
    /// The last queries failed, so none is sent for a while.
    #[error("the last queries failed, so none is sent for a while")]
    Paused,
}

/// Counters of queries since the start.
#[derive(Debug, Default)]
pub struct LiveCounters {
    /// Answers from memory.
    pub remembered: AtomicU64,
    /// Queries sent.
    pub sent: AtomicU64,
    /// Queries sent that gave no usable answer.
    pub failed: AtomicU64,
    /// Queries not sent because the last ones failed.
    pub paused: AtomicU64,
}

/// The answers of the LAPI for single clients.
pub struct Live {
    lapis: ArcSwap<LapiPool>,
    config: LiveConfig,
    slots: Cache<Target, Arc<Slot>>,
    breaker: Breaker,
    queries: Semaphore,
    counters: LiveCounters,
}

impl Live {
    /// Queries these LAPIs.
    pub fn new(config: LiveConfig, lapis: LapiPool) -> Self {
        Self {
            lapis: ArcSwap::from_pointee(lapis),
            slots: Cache::new(config.entries.max(1)),
            breaker: Breaker::new(config.breaker_failures, config.breaker_pause),
            queries: Semaphore::new(MAX_QUERIES),
            counters: LiveCounters::default(),
            config,
        }
    }

    /// Queries these LAPIs from now on.
    pub fn use_lapis(&self, lapis: LapiPool) {
        self.lapis.store(Arc::new(lapis));
    }

    /// Counters of queries.
    pub fn counters(&self) -> &LiveCounters {
        &self.counters
    }

    /// Whether no query is sent because the last ones failed.
    pub fn is_paused(&self) -> bool {
        self.breaker.is_open(Instant::now())
    }

    /// The decisions on a target: those remembered, or else the LAPI's answer within [`LiveConfig::timeout`].
    ///
    /// # Errors
    /// When there is no answer.
    ///
    /// # Cancel safety
    /// If the future that has sent the query is dropped, the next request of the target sends another one.
    pub async fn decisions_on(&self, target: Target) -> Result<Arc<LiveAnswer>, LiveError> {
        let slot = self.slots.get(&target).unwrap_or_else(|| {
            let made = self.slots.get_or_insert_with(&target, || Ok::<_, LiveError>(Arc::default()));
            made.unwrap_or_default()
        });
        let began = Instant::now();
        if let Some(answer) = slot.fresh(began) {
            count(&self.counters.remembered);
            return Ok(answer);
        }
        let deadline = began + self.config.timeout;
        let before = slot.ended();
        let _turn = timeout_at(deadline, slot.turn()).await.map_err(|_| LiveError::TimedOut)?;
        // The query that this request waited for has ended. Its failure is not repeated by each one that waited.
        if slot.ended() != before {
            return slot.fresh(Instant::now()).ok_or(LiveError::Failed);
        }
        if !self.breaker.admits(Instant::now()) {
            count(&self.counters.paused);
            return Err(LiveError::Paused);
        }
        let _place = timeout_at(deadline, self.queries.acquire()).await.map_err(|_| LiveError::TimedOut)?;
        count(&self.counters.sent);
        let asked = timeout_at(deadline, self.ask(target, deadline)).await;
        let result = match asked {
            Ok(Ok(decisions)) => Ok(self.answer(decisions)),
            Ok(Err(error)) => {
                self.failed(&with_causes(&error));
                Err(if matches!(error, PullError::TimedOut { .. }) {
                    LiveError::TimedOut
                } else {
                    LiveError::Failed
                })
            }
            Err(_) => {
                self.failed("no answer in time");
                Err(LiveError::TimedOut)
            }
        };
        if result.is_ok() && self.breaker.succeeded() == Some(Change::Closed) {
            info!("the LAPI answers queries for single clients again");
        }
        slot.end(result.as_ref().ok().map(Arc::clone));
        result
    }

    async fn ask(&self, target: Target, deadline: Instant) -> Result<Vec<Arc<DecisionInfo>>, PullError> {
        let lapis = self.lapis.load_full();
        let longest = deadline.saturating_duration_since(Instant::now());
        let (mut decisions, received) = (Vec::new(), now());
        let mut sink = |decision: StreamDecision<'_>| decisions.extend(admitted(&decision, received));
        let client = lapis.current();
        let unreadable = match target {
            Target::Address(address) => {
                client.decisions_on(DecisionTarget::Address(address), longest, &mut sink).await
            }
            Target::Country(country) => {
                let target = DecisionTarget::Named { scope: "Country", value: country.as_str() };
                client.decisions_on(target, longest, &mut sink).await
            }
            Target::System(system) => {
                let (text, scope) = (system.text(), "AS");
                let target = DecisionTarget::Named { scope, value: text.as_str() };
                client.decisions_on(target, longest, &mut sink).await
            }
        }?;
        if unreadable > 0 {
            debug!(unreadable, "elements of the LAPI's answer are no decisions");
        }
        Ok(decisions)
    }

    fn answer(&self, decisions: Vec<Arc<DecisionInfo>>) -> Arc<LiveAnswer> {
        let ttl = if decisions.is_empty() { self.config.miss_ttl } else { self.config.hit_ttl };
        Arc::new(LiveAnswer { decisions, fresh_until: Instant::now() + ttl })
    }

    fn failed(&self, error: &str) {
        count(&self.counters.failed);
        // Once for each time that it opens: the requests that fail meanwhile are counted.
        if self.breaker.failed(Instant::now()) == Some(Change::Opened) {
            let pause = self.config.breaker_pause;
            warn!(
                error,
                pause_seconds = pause.as_secs_f64(),
                "queries for single clients fail; none is sent for a while"
            );
        }
    }
}

/// A decision of the LAPI in the form of the cache; `None` when it cannot be one.
fn admitted(decision: &StreamDecision<'_>, received: Timestamp) -> Option<Arc<DecisionInfo>> {
    let scope = Scope::parse(&decision.scope);
    let left = decision.duration.parse::<GoDuration>().ok()?;
    let millis = left.nanos() / 1_000_000;
    let (scope, value) = match admit(scope, &decision.value).ok()? {
        Admitted::Net { net, .. } if net.prefix_len() == net.max_prefix_len() => {
            ("Ip", net.addr().to_string())
        }
        Admitted::Net { net, .. } => ("Range", net.to_string()),
        Admitted::Name(name) => (scope.as_str(), name.into_owned()),
    };
    Some(Arc::new(DecisionInfo {
        id: decision.id,
        origin: (*decision.origin).into(),
        scenario: (*decision.scenario).into(),
        scope: scope.into(),
        value: value.into(),
        remediation: decision.kind.trim().to_lowercase().into(),
        until: Timestamp::from_millis(received.as_millis().saturating_add(millis)),
    }))
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The decision as the rules look at it.
pub(crate) fn view(decision: &DecisionInfo) -> Decision<'_> {
    Decision {
        scope: &decision.scope,
        target: palisade_cache::Target::Name(&decision.value),
        remediation: &decision.remediation,
        origin: &decision.origin,
        scenario: &decision.scenario,
        until: decision.until,
        id: decision.id,
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("remembered", &self.slots.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
