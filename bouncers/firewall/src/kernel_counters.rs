//! Reads the counters of the rules over netlink: one request per table, without `nft` and without reading any set.

use crate::config::{Config, IpFamily};
use crate::error::EnforceError;
use crate::layout::nfproto_of;
use crate::names;
use crate::netlink::{NetlinkError, Socket, nfproto};

/// Packets and bytes, as the kernel counts them: from zero when the counter was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, headers included.
    pub bytes: u64,
}

/// What one family's rules have counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyCounters {
    /// Address family.
    pub family: IpFamily,
    /// Packets that entered one of our chains, over all hooks together.
    pub processed: Traffic,
    /// Denied packets by source: the origin, `lists:<name>` for a subscribed list.
    pub dropped: Vec<(String, Traffic)>,
}

/// Reads the counters of every enabled family. Blocks, for well under a millisecond. A family whose table does not
/// exist has counted nothing.
pub fn read_counters(config: &Config) -> Result<Vec<FamilyCounters>, EnforceError> {
    let mut socket = Socket::open()?;
    config
        .families()
        .map(|(ip, family)| {
            let mut counted =
                FamilyCounters { family: ip, processed: Traffic::default(), dropped: Vec::new() };
            // The operator's table may be an `inet` one, and its counters may have stock names.
            let tables = if family.set_only {
                [Some(nfproto_of(ip)), Some(nfproto::INET)]
            } else {
                [Some(nfproto_of(ip)), None]
            };
            for number in tables.into_iter().flatten() {
                for counter in named_counters(&mut socket, number, &family.table)? {
                    let traffic = Traffic { packets: counter.packets, bytes: counter.bytes };
                    if counter.name == names::PROCESSED {
                        counted.processed = traffic;
                    } else if let Some(names::Holds::Hosts(source)) = names::holds(family, &counter.name) {
                        counted.dropped.push((source, traffic));
                    }
                }
            }
            Ok(counted)
        })
        .collect()
}

/// The number of the last transaction on the ruleset of this network namespace, by any program. Blocks, for well under
/// a millisecond.
pub fn ruleset_generation() -> Result<u32, EnforceError> {
    Ok(Socket::open()?.generation()?)
}

fn named_counters(
    socket: &mut Socket,
    number: u8,
    table: &str,
) -> Result<Vec<crate::netlink::CounterValue>, NetlinkError> {
    match socket.counters(number, table) {
        // The table is being rebuilt, or does not exist yet: nothing was counted.
        Err(error) if error.is_missing() => Ok(Vec::new()),
        done => done,
    }
}
