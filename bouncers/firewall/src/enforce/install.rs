//! Builds tables, sets, elements and rules from whatever the kernel holds, and changes only what differs.

use std::sync::Arc;
use std::time::Duration;

use nftables::schema::{NfCmd, NfListObject, NfObject, Set, SetFlag, SetType, SetTypeValue};
use nftables::types::NfFamily;
use tokio::time::Instant;

use super::follow::Compared;
use super::kernel_access::KernelAccess;
use super::{Enforcer, Installed};
use crate::config::{Config, Deny, Family, IpFamily, Mode};
use crate::error::EnforceError;
use crate::exempt;
use crate::found::Found;
use crate::kernel::{OperatorsSet, watched_tables};
use crate::layout::{FamilyLayout, Layout};
use crate::names::Holds;
use crate::netlink::{Monitor, nfproto};
use crate::nft::{self, Command, NftError, command};
use crate::rules;
use crate::structure::{Collision, Structure};
use crate::target::Dialect;

/// How often to try again to build a family that was left out.
// The monitor also announces a table or set that appears. The interval covers lost notifications and other causes.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

impl Enforcer {
    /// Installs sets, elements and rules, and removes leftovers. If everything is as wanted, nothing is changed.
    pub(super) async fn install(&mut self) -> Result<(), EnforceError> {
        // The order of the steps keeps bans in force throughout. Old rules (of an earlier release, the stock bouncer or
        // another configuration) enforce until the sets of the new rules are filled; the rules are swapped in one
        // transaction; only then are leftovers removed.
        let config = Arc::clone(&self.current.config);
        // Opened before the ruleset is read, so that a change in between is announced. It listens for everything in the
        // tables until it is known which objects are ours.
        self.monitor = None;
        self.monitor = Some(Monitor::open(watched_tables(&config))?);

        let looked_up = Arc::clone(&config);
        let mut found =
            named(&config, self.kernel_access.kernel(move |kernel| kernel.find(&looked_up)).await??);
        let mut served = config;
        let mut unmet = None;
        let mut unserved = Vec::new();
        // Each turn leaves out the families that the kernel refused. There are two, so it ends.
        let (rebuilt, compared) = loop {
            let (layout, missing) = self.lay_out(&served, &found).await?;
            unmet = unmet.or(missing);
            let structures: Vec<_> = found
                .iter()
                .map(|found| Structure::wanted(&served, found.ip, &found.family, &layout))
                .collect();
            let mut installed = Installed::new(Arc::clone(&served), layout);
            if let Some(before) = &self.installed {
                // Kept from before, so that the comparison counts and logs only what is new.
                (installed.snapshot, installed.foreign) = (before.snapshot.clone(), before.foreign);
            }
            installed.structures = structures.clone();
            // Before it is built: the comparison works on it, and adds sets to it.
            self.installed = Some(installed);
            let built = self.build(&structures, &found).await;
            let (refused, error) = match built {
                Ok(Built { refused: None, rebuilt, compared }) => break (rebuilt, compared),
                Ok(Built { refused: Some(refused), .. }) => refused,
                Err(error) => {
                    self.installed = None;
                    return Err(error);
                }
            };
            // One family that cannot be built (a foreign object, a kernel without IPv6) must not keep the other from
            // being enforced.
            served = Arc::new(without(&served, &refused));
            // A hopeless error ends the program at the start only. Once decisions are in force, the other family goes
            // on.
            if served.families().next().is_none() || (error.is_hopeless() && !self.status.borrow().is_ready())
            {
                self.installed = None;
                return Err(error);
            }
            found.retain(|found| !refused.contains(&found.ip));
            unserved.extend(refused);
            unmet = Some(error);
        };
        let unmet = self.note_unmet(unmet);
        if let Some(installed) = &mut self.installed {
            installed.unmet = unmet;
        }
        // After our own changes, so that the prints describe the finished structure.
        self.take_prints().await?;
        self.announce();
        let Some(mut compared) = compared else { return Ok(()) };
        // After the swap of the rules: the old ones used these sets until now.
        self.take_leftovers_away(&found).await;
        if let Some(installed) = &self.installed {
            // Without its set a family is not served, and what a former configuration enforces for it stays.
            let lacks_set = |ip: &IpFamily| *installed.layout.part(*ip) == FamilyLayout::SetOnly(None);
            unserved.extend([IpFamily::V4, IpFamily::V6].into_iter().filter(lacks_set));
        }
        self.retire_former(&unserved).await;
        if rebuilt || self.lingering > 0 {
            // So far bans were only added, because the old rules still used the sets, or some were refused because of
            // expired intervals.
            if let Some(again) = self.compare(false).await? {
                compared = again.after(compared);
            }
        }
        let refused = u64::try_from(compared.refused()).unwrap_or(u64::MAX);
        self.in_force(compared, Some(refused)).await;
        Ok(())
    }

