//! Changes of the cache into the kernel: by difference in the normal case, by comparison when in doubt.

use std::sync::Arc;
use std::time::Duration;

use palisade_cache::Snapshot;
use tokio::time::Instant;

use super::{Enforcer, Need, Standing};
use crate::allow;
use crate::commit::Committed;
use crate::config::IpFamily;
use crate::conntrack::{self, Banned};
use crate::error::EnforceError;
use crate::kernel::Kernel;
use crate::layout::{Layout, Purpose};
use crate::netlink::Reading;
use crate::plan::{self, Change, Plan};
use crate::spans::Stretch;
use crate::status::InForce;

/// From so many changes on nobody listens for news meanwhile: the kernel would announce every single element,
/// which takes as long as the change itself.
const LOUD: usize = 2000;

/// From so many intervals on, each transaction that touches them costs tens of milliseconds (it costs with the
/// whole set), so they are changed at most once per [`INTERVAL_PACE`].
const MANY_INTERVALS: u64 = 50_000;
const INTERVAL_PACE: Duration = Duration::from_secs(1);

/// Refused elements named in the log, per transaction.
const NAMED: usize = 10;

/// A plan that was carried out at once, or one that is too loud for that.
enum Step {
    Done(Plan, Committed),
    Loud(Plan),
}

impl Enforcer {
    /// Brings what changed in the cache into the kernel.
    pub(super) async fn follow(&mut self) -> Result<(), EnforceError> {
        let newer = Snapshot::clone(&self.cache.load());
        if self.standing.as_ref().is_some_and(|standing| newer.len() > LOUD.max(2 * standing.hosts.len())) {
            // Nearly everything is new: comparing takes less memory than a difference, and no more time.
            return self.compare_sets().await;
        }
        self.make_room(&newer).await?;
        let wait = self.intervals_due().is_some_and(|due| due > Instant::now());
        let Some(standing) = &self.standing else { return Ok(()) };
        let layout = Arc::clone(&standing.layout);
        let (hosts, intervals, newest) = (standing.hosts.clone(), standing.intervals.clone(), newer.clone());
        let step = self.hands.kernel(move |kernel: &mut Kernel| {
            let now = palisade_stream::now();
            let plan = plan::delta(&layout, &hosts, (!wait).then_some(&intervals), &newest, now);
            if plan.changes.len() > LOUD {
                return Ok(Step::Loud(plan));
            }
            let committed = kernel.commit(&layout, &plan, false, now)?;
            Ok::<_, EnforceError>(Step::Done(plan, committed))
        });
        let (plan, committed) = match step.await?? {
            Step::Done(plan, committed) => (plan, committed),
            Step::Loud(plan) => self.commit_quietly(plan, false).await?,
        };
        let Some(standing) = &mut self.standing else { return Ok(()) };
        standing.hosts = newer.clone();
        if !wait {
            standing.intervals = newer.clone();
            if plan.touches_intervals() {
                self.pace.intervals_touched();
            }
        }
        for (set, by) in &committed.balance {
            if let Some(count) = standing.counts.get_mut(usize::from(set.0)) {
                *count = count.saturating_add_signed(*by);
            }
        }
        self.in_force(&newer, &plan, &committed, None).await;
        Ok(())
    }

    /// Reads every set, compares, and changes what differs; what the kernel refuses is left out and told.
    pub(super) async fn compare_sets(&mut self) -> Result<(), EnforceError> {
        // Asked before the decisions are taken: they are at least as new as the answer.
        let lenient = !self.knows_all();
        let newer = Snapshot::clone(&self.cache.load());
        self.make_room(&newer).await?;
        let Some(standing) = &self.standing else { return Ok(()) };
        let (layout, newest) = (Arc::clone(&standing.layout), newer.clone());
        let allow = allow::stretches(&self.current.config, &self.current.protected);
        let plan = self
            .hands
            .kernel(move |kernel: &mut Kernel| {
                let mut plan =
                    kernel.compare(Reading::Settled, &layout, &newest, &allow, palisade_stream::now())?;
                if lenient {
                    plan.keep_bans(&layout);
                }
                Ok::<_, EnforceError>(plan)
            })
            .await??;
        let (plan, committed) = self.commit_quietly(plan, true).await?;
        self.lenient = lenient;
        let Some(standing) = &mut self.standing else { return Ok(()) };
        standing.hosts = newer.clone();
        standing.intervals = newer.clone();
        for (set, _) in standing.layout.targets() {
            let refused = committed.refused.iter().filter(|refused| refused.set == set).count();
            let wanted = plan.wanted.get(&set).copied().unwrap_or(0);
            standing.counts[usize::from(set.0)] =
                wanted.saturating_sub(u64::try_from(refused).unwrap_or(u64::MAX));
        }
        if plan.touches_intervals() {
            self.pace.intervals_touched();
        }
        let refused = u64::try_from(committed.refused.len()).unwrap_or(u64::MAX);
        self.in_force(&newer, &plan, &committed, Some(refused)).await;
        Ok(())
    }

