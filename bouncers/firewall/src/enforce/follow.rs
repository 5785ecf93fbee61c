//! Brings changes of the cache into the kernel: as a difference of two snapshots in the normal case, by a comparison
//! with the kernel in doubt.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::Snapshot;
use rustix::io::Errno;
use tokio::time::Instant;

use super::{Enforcer, Installed, Need};
use crate::commit::{Committed, Refused};
use crate::conntrack::{self, Banned};
use crate::error::EnforceError;
use crate::exempt;
use crate::gate::CellCounts;
use crate::intervals::Interval;
use crate::kernel::Kernel;
use crate::layout::Layout;
use crate::local::LocalNetwork;
use crate::netlink::Reading;
use crate::plan::{self, Plan};
use crate::status::InForce;
use crate::structure::Structure;
use crate::target::Purpose;

/// Changes from which on the monitor is closed meanwhile.
// The kernel announces every element to each listener, which takes as long as the change itself.
const BULK: usize = 2000;

/// How long until the kernel collects expired intervals again.
// It collects at most once per second, and only with a transaction that changes the set.
const COLLECTION: Duration = Duration::from_millis(1050);

/// A round that took longer is followed by a pause of the same length.
// In an operator's interval set each transaction costs time in proportion to the whole set. With the pause a storm of
// changes to a large one takes half of a processor.
const SHORT_ROUND: Duration = Duration::from_millis(50);

/// Comparisons in a row after which an interval that overlaps an expired one counts as refused.
// The kernel collects every second, and the first retries come after 0, 0.1, 0.2, 0.4, 0.8 and 1.6 s.
const LINGERING_TRIES: u8 = 7;

/// Refused elements named in the log per round.
const NAMED: usize = 10;

/// A plan that was committed, or one that is too large for that.
enum Step {
    Done(Plan, Committed, CellCounts),
    Bulk(Plan, CellCounts),
    /// Expired intervals have to be collected first.
    Uncollected,
}

/// The outcome of a comparison, which is reported once rules use the sets.
pub(super) struct Compared {
    snapshot: Snapshot,
    plan: Plan,
    committed: Committed,
    /// How long the kernel was given to collect what had expired.
    waited: Duration,
}

impl Compared {
    /// The number of changes that the kernel refused.
    pub(super) fn refused(&self) -> usize {
        self.committed.refused.len()
    }

    /// This comparison, which followed on another one that was not reported.
    pub(super) fn after(mut self, mut earlier: Self) -> Self {
        self.plan.added += earlier.plan.added;
        self.plan.deleted += earlier.plan.deleted;
        earlier.plan.changes.append(&mut self.plan.changes);
        self.plan.changes = earlier.plan.changes;
        self.committed.generations.extend(earlier.committed.generations);
        self
    }
}

impl Enforcer {
    /// Brings what changed in the cache into the kernel.
    pub(super) async fn follow(&mut self) -> Result<(), EnforceError> {
        let started = Instant::now();
        let newer = self.cache.load();
        // First: through a gate that is too narrow for the new ranges, one range could fill cells by the million.
        if self.needs_other_gates(&newer) {
            return self.install().await;
        }
        self.add_missing_sets(&newer).await?;
        let older = self.installed.as_ref().map_or(0, |installed| installed.snapshot.len());
        if newer.len() > BULK.max(2 * older) {
            // Nearly everything is new: a comparison needs less memory than a difference, and no more time.
            return self.compare_sets().await;
        }
        let Some(installed) = &mut self.installed else { return Ok(()) };
        let (layout, newest) = (Arc::clone(&installed.layout), newer.clone());
        let (older, excluded) = (installed.snapshot.clone(), Arc::clone(&installed.excluded));
        // Taken out, not cloned: for a long list it is large. It is lost when the kernel refuses; the comparison that
        // follows counts the cells anew.
        let mut cells = std::mem::take(&mut installed.cells);
        let local = self.current.local.clone();
        let (unknown, first_end) = (self.uncollected, excluded.first_end);
        let uncollected = move |now| unknown || first_end.is_some_and(|end| end <= now);
        let step = self.kernel_access.kernel(move |kernel: &mut Kernel| {
            let now = palisade_stream::now();
            let plan = plan::delta(&layout, &older, &newest, (&excluded, &local), &mut cells, now);
            // The kernel pairs an expired start with the nearest end above it when it collects. An interval added
            // before that would lose its end and reach up to the next one.
            if uncollected(now) && plan.adds_ending_intervals(&layout) {
                return Ok(Step::Uncollected);
            }
            // Handed back: only the async side may close the monitor.
            if plan.changes.len() > BULK {
                return Ok(Step::Bulk(plan, cells));
            }
            // Not isolated: a refusal means that the kernel holds something else than remembered, so the sets are read
            // instead.
            let committed = kernel.commit(&layout, &plan, false, now)?;
            Ok::<_, EnforceError>(Step::Done(plan, committed, cells))
        });
        let (plan, committed, cells) = match step.await?? {
            Step::Uncollected => return self.compare_sets().await,
            Step::Done(plan, committed, cells) => (plan, committed, cells),
            Step::Bulk(plan, cells) => {
                let (plan, committed) = self.commit_unmonitored(plan, false).await?;
                (plan, committed, cells)
            }
        };
        let Some(installed) = &mut self.installed else { return Ok(()) };
        installed.snapshot = newer.clone();
        installed.cells = cells;
        for balance in &committed.balance {
            if let Some(elements) = installed.elements.get_mut(usize::from(balance.source.0)) {
                elements.hosts = elements.hosts.saturating_add_signed(balance.hosts);
                elements.ranges = elements.ranges.saturating_add_signed(balance.ranges);
            }
        }
        // The pause follows the round, so a ban that arrives alone is not delayed.
        self.pause = Some(started.elapsed()).filter(|took| *took > SHORT_ROUND);
        self.in_force(Compared { snapshot: newer, plan, committed, waited: Duration::ZERO }, None).await;
        Ok(())
    }