    /// The layout of the families of `config`, and why a set-only family is left out.
    async fn lay_out(
        &mut self,
        config: &Config,
        found: &[ManagedFound],
    ) -> Result<(Layout, Option<EnforceError>), EnforceError> {
        let exempt = exempt::intervals(&self.current);
        let mut layout = Layout::new(config, &exempt::families(&exempt));
        let published = self.cache.published();
        let (snapshot, knows_all) = (&published.snapshot, published.freshness.is_complete());
        let missing = layout.missing(snapshot);
        // Sets found in the kernel are part of the layout even if no decision needs them: while not all decisions are
        // known, their elements must go on to be enforced.
        for ManagedFound { ip, family, found } in found {
            for holds in found.holds(family) {
                match holds {
                    Holds::Hosts(source) => layout.add_source(*ip, family, &source),
                    Holds::Ranges(length) => {
                        let count = missing.lengths.get(&(*ip, length)).copied().unwrap_or(0);
                        layout.add_length(*ip, family, length, count);
                    }
                    // An earlier process may have used other gates. The elements behind them stay reachable only if
                    // these gates stay.
                    Holds::Gate(width) if !knows_all => layout.add_gate(*ip, family, width),
                    Holds::Gate(_)
                    | Holds::InnerGate(_)
                    | Holds::FrontGate(_)
                    | Holds::Allow
                    | Holds::FormerRanges(_) => {}
                }
            }
        }
        let missing = layout.missing(snapshot);
        layout.add(config, &missing);
        // Refined gates lead only to what they guard. That is safe only if every element in the kernel is one that is
        // wanted, and has its cells in these gates.
        if knows_all {
            layout.refine(config);
        }
        let unmet = self.adopt_operators_sets(config, &mut layout).await?;
        Ok((layout, unmet))
    }

    /// Brings the structures and all decisions into force.
    async fn build(
        &mut self,
        structures: &[Structure],
        found: &[ManagedFound],
    ) -> Result<Built, EnforceError> {
        let mut refused: Option<(Vec<IpFamily>, EnforceError)> = None;
        for (wanted, found) in structures.iter().zip(found) {
            if let Some(collision) = wanted.collision(&found.found) {
                let error = found.collision(&collision);
                refused.get_or_insert_with(|| (Vec::new(), error)).0.push(found.ip);
            }
        }
        let mut rebuilt = false;
        // Returned before anything is built: at the start a collision ends the program, and must leave the other family
        // untouched.
        if refused.is_some() {
            return Ok(Built { refused, rebuilt, compared: None });
        }
        let mut commands = Vec::new();
        for (wanted, found) in structures.iter().zip(found) {
            rebuilt |= found.found.table && !wanted.changes(&found.found).is_empty();
            // A set of the wrong kind cannot be deleted while rules look it up, so sets and rules are replaced in one
            // transaction.
            let remake = wanted.must_remake(&found.found);
            commands.push(if remake { wanted.changes(&found.found) } else { wanted.additions(&found.found) });
        }
        self.nft_for_each("build tables and sets", found, commands, &mut refused).await?;
        if refused.is_some() {
            return Ok(Built { refused, rebuilt, compared: None });
        }
        // Between sets and rules: the new rules must never look at a set that is not filled. While old rules use the
        // same sets, bans are only added.
        let compared = self.compare(rebuilt).await?;
        let commands = structures.iter().zip(found).map(|(wanted, found)| {
            if wanted.must_remake(&found.found) {
                return Vec::new();
            }
            // The comparison may have added sets for sources that appeared meanwhile; their rules are built here as
            // well.
            self.current_structure(found.ip).unwrap_or(wanted).rule_changes(&found.found)
        });
        let commands = commands.collect();
        self.nft_for_each("build chains and rules", found, commands, &mut refused).await?;
        Ok(Built { refused, rebuilt, compared })
    }