    /// When a change of many intervals that waits may be made; `None` when nothing waits.
    pub(super) fn intervals_due(&self) -> Option<Instant> {
        let standing = self.standing.as_ref()?;
        let many = standing.intervals_held() > MANY_INTERVALS;
        let waits = standing.intervals.generation() != standing.hosts.generation();
        let last = self.pace.last_intervals()?;
        let due = last + INTERVAL_PACE;
        ((many && due > Instant::now()) || waits).then_some(due)
    }

    /// Makes the sets of sources that are new in this snapshot.
    async fn make_room(&mut self, newer: &Snapshot) -> Result<(), EnforceError> {
        let Some(standing) = &self.standing else { return Ok(()) };
        let missing = standing.layout.missing_sources(newer);
        if missing.is_empty() {
            return Ok(());
        }
        let config = Arc::clone(&standing.config);
        let mut layout = Layout::clone(&standing.layout);
        for (ip, source) in &missing {
            if let Some((_, family)) = config.families().find(|(of, _)| of == ip) {
                tracing::info!(source, family = ?ip, "a source of decisions is new: making its sets and rules");
                layout.add_source(*ip, family, source);
            }
        }
        let managed = config.families().filter(|(_, family)| !family.set_only);
        let structures: Vec<_> = managed
            .map(|(ip, family)| crate::structure::Structure::wanted(&config, ip, family, &layout))
            .collect();
        let changes =
            structures.iter().zip(&standing.structures).flat_map(|(new, old)| new.changes(&old.as_found()));
        let changes = changes.collect();
        match self.hands.nft("add the sets and rules of a new source", changes).await {
            Err(EnforceError::Nft(error)) if error.is_missing() => return Err(EnforceError::Gone),
            done => done?,
        }
        if let Some(standing) = &mut self.standing {
            standing.counts.resize(layout.targets().count(), 0);
            standing.layout = Arc::new(layout);
            standing.structures = structures;
        }
        self.take_prints().await
    }

    /// Commits a plan, large ones without listening to the echo; afterwards makes sure that nobody else changed
    /// anything unheard.
    async fn commit_quietly(&mut self, plan: Plan, isolate: bool) -> Result<(Plan, Committed), EnforceError> {
        let Some(standing) = &self.standing else { return Ok((plan, Committed::default())) };
        let layout = Arc::clone(&standing.layout);
        let loud = plan.changes.len() > LOUD;
        let mut before = None;
        if loud {
            // In this order: what was committed before this generation has been announced by now.
            before = Some(self.hands.kernel(Kernel::generation).await??);
            self.hear_out();
            self.monitor = None;
        }
        let (plan, committed) = self
            .hands
            .kernel(move |kernel: &mut Kernel| {
                let committed = kernel.commit(&layout, &plan, isolate, palisade_stream::now());
                (plan, committed)
            })
            .await?;
        let committed = committed?;
        if let Some(before) = before {
            self.open_monitor()?;
            let after = self.hands.kernel(Kernel::generation).await??;
            let own = u32::try_from(committed.generations.len()).unwrap_or(u32::MAX);
            if after != before.wrapping_add(own) {
                let doubt = if self.stands_untouched().await? { Need::Sets } else { Need::Everything };
                self.suspicion = self.suspicion.max(doubt);
            }
        }
        Ok((plan, committed))
    }