    /// Reads every set, compares, and changes what differs. Elements that the kernel refuses are left out and reported.
    pub(super) async fn compare_sets(&mut self) -> Result<(), EnforceError> {
        if self.needs_other_gates(&self.cache.load()) {
            return self.install().await;
        }
        let started = Instant::now();
        let mut waited = Duration::ZERO;
        if let Some(compared) = self.compare(false).await? {
            waited = compared.waited;
            let refused = u64::try_from(compared.committed.refused.len()).unwrap_or(u64::MAX);
            self.in_force(compared, Some(refused)).await;
        }
        // Without this, a program that keeps changing a shared set would cause comparisons without a break. The wait
        // for the kernel's collection is no work and does not count.
        self.pause = Some(started.elapsed().saturating_sub(waited)).filter(|took| *took > SHORT_ROUND);
        // The error makes the loop compare again with growing pauses until the kernel has collected the expired
        // interval.
        if self.lingering > 0 { Err(EnforceError::Lingering) } else { Ok(()) }
    }

    /// Reads every set, compares, and changes what differs. With `keep`, bans are only added.
    pub(super) async fn compare(&mut self, keep: bool) -> Result<Option<Compared>, EnforceError> {
        let published = self.cache.published();
        let (newer, lenient) = (published.snapshot.clone(), !published.freshness.is_complete());
        // Other gates are not chosen here: they would make packets cheaper, and no ban depends on them.
        self.add_missing_sets(&newer).await?;
        let Some(installed) = &self.installed else { return Ok(None) };
        let (layout, newest, older) =
            (Arc::clone(&installed.layout), newer.clone(), installed.snapshot.clone());
        let (exempt, local) = (exempt::intervals(&self.current), self.current.local.clone());
        let first_end = installed.excluded.first_end;
        let compare = move |kernel: &mut Kernel| {
            let now = palisade_stream::now();
            let mut found = kernel.compare(Reading::Settled, &layout, &newest, &exempt, now)?;
            // Elements that no known decision explains may belong to decisions that have not arrived yet, or to rules
            // that are still in use.
            if lenient || keep {
                found.plan.keep_bans(&layout, &exempt);
            }
            tally(&layout, &local, &older, &newest, &mut found.plan);
            Ok::<_, EnforceError>(found)
        };
        let mut found = self.kernel_access.kernel(compare.clone()).await??;
        // An element of the operator may have expired as well, with the same effect on ours.
        let expired = first_end.is_some_and(|end| end <= palisade_stream::now());
        let mut waited = Duration::ZERO;
        if found.plan.adds_ending_intervals(&installed.layout) && (self.uncollected || expired) {
            let started = Instant::now();
            self.collect_intervals(Arc::clone(&installed.layout)).await?;
            waited = started.elapsed();
            // The wait took a second: what was read before it is out of date.
            found = self.kernel_access.kernel(compare).await??;
        }
        self.put_right |= !found.plan.changes.is_empty();
        // Isolated: the sets were just read, so a refusal is about single elements, and the others must not wait for
        // them.
        let (plan, mut committed) = self.commit_unmonitored(found.plan, true).await?;
        self.lenient = lenient;
        let Some(installed) = &mut self.installed else { return Ok(None) };
        let layout = &installed.layout;
        // `EEXIST` in an interval set: an expired interval that is not collected yet overlaps the new one.
        let lingers =
            |refused: &Refused| refused.reason == Errno::EXIST && layout.target(refused.set).dialect.interval;
        self.lingering = if !committed.refused.iter().any(lingers) {
            0
        } else if self.lingering < LINGERING_TRIES {
            // Not reported as refused: it is tried again right away.
            committed.refused.retain(|refused| !lingers(refused));
            self.lingering + 1
        } else {
            0
        };
        installed.snapshot = newer.clone();
        installed.cells = found.cells;
        installed.elements = found.wanted;
        installed.excluded = Arc::new(found.excluded);
        // `found.wanted` counts what should be there; the status shows what is.
        for refused in &committed.refused {
            let source = installed.layout.sources().find(|(_, source)| source.hosts == refused.set);
            if let Some((source, _)) = source {
                let elements = &mut installed.elements[usize::from(source.0)];
                let interval = installed.layout.target(refused.set).dialect.interval;
                let count = if interval { &mut elements.ranges } else { &mut elements.hosts };
                *count = count.saturating_sub(1);
            }
        }
        let before = std::mem::replace(&mut installed.foreign, found.foreign);
        if before == 0 && found.foreign > 0 {
            tracing::info!(
                elements = found.foreign,
                "the operator's set holds elements that are not ours: they stay (nftables.ipv4.exclusive and \
                 nftables.ipv6.exclusive say that a set is ours alone)"
            );
        }
        Ok(Some(Compared { snapshot: newer, plan, committed, waited }))
    }