    /// Runs the commands of all families in one transaction, or of one family at a time when that is refused.
    async fn nft_for_each(
        &mut self,
        what: &'static str,
        found: &[ManagedFound],
        commands: Vec<Vec<Command>>,
        refused: &mut Option<(Vec<IpFamily>, EnforceError)>,
    ) -> Result<(), EnforceError> {
        let all = commands.concat();
        self.put_right |= !all.is_empty();
        match self.kernel_access.nft(what, all).await {
            Err(EnforceError::Nft(NftError::Refused { .. })) => {
                // A transaction fails as a whole. Apart, each family shows whether it is the one at fault.
                for (commands, found) in commands.into_iter().zip(found) {
                    let built = self.kernel_access.nft(what, commands).await;
                    self.note_refusal(found, built, refused)?;
                }
                Ok(())
            }
            done => done,
        }
    }

    /// Records that one family was refused; any other error ends the attempt.
    fn note_refusal(
        &self,
        found: &ManagedFound,
        built: Result<(), EnforceError>,
        refused: &mut Option<(Vec<IpFamily>, EnforceError)>,
    ) -> Result<(), EnforceError> {
        match built {
            // A missing object was removed by another program since the table was read: not a fault of the family, and
            // the next attempt reads it again.
            Err(EnforceError::Nft(cause @ NftError::Refused { .. })) if !cause.is_missing() => {
                let (family, table) = (found.family_name(), found.family.table.clone());
                let unbuilt = EnforceError::Unbuilt { family, table, cause };
                refused.get_or_insert_with(|| (Vec::new(), unbuilt)).0.push(found.ip);
                Ok(())
            }
            done => done,
        }
    }

    /// The structure of a family, with sets that the comparison has added.
    fn current_structure(&self, ip: IpFamily) -> Option<&Structure> {
        self.installed.as_ref()?.structures.iter().find(|structure| structure.ip() == ip)
    }

