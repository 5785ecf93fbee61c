//! Removes objects from the kernel: all at the stop, and after a reload those that only an earlier configuration
//! needed.

use std::sync::Arc;

use palisade_cache::Snapshot;
use palisade_stream::{Freshness, channel_with};
use tokio::sync::watch;

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

/// How often the operator's set is read again when elements expire while ours are removed.
const REMOVAL_ATTEMPTS: u32 = 5;

impl Enforcer {
    /// At the stop: deletes our objects and removes our elements from operators' sets, unless bans are to be kept.
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
        // A restart without this would leave the host open until the next process has built everything again.
        if service_manager::restarts_us().await {
            tracing::info!("stopping for a restart; what is in the kernel stays for the next process");
            return;
        }
        // The stock bouncer's message.
        tracing::info!("Shutting down backend");
        // Each family by itself: the stock bouncer leaves the IPv6 table behind when the IPv4 one is already gone.
        for (ip, family) in enforcer_config.config.families() {
            self.retire(ip, family).await;
        }
        // Former configurations that could not be removed at their reload.
        for former in std::mem::take(&mut self.former) {
            self.retire_config(&former, &enforcer_config.config).await;
        }
    }

    /// After a reload: removes what only an earlier configuration needed, except for the families in `unserved`.
    pub(super) async fn retire_former(&mut self, unserved: &[IpFamily]) {
        for former in std::mem::take(&mut self.former) {
            let current = self.current.config.clone();
            // Where the new configuration cannot be built, the objects of the former one are all that enforces. They
            // stay until it can.
            let stays = |ip: &IpFamily| unserved.contains(ip);
            let families = |stay: bool| {
                let ips: Vec<_> = former.config.families().map(|(ip, _)| ip).collect();
                let others: Vec<_> = ips.into_iter().filter(|ip| stays(ip) != stay).collect();
                EnforcerConfig { config: Arc::new(without(&former.config, &others)), ..former.clone() }
            };
            let (later, now) = (families(true), families(false));
            self.retire_config(&now, &current).await;
            if later.config.families().next().is_some() {
                // Removed by the install that serves the family.
                self.former.push(later);
            }
        }
    }

    async fn retire_config(&mut self, former: &EnforcerConfig, current: &Config) {
        if former.config.mode == Mode::DryRun {
            return;
        }
        for (ip, family) in former.config.families() {
            // Chain and set prefixes do not count: in the same table, what is not wanted any more is removed as
            // leftovers.
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

    /// Removes everything of ours from the kernel, without a running enforcement.
    ///
    /// # Errors
    /// What could not be removed. The other family is removed all the same.
    pub async fn remove_rules(enforcer_config: EnforcerConfig) -> Result<(), EnforceError> {
        let (_sender, receiver) = watch::channel(enforcer_config.clone());
        // Nothing is enforced, so there are no decisions.
        let (_publisher, cache) = channel_with(Snapshot::default(), Freshness::default());
        let (mut enforcer, _status) = Self::new(receiver, cache);
        let mut done = Ok(());
        for (ip, family) in enforcer_config.config.families() {
            let removed = match family.set_only {
                true => enforcer.empty_set(ip, family).await,
                false => enforcer.remove_objects(ip, family).await,
            };
            done = done.and(removed);
        }
        done
    }

    async fn retire(&mut self, ip: IpFamily, family: &Family) {
        let retired = if family.set_only {
            self.empty_set(ip, family).await
        } else {
            self.remove_objects(ip, family).await
        };
        if let Err(error) = retired {
            // A stop must not fail because of this.
            tracing::warn!(
                table = family.table, %error,
                "could not take our objects out of the kernel; bans end by their timeouts"
            );
        }
    }

    /// Removes our objects from a table, and the table itself when nothing else is in it.
    async fn remove_objects(&mut self, ip: IpFamily, family: &Family) -> Result<(), EnforceError> {
        let table = family.table.clone();
        let found = self.kernel_access.kernel(move |kernel| kernel.find_table(ip, &table)).await??;
        if !found.table {
            return Ok(());
        }
        tracing::info!("removing '{}' table", family.table);
        let commands = Structure::empty(ip, family).retirement(&found);
        match self.remove("delete our objects", commands).await {
            // Another program has removed them.
            Err(EnforceError::Nft(error)) if error.is_missing() => Ok(()),
            done => done,
        }
    }

    /// Removes objects in one transaction, or one by one when rules of others refer to some of them.
    pub(super) async fn remove(
        &mut self,
        what: &'static str,
        commands: Vec<Command>,
    ) -> Result<(), EnforceError> {
        match self.kernel_access.nft(what, commands.clone()).await {
            Err(EnforceError::Nft(error @ NftError::Refused { .. })) if !error.is_missing() => {}
            done => return done,
        }
        // The kernel refuses to delete what other rules refer to (`EBUSY`), and with it the whole transaction.
        let mut staying = 0;
        for command in commands {
            // A set is recognised as ours by its counter. Without that, a later start would take a set that stays for a
            // foreign one.
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

    /// Removes our elements from the operator's set.
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
        // Compared with an empty snapshot: whatever is ours in it differs, and is removed.
        let mut layout = Layout::new(&config, &[]);
        layout.adopt_operators_set(ip, number, family, dialect);
        let emptied = self.kernel_access.kernel(move |kernel: &mut Kernel| {
            // An interval may expire between the reading and the removal; the kernel then refuses the transaction.
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