    /// Makes the kernel collect all intervals that have expired in operators' sets.
    async fn collect_intervals(&mut self, layout: Arc<Layout>) -> Result<(), EnforceError> {
        // The first change may come within a second of the last collection and collect nothing. A second later the next
        // one does.
        for last in [false, true] {
            let touched = Arc::clone(&layout);
            let generations = self
                .kernel_access
                .kernel(move |kernel: &mut Kernel| kernel.collect_intervals(&touched))
                .await??;
            self.kernel_access.remember(generations);
            if !last {
                tokio::time::sleep(COLLECTION).await;
            }
        }
        self.uncollected = false;
        Ok(())
    }

    /// When an element of the operator ends where one of ours is wanted.
    pub(super) fn foreign_element_ends(&self) -> Option<Instant> {
        // The kernel does not announce elements that time out, so the end is computed.
        let until = self.installed.as_ref()?.excluded.until?;
        Some(Instant::now() + until.saturating_duration_since(palisade_stream::now()))
    }

    /// Whether this snapshot is to be guarded by other gates, so that the layout must be made anew.
    fn needs_other_gates(&self, newer: &Snapshot) -> bool {
        let Some(installed) = &self.installed else { return false };
        let missing = installed.layout.missing(newer);
        // Until all decisions are known, gates stay coarse: elements of an earlier process may have their cells
        // elsewhere.
        if missing.other_gate || !self.knows_all() {
            return missing.other_gate;
        }
        if missing.is_nothing() {
            return installed.layout.is_coarse();
        }
        let mut layout = Layout::clone(&installed.layout);
        layout.add(&installed.config, &missing);
        layout.is_coarse()
    }