    /// Logs what is guarded, once for each configuration.
    fn announce(&mut self) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        let Some(installed) = &self.installed else { return };
        let config = &installed.config;
        let tables = config.families().map(|(ip, family)| {
            let proto = if ip == IpFamily::V4 { "ip" } else { "ip6" };
            let mode = if family.set_only { " (set-only)" } else { "" };
            format!("{proto} {}{mode}", family.table)
        });
        let hooks: Vec<_> = rules::chains(config).iter().map(|(hook, _)| hook.as_str()).collect();
        tracing::info!(
            tables = tables.collect::<Vec<_>>().join(", "),
            hooks = if config.families().all(|(_, family)| family.set_only) {
                "the operator's rules".to_owned()
            } else {
                hooks.join(", ")
            },
            action = match config.deny {
                Deny::Drop => "drop",
                Deny::Reject(_) => "reject",
            },
            outbound = config.block_outbound,
            "nftables initiated"
        );
    }

    /// Reports once why a family is left out, and schedules the next attempt.
    fn note_unmet(&mut self, unmet: Option<EnforceError>) -> Option<String> {
        self.retry_at = unmet.as_ref().map(|_| Instant::now() + RETRY_INTERVAL);
        let unmet = unmet.map(|error| error.to_string());
        // Retried every 10 s: the same error is not repeated in the log.
        if let Some(text) = &unmet
            && self.status.borrow().failing.as_ref() != Some(text)
        {
            tracing::error!("{text}");
            self.report(|status| status.failures += 1);
        }
        unmet
    }

    /// Whether the structure is the same as when it was last read.
    pub(super) async fn is_untouched(&mut self) -> Result<bool, EnforceError> {
        let Some(installed) = &self.installed else { return Ok(false) };
        let (tables, names) = (watched_tables(&self.current.config), installed.own_names());
        let prints = self.kernel_access.kernel(move |kernel| kernel.prints(&tables, &names)).await??;
        Ok(self.installed.as_ref().is_some_and(|installed| installed.prints == prints))
    }

    /// Records the structure as it is now, after our own change.
    pub(super) async fn take_prints(&mut self) -> Result<(), EnforceError> {
        let Some(installed) = &self.installed else { return Ok(()) };
        let (tables, names) = (watched_tables(&self.current.config), installed.own_names());
        if let Some(monitor) = &mut self.monitor {
            // Changes of chains and sets of others in a shared table need no comparison.
            monitor.narrow(Arc::clone(&names));
        }
        let prints = self.kernel_access.kernel(move |kernel| kernel.prints(&tables, &names)).await??;
        if let Some(installed) = &mut self.installed {
            installed.prints = prints;
        }
        Ok(())
    }

    /// Finds the sets of set-only families, and makes those that are missing in their tables. Returns why a family is
    /// left out, if one is.
    async fn adopt_operators_sets(
        &mut self,
        config: &Config,
        layout: &mut Layout,
    ) -> Result<Option<EnforceError>, EnforceError> {
        let mut unmet = None;
        for (ip, family) in config.families().filter(|(_, family)| family.set_only) {
            let wanted = family.clone();
            match self.kernel_access.kernel(move |kernel| kernel.operators_set(ip, &wanted)).await?? {
                OperatorsSet::Fit(number, dialect) => {
                    if !self.announced {
                        tracing::info!(
                            table = family.table,
                            family = family_name(number),
                            set = family.set,
                            interval = dialect.interval,
                            timeout = dialect.timeout,
                            exclusive = family.exclusive,
                            "filling the operator's set"
                        );
                    }
                    layout.adopt_operators_set(ip, number, family, dialect);
                }
                OperatorsSet::NoSet(number) => {
                    // As the stock bouncer does: a set of single addresses with timeouts. The table is never created:
                    // it belongs to the operator.
                    self.kernel_access.nft("make the set", vec![make_set(ip, number, family)]).await?;
                    let dialect = Dialect { interval: false, timeout: true, counters: false };
                    layout.adopt_operators_set(ip, number, family, dialect);
                }
                OperatorsSet::NoTable => {
                    unmet = Some(EnforceError::NoTable {
                        table: family.table.clone(),
                        families: if ip == IpFamily::V4 { "ip or inet" } else { "ip6 or inet" },
                        key: if ip == IpFamily::V4 { "ipv4" } else { "ipv6" },
                    });
                }
                OperatorsSet::Unfit(why) => {
                    unmet = Some(EnforceError::Unfit {
                        table: family.table.clone(),
                        set: family.set.clone(),
                        why,
                        kind: if ip == IpFamily::V4 { "ipv4_addr" } else { "ipv6_addr" },
                    });
                }
            }
        }
        Ok(unmet)
    }

    /// Removes what earlier releases, other settings or the stock bouncer left in our tables.
    async fn take_leftovers_away(&mut self, found: &[ManagedFound]) {
        let Some(installed) = &self.installed else { return };
        let commands: Vec<_> = installed
            .structures
            .iter()
            .zip(found)
            .flat_map(|(wanted, found)| wanted.leftovers(&found.found))
            .collect();
        if commands.is_empty() {
            return;
        }
        tracing::info!(
            commands = commands.len(),
            "taking away what an earlier bouncer or configuration left"
        );
        let taken = async {
            self.remove("take leftovers away", commands).await?;
            self.take_prints().await
        };
        if let Err(error) = taken.await {
            // Only logged: no rule of ours uses them any more.
            tracing::warn!(%error, "leftovers of an earlier bouncer stay in the kernel; other rules may use them");
        }
    }
}

