//! From whatever the kernel holds to everything that is wanted, changing only what differs.

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

/// How often to look for an operator's table or set that is not there (its appearance is also announced).
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

impl Enforcer {
    /// Sets, elements, rules, leftovers. Adopts what stands as wanted: then nothing at all is changed.
    ///
    /// In this order: rules that stand (of an earlier release, of the stock bouncer, of another configuration) go on
    /// enforcing until the sets that the new rules look at are filled, and only then is anything taken away.
    pub(super) async fn install(&mut self) -> Result<(), EnforceError> {
        let config = Arc::clone(&self.current.config);
        // Subscribed before the ruleset is read, so that a change in between is reported.
        self.monitor = None;
        // Of everything in the tables, until it is known what is ours.
        self.monitor = Some(Monitor::open(watched_tables(&config))?);

        let looked_up = Arc::clone(&config);
        let mut found =
            named(&config, self.kernel_access.kernel(move |kernel| kernel.find(&looked_up)).await??);
        let mut served = config;
        let mut unmet = None;
        let mut unserved = Vec::new();
        let (rebuilt, compared) = loop {
            let (layout, missing) = self.lay_out(&served, &found).await?;
            unmet = unmet.or(missing);
            let structures: Vec<_> = found
                .iter()
                .map(|found| Structure::wanted(&served, found.ip, &found.family, &layout))
                .collect();
            let mut installed = Installed::new(Arc::clone(&served), layout);
            if let Some(before) = &self.installed {
                // What has been logged of it stays logged.
                (installed.snapshot, installed.foreign) = (before.snapshot.clone(), before.foreign);
            }
            installed.structures = structures.clone();
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
            served = Arc::new(without(&served, &refused));
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
        self.take_prints().await?;
        self.announce();
        let Some(mut compared) = compared else { return Ok(()) };
        self.take_leftovers_away(&found).await;
        if let Some(installed) = &self.installed {
            let lacks_set = |ip: &IpFamily| *installed.layout.part(*ip) == FamilyLayout::SetOnly(None);
            unserved.extend([IpFamily::V4, IpFamily::V6].into_iter().filter(lacks_set));
        }
        self.retire_former(&unserved).await;
        if rebuilt || self.lingering > 0 {
            // Bans were only added so far, or some of them could not be.
            if let Some(again) = self.compare(false).await? {
                compared = again.after(compared);
            }
        }
        let refused = u64::try_from(compared.refused()).unwrap_or(u64::MAX);
        self.in_force(compared, Some(refused)).await;
        Ok(())
    }

    /// The sets of the families of `config`, and why a set-only family is left out, if one is.
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
        // What stands in the kernel and is not wanted has its place too: it may be all that is known of yet.
        for ManagedFound { ip, family, found } in found {
            for holds in found.holds(family) {
                match holds {
                    Holds::Hosts(source) => layout.add_source(*ip, family, &source),
                    Holds::Ranges(length) => {
                        let count = missing.lengths.get(&(*ip, length)).copied().unwrap_or(0);
                        layout.add_length(*ip, family, length, count);
                    }
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
        if knows_all {
            layout.refine(config);
        }
        let unmet = self.adopt_operators_sets(config, &mut layout).await?;
        Ok((layout, unmet))
    }

    /// Brings the structures and everything wanted into force. Each family is built by itself, so that one the kernel
    /// refuses (a foreign object in the way, a kernel without the family) does not keep the other from being
    /// enforced.
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
        // At the start a collision is fatal: the other family is not touched before that is known to be none.
        if refused.is_some() {
            return Ok(Built { refused, rebuilt, compared: None });
        }
        let mut commands = Vec::new();
        for (wanted, found) in structures.iter().zip(found) {
            rebuilt |= found.found.table && !wanted.changes(&found.found).is_empty();
            // A set that has to be made anew cannot be while rules look it up: then all is done at once.
            let remake = wanted.must_remake(&found.found);
            commands.push(if remake { wanted.changes(&found.found) } else { wanted.additions(&found.found) });
        }
        self.nft_for_each("build tables and sets", found, commands, &mut refused).await?;
        if refused.is_some() {
            return Ok(Built { refused, rebuilt, compared: None });
        }
        let compared = self.compare(rebuilt).await?;
        let commands = structures.iter().zip(found).map(|(wanted, found)| {
            if wanted.must_remake(&found.found) {
                return Vec::new();
            }
            self.current_structure(found.ip).unwrap_or(wanted).rule_changes(&found.found)
        });
        let commands = commands.collect();
        self.nft_for_each("build chains and rules", found, commands, &mut refused).await?;
        Ok(Built { refused, rebuilt, compared })
    }

    /// Runs the commands of each family: in one transaction, and family by family when that is refused.
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
                for (commands, found) in commands.into_iter().zip(found) {
                    let built = self.kernel_access.nft(what, commands).await;
                    self.note_refusal(found, built, refused)?;
                }
                Ok(())
            }
            done => done,
        }
    }

    /// Puts aside that one family was refused; any other error ends the attempt.
    fn note_refusal(
        &self,
        found: &ManagedFound,
        built: Result<(), EnforceError>,
        refused: &mut Option<(Vec<IpFamily>, EnforceError)>,
    ) -> Result<(), EnforceError> {
        match built {
            Err(EnforceError::Nft(cause @ NftError::Refused { .. })) if !cause.is_missing() => {
                let (family, table) = (found.family_name(), found.family.table.clone());
                let unbuilt = EnforceError::Unbuilt { family, table, cause };
                refused.get_or_insert_with(|| (Vec::new(), unbuilt)).0.push(found.ip);
                Ok(())
            }
            done => done,
        }
    }

    /// The structure of a family, with what comparing may have added.
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

    /// Reports once why a family is left out, and arranges for another look.
    fn note_unmet(&mut self, unmet: Option<EnforceError>) -> Option<String> {
        self.retry_at = unmet.as_ref().map(|_| Instant::now() + RETRY_INTERVAL);
        let unmet = unmet.map(|error| error.to_string());
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

    /// Notes the structure as it is now, after a change of our own.
    pub(super) async fn take_prints(&mut self) -> Result<(), EnforceError> {
        let Some(installed) = &self.installed else { return Ok(()) };
        let (tables, names) = (watched_tables(&self.current.config), installed.own_names());
        if let Some(monitor) = &mut self.monitor {
            monitor.narrow(Arc::clone(&names));
        }
        let prints = self.kernel_access.kernel(move |kernel| kernel.prints(&tables, &names)).await??;
        if let Some(installed) = &mut self.installed {
            installed.prints = prints;
        }
        Ok(())
    }

    /// Finds the sets of set-only families, and makes those that are missing in their tables. A family that cannot
    /// be served is left out and reported; the other goes on.
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

    /// Takes away what earlier versions, other settings or the stock bouncer left in our tables. Nothing depends
    /// on it, so a failure is only logged.
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

/// How far building came.
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

/// Lets `nft` and the kernel judge the whole structure of a configuration without changing anything.
///
/// Needs the same permissions as enforcing, except in dry-run mode, where there is nothing to judge. Set-only
/// families have no structure either.
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
        // One source and one length stand for all: they differ in names only.
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