    /// Makes the sets that this snapshot needs and that are not there.
    async fn add_missing_sets(&mut self, newer: &Snapshot) -> Result<(), EnforceError> {
        let Some(installed) = &self.installed else { return Ok(()) };
        let missing = installed.layout.missing(newer);
        if missing.is_nothing() {
            return Ok(());
        }
        let config = Arc::clone(&installed.config);
        let mut layout = Layout::clone(&installed.layout);
        layout.add(&config, &missing);
        let managed = config.families().filter(|(_, family)| !family.set_only);
        let structures: Vec<_> =
            managed.map(|(ip, family)| Structure::wanted(&config, ip, family, &layout)).collect();
        let changes =
            structures.iter().zip(&installed.structures).flat_map(|(new, old)| new.changes(&old.as_found()));
        let changes: Vec<_> = changes.collect();
        tracing::debug!(
            sources = missing.sources.len(),
            prefix_lengths = missing.lengths.len(),
            "making sets and rules for new sources or prefix lengths"
        );
        // One transaction for sets and rules. The rules may be in use before the sets are filled: an empty set bans no
        // packet.
        match self.kernel_access.nft("add the sets and rules of a new source or prefix length", changes).await
        {
            Err(EnforceError::Nft(error)) if error.is_missing() => return Err(EnforceError::Gone),
            done => done?,
        }
        if let Some(installed) = &mut self.installed {
            // Ids are positions, and a layout only grows: what was counted by id stays valid.
            installed.elements.resize(layout.sources().count(), plan::Elements::default());
            installed.layout = Arc::new(layout);
            installed.structures = structures;
        }
        self.take_prints().await
    }

    /// Commits a plan; a large one with the monitor closed. Notices changes that another program made meanwhile.
    async fn commit_unmonitored(
        &mut self,
        plan: Plan,
        isolate: bool,
    ) -> Result<(Plan, Committed), EnforceError> {
        let Some(installed) = &self.installed else { return Ok((plan, Committed::default())) };
        let layout = Arc::clone(&installed.layout);
        let bulk = plan.changes.len() > BULK;
        let mut before = None;
        if bulk {
            // In this order: all that was committed up to this generation has been announced by now, so it is in the
            // buffer that is drained, and nothing falls between the two.
            before = Some(self.kernel_access.kernel(Kernel::generation).await??);
            self.drain_monitor();
            self.monitor = None;
        }
        let (plan, committed) = self
            .kernel_access
            .kernel(move |kernel: &mut Kernel| {
                let committed = kernel.commit(&layout, &plan, isolate, palisade_stream::now());
                (plan, committed)
            })
            .await?;
        let committed = committed?;
        // Each commit of ours adds one to the generation. If it has grown by more, another program committed unheard.
        if let Some(before) = before {
            self.open_monitor()?;
            let after = self.kernel_access.kernel(Kernel::generation).await??;
            let own = u32::try_from(committed.generations.len()).unwrap_or(u32::MAX);
            if after != before.wrapping_add(own) {
                // Its transaction may have been about another table. The prints show whether ours has changed.
                let doubt = if self.is_untouched().await? { Need::Sets } else { Need::Everything };
                self.suspicion = self.suspicion.max(doubt);
            }
        }
        Ok((plan, committed))
    }

