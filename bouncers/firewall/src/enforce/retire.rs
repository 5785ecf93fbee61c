//! Removes objects: all at the stop, and after a reload those that only an earlier configuration needed.

use std::sync::Arc;

use palisade_cache::Snapshot;

use super::install::without;
use super::{Enforcer, EnforcerConfig};
use crate::commit::CommitError;
use crate::config::{Config, Family, IpFamily, Mode};
use crate::dry_run;
use crate::error::EnforceError;
use crate::kernel::{Kernel, OperatorsSet};
use crate::layout::Layout;
use crate::netlink::Reading;
use crate::nft::{Command, NftError};
use crate::service_manager;
use crate::structure::Structure;

/// How often the operator's set is read again when elements end while ours are taken out.
const REMOVAL_ATTEMPTS: u32 = 5;

impl Enforcer {
    /// At the stop: deletes our objects and takes our elements out of operators' sets, unless bans are to be kept. Each
    /// family is independent of the other.
    pub(super) async fn retire_everything(&mut self) {
        self.monitor = None;
        let enforcer_config = self.current.clone();
        if enforcer_config.config.mode == Mode::DryRun {
            dry_run::shut_down();
            return self.retire_former(&[]).await;
        }
        if enforcer_config.config.keep_on_stop {
            tracing::info!("stopping; bans stay in the kernel until they end (keep_on_stop)");
            return;
        }
        if service_manager::restarts_us().await {
            tracing::info!("stopping for a restart; what is in the kernel stays for the next process");
            return;
        }
        tracing::info!("Shutting down backend");
        for (ip, family) in enforcer_config.config.families() {
            self.retire(ip, family).await;
        }
        for former in std::mem::take(&mut self.former) {
            self.retire_config(&former, &enforcer_config.config).await;
        }
    }

    /// After a reload: removes what only an earlier configuration needed. Families that cannot be served as the current
    /// one want it go on as they stand.
    pub(super) async fn retire_former(&mut self, unserved: &[IpFamily]) {
        for former in std::mem::take(&mut self.former) {
            let current = self.current.config.clone();
            let stays = |ip: &IpFamily| unserved.contains(ip);
            let families = |stay: bool| {
                let ips: Vec<_> = former.config.families().map(|(ip, _)| ip).collect();
                let others: Vec<_> = ips.into_iter().filter(|ip| stays(ip) != stay).collect();
                EnforcerConfig { config: Arc::new(without(&former.config, &others)), ..former.clone() }
            };
            let (later, now) = (families(true), families(false));
            self.retire_config(&now, &current).await;
            if later.config.families().next().is_some() {
                self.former.push(later);
            }
        }
    }

    async fn retire_config(&mut self, former: &EnforcerConfig, current: &Config) {
        if former.config.mode == Mode::DryRun {
            return;
        }
        for (ip, family) in former.config.families() {
            let still_used = current.mode == Mode::Nftables
                && current.families().any(|(of, now)| {
                    of == ip
                        && now.set_only == family.set_only
                        && now.table == family.table
                        && (!family.set_only || now.set == family.set)
                });
            if !still_used {
                self.retire(ip, family).await;
            }
        }
    }

    async fn retire(&mut self, ip: IpFamily, family: &Family) {
        let retired = if family.set_only {
            self.empty_set(ip, family).await
        } else {
            self.remove_objects(ip, family).await
        };
        if let Err(error) = retired {
            tracing::warn!(
                table = family.table, %error,
                "could not take our objects out of the kernel; bans end by their timeouts"
            );
        }
    }

    /// Takes our objects out of a table: all of it when nothing else is in it.
    async fn remove_objects(&mut self, ip: IpFamily, family: &Family) -> Result<(), EnforceError> {
        let table = family.table.clone();
        let found = self.kernel_access.kernel(move |kernel| kernel.find_table(ip, &table)).await??;
        if !found.table {
            return Ok(());
        }
        tracing::info!("removing '{}' table", family.table);
        let commands = Structure::empty(ip, family).retirement(&found);
        match self.remove("delete our objects", commands).await {
            // Another program was faster.
            Err(EnforceError::Nft(error)) if error.is_missing() => Ok(()),
            done => done,
        }
    }

    /// Takes objects away at once; or, when rules of others refer to some of them, all that can go.
    pub(super) async fn remove(
        &mut self,
        what: &'static str,
        commands: Vec<Command>,
    ) -> Result<(), EnforceError> {
        match self.kernel_access.nft(what, commands.clone()).await {
            Err(EnforceError::Nft(error @ NftError::Refused { .. })) if !error.is_missing() => {}
            done => return done,
        }
        let mut staying = 0;
        for command in commands {
            // A set is known as ours by its counter.
            if staying > 0 && command["delete"]["counter"].is_object() {
                continue;
            }
            match self.kernel_access.nft(what, vec![command]).await {
                Err(EnforceError::Nft(NftError::Refused { .. })) => staying += 1,
                done => done?,
            }
        }
        tracing::warn!(
            staying,
            "rules of others refer to objects of ours: those stay, without effect on packets"
        );
        Ok(())
    }

    /// Takes our elements out of the operator's set.
    async fn empty_set(&mut self, ip: IpFamily, family: &Family) -> Result<(), EnforceError> {
        let wanted = family.clone();
        let OperatorsSet::Fit(number, dialect) =
            self.kernel_access.kernel(move |kernel| kernel.operators_set(ip, &wanted)).await??
        else {
            return Ok(());
        };
        let mut config = Config::clone(&self.current.config);
        (config.v4, config.v6) = match ip {
            IpFamily::V4 => (Some(family.clone()), None),
            IpFamily::V6 => (None, Some(family.clone())),
        };
        let mut layout = Layout::new(&config, &[]);
        layout.adopt_operators_set(ip, number, family, dialect);
        let emptied = self.kernel_access.kernel(move |kernel: &mut Kernel| {
            // An interval may end by itself between the reading and the removal: read again then.
            let mut tries = 0..REMOVAL_ATTEMPTS;
            loop {
                let now = palisade_stream::now();
                let found = kernel.compare(Reading::Settled, &layout, &Snapshot::default(), &[], now)?;
                match kernel.commit(&layout, &found.plan, true, now) {
                    Err(CommitError::Refused(_)) if tries.next().is_some() => {}
                    done => return done,
                }
            }
        });
        let committed = emptied.await??;
        self.kernel_access.remember(committed.generations);
        Ok(())
    }
}
