//! Speaks netfilter netlink: nftables transactions, dumps and change events, without the `nft` program.
//!
//! ```text
//!  changes ──element.rs──► messages ──transaction.rs──► one send = one transaction ──► acknowledgements
//!  kernel  ──read.rs──► set elements, set headers, counters, a print of the structure
//!  kernel  ──monitor.rs──► each generation that changed a watched table, when it is committed
//! ```
//!
//! The byte layout comes from `netlink-bindings`, generated from the kernel's own specification. These modules add what
//! the bindings leave open: the socket with its buffers, framing, and the meaning of responses.

mod element;
mod frame;
mod monitor;
mod read;
mod socket;
mod transaction;

use std::io;

use rustix::io::Errno;

use crate::capability::has_net_admin;

pub(crate) use element::{
    Held, MARK, NFTA_SET_ELEM_OBJREF, Slot, Verb, counter_print, encode_elements, following, preceding,
};
pub(crate) use monitor::{Event, Monitor, Watched};
pub(crate) use read::{
    CounterValue, NFT_MSG_GETCHAIN, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE,
    SetHeader, StructurePrint, text,
};
pub(crate) use socket::{Dump, Reading, Socket};
pub(crate) use transaction::{Rejection, Transaction};

/// nftables families, as `nfgenmsg` carries them (`NFPROTO_*`).
pub(crate) mod nfproto {
    /// Any family, in conntrack requests.
    pub(crate) const UNSPEC: u8 = 0;
    /// Family `inet`.
    pub(crate) const INET: u8 = 1;
    /// Family `ip`.
    pub(crate) const IPV4: u8 = 2;
    /// Family `ip6`.
    pub(crate) const IPV6: u8 = 10;
}

/// Why a request to the kernel's packet filter failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket could not be opened or set up.
    #[error("cannot open a netlink socket: {0}; {hint}", hint = why_not_open(.0))]
    Open(io::Error),
    /// The kernel refuses this process.
    #[error("the kernel refuses nftables changes ({0}): {hint}", hint = why_denied())]
    Denied(Errno),
    /// Sending failed.
    #[error("cannot send {what} to the kernel: {cause}")]
    Send {
        /// The message.
        what: &'static str,
        /// The system's reason.
        cause: Errno,
    },
    /// The response is missing or invalid.
    #[error("no usable answer from the kernel to {what}: {cause}")]
    Receive {
        /// The request.
        what: &'static str,
        /// The system's reason.
        cause: Errno,
    },
    /// The kernel refused a request.
    #[error("the kernel refuses {what}: {cause}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The kernel's reason.
        cause: Errno,
    },
    /// A dump was disturbed by concurrent changes, again and again.
    #[error("{what} kept changing while it was read, {attempts} times over; trying again later")]
    Unsettled {
        /// The request.
        what: &'static str,
        /// The number of attempts.
        attempts: u32,
    },
}

const MISSING_CAPABILITY: &str = "the capability CAP_NET_ADMIN is missing; in the unit set \
                                  AmbientCapabilities=CAP_NET_ADMIN (and leave it in CapabilityBoundingSet=), or run \
                                  `setcap cap_net_admin+ep` on the program, or run it as root";

/// The likely reason for a netlink socket that cannot be opened, and the way out.
fn why_not_open(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::AFNOSUPPORT) => {
            "the service may not use netlink: add AF_NETLINK to RestrictAddressFamilies= of its unit"
        }
        Some(Errno::PROTONOSUPPORT) => "is the nf_tables kernel module available?",
        // Joining the multicast group of ruleset changes needs the capability as well; a plain socket does not.
        Some(Errno::PERM | Errno::ACCESS) if !has_net_admin() => MISSING_CAPABILITY,
        Some(Errno::PERM | Errno::ACCESS) => {
            "a filter of system calls forbids it: see SystemCallFilter= of the unit, or the container's profile"
        }
        _ => "is the system short of memory or of open files?",
    }
}

/// The likely reason for a refused change of the ruleset, and the way out.
fn why_denied() -> &'static str {
    if has_net_admin() {
        "another program owns the table (flag owner), or this user namespace may not change the ruleset of its \
         network namespace"
    } else {
        MISSING_CAPABILITY
    }
}

/// The kernel's reason for refusing an element or a transaction, as a text.
pub(crate) fn describe(reason: Errno) -> String {
    match reason {
        // The kernel's own text for this is "Too many open files in system".
        Errno::NFILE => "a set is full".to_owned(),
        reason => reason.to_string(),
    }
}

impl NetlinkError {
    /// Whether the kernel reports that a table, set or other object does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { cause: Errno::NOENT, .. })
    }
}