    /// Records and reports that a snapshot is in force. `refused` is given after a comparison.
    pub(super) async fn in_force(&mut self, compared: Compared, refused: Option<u64>) {
        let Compared { snapshot, plan, committed, .. } = compared;
        self.kernel_access.remember(committed.generations.iter().copied());
        self.warn_of_refusals(&committed.refused).await;
        if plan.added > 0 {
            // The stock bouncer's messages: log parsers rely on them.
            tracing::info!("{} decision{} added", plan.added, if plan.added == 1 { "" } else { "s" });
        }
        if plan.deleted > 0 {
            tracing::info!("{} decision{} deleted", plan.deleted, if plan.deleted == 1 { "" } else { "s" });
        }
        let bans = plan.changes.iter().filter(|change| !self.is_about_exempt(change)).count();
        // No decision changed, so the changes repair what another program did. Changes of what is exempt come from the
        // configuration.
        if plan.added + plan.deleted == 0 && refused.is_some() && bans > 0 {
            tracing::info!(changes = bans, "elements in the kernel were put right");
        }
        self.warn_of_odd_decisions(&plan);
        let flows = self.cut_flows(&plan).await;
        let parts = self.installed.as_ref().map(Installed::in_force).unwrap_or_default();
        let lingering = (self.lingering > 0).then(|| EnforceError::Lingering.to_string());
        let unmet = self.installed.as_ref().and_then(|installed| installed.unmet.clone()).or(lingering);
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
                // READY follows from this. With a family left out, not all decisions are in force.
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

    /// Logs the elements that the kernel refused: one line for a full set, else one per element.
    async fn warn_of_refusals(&mut self, refused: &[Refused]) {
        let Some(installed) = &self.installed else { return };
        let layout = Arc::clone(&installed.layout);
        // `ENFILE` means that the set is full; then thousands may be refused for one reason.
        let (full, other): (Vec<_>, Vec<_>) = refused.iter().partition(|one| one.reason == Errno::NFILE);
        for (id, target) in layout.targets() {
            let of_set = || full.iter().filter(|one| one.set == id);
            let Some(first) = of_set().next() else { continue };
            let (family, table, name) = (target.nfproto, target.table.clone(), target.name.clone());
            // Read now and not at the start: the operator may have made the set anew.
            let size = self.kernel_access.kernel(move |kernel| kernel.set_size(family, &table, &name)).await;
            let size = size.ok().flatten().map_or_else(|| "unknown".to_owned(), |size| size.to_string());
            tracing::warn!(
                set = target.name,
                refused = of_set().count(),
                first = first.what,
                "the set is full: size {size}; what it has no room for is NOT enforced: make it anew with a larger \
                 `size`, or without one"
            );
        }
        for refused in other.iter().take(NAMED) {
            tracing::warn!(
                element = refused.what,
                set = layout.target(refused.set).name,
                reason = %refused.reason,
                "the kernel refuses an element; everything else is in force"
            );
        }
        if other.len() > NAMED {
            tracing::warn!(more = other.len() - NAMED, "the kernel refuses more elements");
        }
    }

    /// Whether a change is only about exempt addresses.
    fn is_about_exempt(&self, change: &plan::Change) -> bool {
        let plan::Change::Intervals { remove, add } = change else { return false };
        let Some(installed) = &self.installed else { return false };
        let is_allow = |interval: &Interval| installed.layout.target(interval.set).purpose == Purpose::Allow;
        remove.iter().chain(add).all(is_allow)
    }

    /// Warns once of each range too wide to be enforced, and of each ban that hits something of this host.
    fn warn_of_odd_decisions(&mut self, plan: &Plan) {
        let shortest = self.current.config.shortest_prefix;
        for net in &plan.too_wide {
            if self.warned.note(*net) {
                let (key, least) = if net.addr().is_ipv4() {
                    ("shortest_prefix.ipv4", shortest.v4)
                } else {
                    ("shortest_prefix.ipv6", shortest.v6)
                };
                tracing::warn!(range = %net, key, least, "a decision on so wide a range is not enforced");
            }
        }
        for (net, hit) in &plan.hits {
            if self.warned.note(*net) {
                tracing::warn!(decision = %net, hit, "a ban that is in force covers something this host depends on");
            }
        }
    }

    /// Removes tracked connections of newly banned addresses, if that is configured.
    async fn cut_flows(&mut self, plan: &Plan) -> u64 {
        let config = &self.current.config;
        if !config.drop_established {
            return 0;
        }
        let Some(installed) = &self.installed else { return 0 };
        let banned = Banned::new(&installed.layout, plan, exempt::intervals(&self.current));
        if banned.is_empty() {
            return 0;
        }
        // After the commit: a connection that is opened between the two meets the rules already. A failure is only
        // logged, since the ban itself is in force.
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

impl Installed {
    fn in_force(&self) -> Vec<InForce> {
        let sources = self.layout.sources().zip(&self.elements);
        let parts = sources.map(|((_, source), elements)| InForce {
            source: source.name.clone(),
            family: source.ip,
            hosts: elements.hosts,
            ranges: elements.ranges,
            takes_ranges: self.layout.takes_ranges(source),
        });
        parts.collect()
    }
}

/// Counts decisions that come into force, and that end, between two snapshots.
fn tally(layout: &Layout, local: &LocalNetwork, older: &Snapshot, newer: &Snapshot, plan: &mut Plan) {
    if newer.len() <= BULK.max(2 * older.len()) {
        for change in newer.diff(older) {
            match (change.before, change.after) {
                (None, Some(_)) => plan.note_new(layout, local, change.net),
                (Some(_), None) if !layout.is_too_wide(change.net) => plan.deleted += 1,
                _ => {}
            }
        }
        return;
    }
    // A difference of that many would take more memory than everything else: everything counts as new, and the number
    // of former decisions is subtracted.
    for net in prefixes(newer) {
        plan.note_new(layout, local, net);
    }
    let before = prefixes(older).filter(|net| !layout.is_too_wide(*net)).count();
    plan.added = plan.added.saturating_sub(before);
}

/// Every address and range that has a decision.
fn prefixes(snapshot: &Snapshot) -> impl Iterator<Item = IpNet> {
    let hosts = snapshot.hosts().map(|(address, _)| IpNet::from(address));
    hosts.chain(snapshot.ranges().map(|(net, _)| net))
}
