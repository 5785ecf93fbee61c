//! Taking away: at the stop, and what former orders put up.

use nftables::schema::{FlushObject, NfCmd, NfObject, Set, SetType, SetTypeValue};

use super::stand::nf_family;
use super::{Enforcer, Orders};
use crate::config::{Config, Family, IpFamily, Mode};
use crate::dry_run;
use crate::error::EnforceError;
use crate::kernel::OperatorsSet;
use crate::layout::nfproto_of;
use crate::structure::delete_table;

impl Enforcer {
    /// At the stop: deletes managed tables and empties operators' sets, unless bans are to be kept. Each family is
    /// independent of the other.
    pub(super) async fn retire_everything(&mut self) {
        self.monitor = None;
        let orders = self.current.clone();
        if orders.config.mode == Mode::DryRun {
            dry_run::shut_down();
            return self.retire_former().await;
        }
        if orders.config.keep_on_stop {
            tracing::info!("stopping; bans stay in the kernel until they end (keep_on_stop)");
            return;
        }
        for (ip, family) in orders.config.families() {
            self.retire(ip, family).await;
        }
        for former in std::mem::take(&mut self.former) {
            self.retire_orders(&former, &orders.config).await;
        }
    }

    /// After a reload: takes away what only former orders wanted.
    pub(super) async fn retire_former(&mut self) {
        for former in std::mem::take(&mut self.former) {
            let current = self.current.config.clone();
            self.retire_orders(&former, &current).await;
        }
    }

    async fn retire_orders(&mut self, former: &Orders, current: &Config) {
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
            self.drop_table(ip, family).await
        };
        if let Err(error) = retired {
            tracing::warn!(
                table = family.table, %error,
                "could not take our objects out of the kernel; bans end by their timeouts"
            );
        }
    }

    async fn drop_table(&mut self, ip: IpFamily, family: &Family) -> Result<(), EnforceError> {
        if !self.has_table(nfproto_of(ip), &family.table).await? {
            return Ok(());
        }
        match self.hands.nft("delete our table", vec![delete_table(ip, &family.table)]).await {
            // Somebody was faster.
            Err(EnforceError::Nft(error)) if error.is_missing() => Ok(()),
            done => done,
        }
    }

    async fn empty_set(&mut self, ip: IpFamily, family: &Family) -> Result<(), EnforceError> {
        let wanted = family.clone();
        let OperatorsSet::Fit(number, _) =
            self.hands.kernel(move |kernel| kernel.operators_set(ip, &wanted)).await??
        else {
            return Ok(());
        };
        let set = Set {
            family: nf_family(number),
            table: family.table.clone().into(),
            name: family.set.clone().into(),
            set_type: SetTypeValue::Single(SetType::Ipv4Addr),
            ..Default::default()
        };
        let flush = NfObject::CmdObject(NfCmd::Flush(FlushObject::Set(Box::new(set))));
        self.hands.nft("empty the operator's set", vec![flush]).await
    }
}