    /// Notes and tells that a snapshot is in force.
    async fn in_force(
        &mut self,
        snapshot: &Snapshot,
        plan: &Plan,
        committed: &Committed,
        refused: Option<u64>,
    ) {
        self.hands.remember(committed.generations.iter().copied());
        for refused in committed.refused.iter().take(NAMED) {
            let set = self.standing.as_ref().map(|standing| standing.layout.target(refused.set).name.clone());
            tracing::warn!(
                element = refused.what,
                set = set.unwrap_or_default(),
                reason = %refused.reason,
                "the kernel refuses an element; everything else is in force"
            );
        }
        if committed.refused.len() > NAMED {
            tracing::warn!(more = committed.refused.len() - NAMED, "the kernel refuses more elements");
        }
        let (added, deleted) =
            self.standing.as_ref().map_or((0, 0), |standing| tally(&standing.layout, plan));
        if added > 0 {
            tracing::info!("{added} decision{} added", if added == 1 { "" } else { "s" });
        }
        if deleted > 0 {
            tracing::info!("{deleted} decision{} deleted", if deleted == 1 { "" } else { "s" });
        }
        let flows = self.cut_flows(plan).await;
        let parts = self.standing.as_ref().map(Standing::in_force).unwrap_or_default();
        let unmet = self.standing.as_ref().and_then(|standing| standing.unmet.clone());
        let generation = snapshot.generation();
        let unenforceable = u64::try_from(plan.unenforceable_ranges).unwrap_or(u64::MAX);
        let transactions = u64::try_from(committed.generations.len()).unwrap_or(u64::MAX);
        self.report(|status| {
            if unenforceable > 0 && status.unenforceable_ranges == 0 {
                tracing::warn!(
                    ranges = unenforceable,
                    "the operator's set holds single addresses only: ranges are NOT enforced; give it the flag interval"
                );
            }
            status.generation = generation;
            status.in_force = parts;
            if unmet.is_none() {
                status.in_force_since.get_or_insert_with(palisade_stream::now);
            }
            status.failing = unmet;
            status.transactions += transactions;
            if let Some(refused) = refused {
                status.refused_now = refused;
                status.refused += refused;
            }
            status.unenforceable_ranges = unenforceable;
            status.flows_dropped += flows;
        });
    }

    /// Removes tracked connections of what was newly banned, if that is wanted. A failure is only told.
    async fn cut_flows(&mut self, plan: &Plan) -> u64 {
        let config = &self.current.config;
        if !config.drop_established {
            return 0;
        }
        let Some(standing) = &self.standing else { return 0 };
        let banned = Banned::new(&standing.layout, plan, allow::stretches(config, &self.current.protected));
        if banned.is_empty() {
            return 0;
        }
        let cut = tokio::task::spawn_blocking(move || conntrack::cut(&banned)).await;
        match cut {
            Ok(Ok(cut)) => cut,
            Ok(Err(error)) => {
                tracing::warn!(%error, "tracked connections of banned addresses were not removed");
                0
            }
            Err(error) => {
                tracing::warn!(%error, "the thread that removes tracked connections ended early");
                0
            }
        }
    }
}

impl Standing {
    fn intervals_held(&self) -> u64 {
        let intervals = self.layout.targets().filter(|(_, target)| target.dialect.interval);
        intervals.map(|(set, _)| self.counts[usize::from(set.0)]).sum()
    }

    fn in_force(&self) -> Vec<InForce> {
        let mut parts: Vec<InForce> = Vec::new();
        for (set, target) in self.layout.targets() {
            let count = self.counts[usize::from(set.0)];
            let source = match target.purpose {
                Purpose::Allow => continue,
                Purpose::Everything => target.name.as_str(),
                Purpose::Hosts | Purpose::Ranges => self.layout.source_of(set).unwrap_or(&target.name),
            };
            let family: IpFamily = target.ip;
            let part = match parts.iter_mut().find(|part| part.source == source && part.family == family) {
                Some(part) => part,
                None => {
                    parts.push(InForce { source: source.to_owned(), family, hosts: 0, ranges: 0 });
                    parts.last_mut().expect("it was just pushed")
                }
            };
            if target.dialect.interval {
                part.ranges += count;
            } else {
                part.hosts += count;
            }
        }
        parts
    }
}

/// How many decisions' elements only come, and only go; what is allowed is no decision.
fn tally(layout: &Layout, plan: &Plan) -> (usize, usize) {
    let allows = |stretch: &Stretch| layout.target(stretch.set).purpose == Purpose::Allow;
    plan.changes.iter().fold((0, 0), |(added, deleted), change| match change {
        Change::Knot { remove, add } if remove.iter().chain(add).any(allows) => (added, deleted),
        Change::Host { remove, add, .. } => {
            (added + usize::from(remove.is_none() && add.is_some()), deleted + usize::from(add.is_none()))
        }
        Change::Knot { remove, add } => {
            (added + add.len().saturating_sub(remove.len()), deleted + remove.len().saturating_sub(add.len()))
        }
    })
}
