//! From whatever the kernel holds to everything that is wanted, changing only what differs.

use std::sync::Arc;
use std::time::Duration;

use nftables::schema::{NfCmd, NfListObject, NfObject, Set, SetFlag, SetType, SetTypeValue};
use nftables::types::NfFamily;
use palisade_cache::Snapshot;
use tokio::time::Instant;

use super::hands::Hands;
use super::{Enforcer, Standing};
use crate::allow;
use crate::config::{Config, Family, IpFamily, Mode};
use crate::error::EnforceError;
use crate::found::Found;
use crate::kernel::{Kernel, OperatorsSet, watched_tables};
use crate::layout::{Dialect, Layout};
use crate::netlink::nfproto;
use crate::nft::{self, NftError};
use crate::structure::Structure;

/// How often to look for an operator's table or set that is not there (its appearance is also announced).
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Enforcer {
    /// Structure, sets, leftovers. Adopts what stands as wanted: then nothing at all is changed.
    pub(super) async fn stand(&mut self) -> Result<(), EnforceError> {
        let config = Arc::clone(&self.current.config);
        // Listening before looking: what happens in between is news, not a gap.
        self.monitor = None;
        self.open_monitor()?;

        let looked_at = Arc::clone(&config);
        let mut found = named(&config, self.hands.kernel(move |kernel| kernel.find(&looked_at)).await??);
        let (mut layout, mut unmet) = self.lay_out(&config, &found).await?;
        let mut structures = structures(&config, &found, &layout);
        let mut served = Arc::clone(&config);
        if let Some((refused, error)) = self.build(&structures, &found).await? {
            served = Arc::new(without(&config, &refused));
            if served.families().next().is_none() {
                return Err(error);
            }
            let kept: Vec<bool> = found.iter().map(|found| !refused.contains(&found.ip)).collect();
            let mut keep = kept.iter();
            found.retain(|_| keep.next().is_some_and(|keep| *keep));
            (layout, _) = self.lay_out(&served, &found).await?;
            structures = self::structures(&served, &found, &layout);
            unmet = Some(error);
        }

        let counts = vec![0; layout.targets().count()];
        let prints = self.hands.kernel(move |kernel| kernel.prints(&watched_tables(&config))).await??;
        self.standing = Some(Standing {
            config: served,
            layout: Arc::new(layout),
            structures,
            prints,
            hosts: Snapshot::default(),
            intervals: Snapshot::default(),
            counts,
            unmet: self.note_unmet(unmet),
        });
        let compared = self.compare_sets().await;
        if compared.is_err() {
            self.standing = None;
        }
        compared?;
        self.take_leftovers_away(&found).await;
        self.retire_former().await;
        Ok(())
    }

    /// The sets of the families of `config`, and why a set-only family is left out, if one is.
    async fn lay_out(
        &mut self,
        config: &Config,
        found: &[ManagedFound],
    ) -> Result<(Layout, Option<EnforceError>), EnforceError> {
        let allow = allow::stretches(config, &self.current.protected);
        let mut layout = Layout::new(config, &sources(found), &allow::families(&allow));
        let snapshot = self.cache.load();
        for (ip, source) in layout.missing_sources(&snapshot) {
            if let Some((_, family)) = config.families().find(|(of, _)| *of == ip) {
                layout.add_source(ip, family, &source);
            }
        }
        let unmet = self.meet_operators(config, &mut layout).await?;
        Ok((layout, unmet))
    }

    /// Builds each family's structure by itself, so that one the kernel refuses (a table of another owner, a kernel
    /// without the family) does not keep the other from being enforced. Returns those refused, and why the first was.
    async fn build(
        &mut self,
        structures: &[Structure],
        found: &[ManagedFound],
    ) -> Result<Option<(Vec<IpFamily>, EnforceError)>, EnforceError> {
        let mut refused: Option<(Vec<IpFamily>, EnforceError)> = None;
        for (wanted, found) in structures.iter().zip(found) {
            let changes = wanted.changes(&found.found).into_iter().collect();
            match self.hands.nft("build tables, chains, sets and rules", changes).await {
                Ok(()) => {}
                Err(EnforceError::Nft(cause @ NftError::Refused { .. })) if !cause.is_missing() => {
                    let family = if found.ip == IpFamily::V4 { "ip" } else { "ip6" };
                    let unbuilt = EnforceError::Unbuilt { family, table: found.family.table.clone(), cause };
                    refused.get_or_insert_with(|| (Vec::new(), unbuilt)).0.push(found.ip);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Tells once why a family is left out, and arranges for another look.
    fn note_unmet(&mut self, unmet: Option<EnforceError>) -> Option<String> {
        self.look_again = unmet.as_ref().map(|_| Instant::now() + LOOK_AGAIN);
        let unmet = unmet.map(|error| error.to_string());
        if let Some(text) = &unmet
            && self.status.borrow().failing.as_ref() != Some(text)
        {
            tracing::error!("{text}");
            self.report(|status| status.failures += 1);
        }
        unmet
    }

    /// Whether nobody has touched the structure since it was last looked at.
    pub(super) async fn stands_untouched(&mut self) -> Result<bool, EnforceError> {
        let tables = watched_tables(&self.current.config);
        let prints = self.hands.kernel(move |kernel| kernel.prints(&tables)).await??;
        Ok(self.standing.as_ref().is_some_and(|standing| standing.prints == prints))
    }

    /// Notes the structure as it is now, after a change of our own.
    pub(super) async fn take_prints(&mut self) -> Result<(), EnforceError> {
        let tables = watched_tables(&self.current.config);
        let prints = self.hands.kernel(move |kernel| kernel.prints(&tables)).await??;
        if let Some(standing) = &mut self.standing {
            standing.prints = prints;
        }
        Ok(())
    }

    /// Finds the sets of set-only families, and makes those that are missing in their tables. A family that cannot
    /// be served is left out and reported; the other goes on.
    async fn meet_operators(
        &mut self,
        config: &Config,
        layout: &mut Layout,
    ) -> Result<Option<EnforceError>, EnforceError> {
        let mut unmet = None;
        for (ip, family) in config.families().filter(|(_, family)| family.set_only) {
            let wanted = family.clone();
            match self.hands.kernel(move |kernel| kernel.operators_set(ip, &wanted)).await?? {
                OperatorsSet::Fit(number, dialect) => {
                    tracing::info!(
                        table = family.table,
                        family = family_name(number),
                        set = family.set,
                        interval = dialect.interval,
                        timeout = dialect.timeout,
                        "filling the operator's set"
                    );
                    layout.adopt_operators_set(ip, number, family, dialect);
                }
                OperatorsSet::NoSet(number) => {
                    self.hands.nft("make the set", vec![make_set(ip, number, family)]).await?;
                    layout.adopt_operators_set(
                        ip,
                        number,
                        family,
                        Dialect { interval: false, timeout: true },
                    );
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
    /// on it, so a failure is only told.
    async fn take_leftovers_away(&mut self, found: &[ManagedFound]) {
        let Some(standing) = &self.standing else { return };
        let commands: Vec<_> = standing
            .structures
            .iter()
            .zip(found)
            .flat_map(|(wanted, found)| wanted.leftovers(&found.family, &found.found))
            .collect();
        if commands.is_empty() {
            return;
        }
        tracing::info!(
            commands = commands.len(),
            "taking away what an earlier bouncer or configuration left"
        );
        let taken = async {
            self.hands.nft("take leftovers away", commands).await?;
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

fn structures(config: &Config, found: &[ManagedFound], layout: &Layout) -> Vec<Structure> {
    found.iter().map(|found| Structure::wanted(config, found.ip, &found.family, layout)).collect()
}

/// The configuration without these families.
fn without(config: &Config, families: &[IpFamily]) -> Config {
    let mut rest = config.clone();
    for ip in families {
        match ip {
            IpFamily::V4 => rest.v4 = None,
            IpFamily::V6 => rest.v6 = None,
        }
    }
    rest
}

fn sources(found: &[ManagedFound]) -> Vec<(IpFamily, String)> {
    found
        .iter()
        .flat_map(|found| found.found.sources(&found.family).into_iter().map(|source| (found.ip, source)))
        .collect()
}

/// Lets `nft` and the kernel judge the whole structure of a configuration without changing anything.
///
/// Needs the same permissions as enforcing, except in dry-run mode, where there is nothing to judge. Set-only
/// families have no structure either.
pub async fn check(config: &Config) -> Result<(), EnforceError> {
    if config.mode == Mode::DryRun {
        return Ok(());
    }
    let looked_at = config.clone();
    let found = Hands::default().kernel(move |kernel| kernel.find(&looked_at)).await??;
    let found = named(config, found);
    let families: Vec<_> = config.families().map(|(ip, _)| ip).collect();
    // One source stands for all: they differ in names only.
    let sources: Vec<_> = families.iter().map(|ip| (*ip, "check".to_owned())).collect();
    let layout = Layout::new(config, &sources, &families);
    let wanted =
        found.iter().map(|found| (Structure::wanted(config, found.ip, &found.family, &layout), found));
    let commands: Vec<_> = wanted.flat_map(|(wanted, found)| wanted.changes(&found.found)).collect();
    if commands.is_empty() {
        return Ok(());
    }
    Ok(nft::check("build tables, chains, sets and rules", commands).await?)
}

fn make_set(ip: IpFamily, number: u8, family: &Family) -> NfObject<'static> {
    NfObject::CmdObject(NfCmd::Add(NfListObject::Set(Box::new(Set {
        family: nf_family(number),
        table: family.table.clone().into(),
        name: family.set.clone().into(),
        set_type: SetTypeValue::Single(match ip {
            IpFamily::V4 => SetType::Ipv4Addr,
            IpFamily::V6 => SetType::Ipv6Addr,
        }),
        flags: Some([SetFlag::Timeout].into()),
        ..Default::default()
    }))))
}

/// `nft`'s families by the kernel's number.
pub(super) fn nf_family(number: u8) -> NfFamily {
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

impl Enforcer {
    /// Whether a table of these orders is there; used before taking it away.
    pub(super) async fn has_table(&mut self, number: u8, table: &str) -> Result<bool, EnforceError> {
        let table = table.to_owned();
        Ok(self.hands.kernel(move |kernel: &mut Kernel| kernel.has_table(number, &table)).await??)
    }
}
