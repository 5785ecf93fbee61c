//! Defines the errors of enforcing.

use rustix::io::Errno;

use crate::commit::CommitError;
use crate::netlink::{NetlinkError, describe};
use crate::nft::NftError;

/// Why decisions could not be put in force. All but the refusals that [`EnforceError::is_hopeless`] names are
/// tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnforceError {
    /// The kernel's netlink interface.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The `nft` program.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// One family's table cannot be built; the other family is enforced meanwhile.
    #[error("table {family} {table}: {cause}; whatever else is wanted is enforced, and this is tried again")]
    Unbuilt {
        /// `ip` or `ip6`.
        family: &'static str,
        /// The table.
        table: String,
        /// The error output of `nft`.
        #[source]
        cause: NftError,
    },
    /// A foreign object has the name of one of ours.
    #[error(
        "table {family} {table} holds a {kind} '{name}' that is not ours; nothing of it was changed: rename it, or set \
             nftables.{key}.table or nftables.{key}.chain to a name that is free"
    )]
    Collision {
        /// `ip` or `ip6`.
        family: &'static str,
        /// The table.
        table: String,
        /// `chain` or `set`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// `ipv4` or `ipv6`.
        key: &'static str,
    },
    /// A table or a set of ours was removed.
    #[error("a table or set is missing in the kernel; it will be built again")]
    Gone,
    /// The kernel's sets are not as expected.
    #[error("the kernel refuses the transaction: {}; its sets will be read and compared", describe(*.0))]
    Refused(Errno),
    /// An expired interval is not collected by the kernel yet, and overlaps a new one.
    #[error("the kernel has not collected an interval that has ended, and refuses one around it until then")]
    Lingering,
    /// Set-only mode without its table.
    #[error(
        "nftables: could not find table '{table}' of family {families}; set-only mode never creates it: create it, \
             or set nftables.{key}.set-only to false"
    )]
    NoTable {
        /// Configured name.
        table: String,
        /// Families looked into.
        families: &'static str,
        /// `ipv4` or `ipv6`.
        key: &'static str,
    },
    /// Set-only mode with a set that cannot be filled.
    #[error(
        "nftables: set '{set}' in table '{table}' cannot be filled: {why}; give it the type {kind} and the flags \
             timeout or interval,timeout"
    )]
    Unfit {
        /// Configured table.
        table: String,
        /// Configured set.
        set: String,
        /// What is wrong with it.
        why: &'static str,
        /// What it should hold.
        kind: &'static str,
    },
    /// The thread that talks to the kernel died.
    #[error("the thread that talks to the kernel ended early: {0}")]
    Thread(String),
}

impl EnforceError {
    /// Whether trying again cannot help: not allowed to change the ruleset, no program to do it with, or a foreign
    /// object where one of ours belongs.
    pub fn is_hopeless(&self) -> bool {
        matches!(
            self,
            Self::Netlink(NetlinkError::Denied(_) | NetlinkError::Open(_))
                | Self::Nft(NftError::Missing(_))
                | Self::Collision { .. }
        )
    }
}

impl From<CommitError> for EnforceError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Netlink(error) => Self::Netlink(error),
            CommitError::Gone => Self::Gone,
            CommitError::Refused(reason) => Self::Refused(reason),
        }
    }
}
