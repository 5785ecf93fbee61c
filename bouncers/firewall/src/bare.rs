//! The physical limit for the benchmark: elements in prepared batches, sent and acknowledged, nothing else.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::netlink::{NetlinkError, Slot, Socket, Transaction, Verb, encode_elements, nfproto};

/// Fills a hash set of an `ip` table with these addresses for a day and tells how long the kernel took: the
/// batches are encoded before the clock starts. For benchmarks.
///
/// # Errors
/// When the kernel refuses; there is no retry.
#[doc(hidden)]
pub fn bare_load(table: &str, set: &str, addresses: &[Ipv4Addr]) -> Result<Duration, NetlinkError> {
    let mut socket = Socket::open()?;
    let mut batches = vec![Transaction::default()];
    let mut rest = addresses;
    while !rest.is_empty() {
        let mut batch = batches.pop().unwrap_or_default();
        let before = batch.messages();
        let written = batch.elements(nfproto::IPV4, Verb::Add, |buf| {
            let slots = rest.iter().map(|address| {
                let address = IpAddr::V4(*address);
                Slot { timeout: Some(Duration::from_secs(86_400)), ..Slot::plain(address, address) }
            });
            encode_elements(buf, table, set, false, Verb::Add, slots)
        });
        if batch.len() > socket.batch_limit() && before > 0 {
            batch.truncate(before);
            batches.push(batch);
            batches.push(Transaction::default());
            continue;
        }
        rest = &rest[written..];
        batches.push(batch);
    }
    let start = Instant::now();
    for batch in batches {
        if let Err(refused) = batch.commit(&mut socket)? {
            return Err(NetlinkError::Open(refused.reason().into()));
        }
    }
    Ok(start.elapsed())
}