/// A managed table as it was found.
#[derive(Debug)]
struct ManagedFound {
    ip: IpFamily,
    family: Family,
    found: Found,
}

fn named(config: &Config, found: Vec<Found>) -> Vec<ManagedFound> {
    let managed = config.families().filter(|(_, family)| !family.set_only);
    managed
        .zip(found)
        .map(|((ip, family), found)| ManagedFound { ip, family: family.clone(), found })
        .collect()
}

impl ManagedFound {
    fn family_name(&self) -> &'static str {
        if self.ip == IpFamily::V4 { "ip" } else { "ip6" }
    }

    fn collision(&self, collision: &Collision) -> EnforceError {
        EnforceError::Collision {
            family: self.family_name(),
            table: self.family.table.clone(),
            kind: collision.kind,
            name: collision.name.clone(),
            key: if self.ip == IpFamily::V4 { "ipv4" } else { "ipv6" },
        }
    }
}

/// How far the build got.
struct Built {
    /// The families that were refused, and why the first was.
    refused: Option<(Vec<IpFamily>, EnforceError)>,
    /// Whether rules that stood before were replaced, so that elements were only added.
    rebuilt: bool,
    compared: Option<Compared>,
}

/// The configuration without these families.
pub(super) fn without(config: &Config, families: &[IpFamily]) -> Config {
    let mut rest = config.clone();
    for ip in families {
        match ip {
            IpFamily::V4 => rest.v4 = None,
            IpFamily::V6 => rest.v6 = None,
        }
    }
    rest
}

/// Lets `nft` and the kernel check the whole structure of a configuration without changing anything.
///
/// Needs the same permissions as enforcing, except in dry-run mode, which has no structure. Set-only families have none
/// either.
pub async fn check(config: &Config) -> Result<(), EnforceError> {
    if config.mode == Mode::DryRun {
        return Ok(());
    }
    let looked_up = config.clone();
    let found = KernelAccess::default().kernel(move |kernel| kernel.find(&looked_up)).await??;
    let found = named(config, found);
    let families: Vec<_> = config.families().map(|(ip, _)| ip).collect();
    let mut layout = Layout::new(config, &families);
    for (ip, family) in config.families() {
        // One source and one prefix length stand for all of them: they differ in names only.
        layout.add_source(ip, family, "check");
        layout.add_length(ip, family, 24, 1);
    }
    let mut commands = Vec::new();
    for found in &found {
        let wanted = Structure::wanted(config, found.ip, &found.family, &layout);
        if let Some(collision) = wanted.collision(&found.found) {
            return Err(found.collision(&collision));
        }
        commands.extend(wanted.changes(&found.found));
    }
    if commands.is_empty() {
        return Ok(());
    }
    Ok(nft::check("build tables, chains, sets and rules", commands).await?)
}

fn make_set(ip: IpFamily, number: u8, family: &Family) -> Command {
    command(NfObject::CmdObject(NfCmd::Add(NfListObject::Set(Box::new(Set {
        family: nf_family(number),
        table: family.table.clone().into(),
        name: family.set.clone().into(),
        set_type: SetTypeValue::Single(match ip {
            IpFamily::V4 => SetType::Ipv4Addr,
            IpFamily::V6 => SetType::Ipv6Addr,
        }),
        flags: Some([SetFlag::Timeout].into()),
        ..Default::default()
    })))))
}

/// `nft`'s families by the kernel's number.
fn nf_family(number: u8) -> NfFamily {
    match number {
        nfproto::INET => NfFamily::INet,
        nfproto::IPV6 => NfFamily::IP6,
        _ => NfFamily::IP,
    }
}

fn family_name(number: u8) -> &'static str {
    match number {
        nfproto::INET => "inet",
        nfproto::IPV6 => "ip6",
        _ => "ip",
    }
}
