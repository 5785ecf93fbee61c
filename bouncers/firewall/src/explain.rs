//! Implements `explain`: how the kernel treats a packet now and why, what the cache holds on its address, and where the
//! two disagree. Reads the kernel, changes nothing.
//!
//! ```text
//!  read.rs      kernel ──► Ruleset (ruleset.rs: chains and rules as data), single elements
//!  evaluate.rs  Ruleset + Packet (packet.rs) ──► Outcome of a base chain; pure
//!  compare.rs   Outcomes (hooks.rs, elements.rs, reporter.rs) + answer of the cache + effect.rs ──► Report; pure
//!  print.rs     Report ──► text
//! ```

pub(crate) mod arguments;
mod compare;
mod elements;
mod evaluate;
mod expression;
mod hooks;
mod packet;
mod print;
mod read;
mod report;
mod reporter;
mod ruleset;
mod words;

use std::io::Write;

use anyhow::Context as _;
use palisade_bouncer::control::LookupAnswer;

use self::arguments::ExplainedPacket;
use crate::enforcer_config::EnforcerConfig;
use crate::layout::family_of;
use crate::netlink::{NetlinkError, Socket};

/// Explains a packet, as text or as one line of JSON. `cache` is the cache's response on its address, or why there is
/// none.
///
/// # Errors
/// The kernel cannot be read, or the result cannot be written.
pub(crate) fn explain(
    enforcer_config: &EnforcerConfig,
    packet: ExplainedPacket,
    cache: Result<LookupAnswer, String>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let report = read_and_report(enforcer_config, packet, cache).map_err(|error| match error {
        NetlinkError::Denied(cause) => {
            anyhow::anyhow!(
                "the kernel's rules cannot be read ({cause}); run it as root or with CAP_NET_ADMIN"
            )
        }
        other => anyhow::Error::new(other).context("the kernel's rules cannot be read"),
    })?;
    let text = if json { serde_json::to_string(&report)? + "\n" } else { print::text(&report) };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot print the answer")
}

fn read_and_report(
    enforcer_config: &EnforcerConfig,
    packet: ExplainedPacket,
    cache: Result<LookupAnswer, String>,
) -> Result<report::Report, NetlinkError> {
    let mut socket = Socket::open()?;
    let ruleset = read::ruleset(&mut socket, family_of(packet.source))?;
    // Elements are read one by one: the dump of a long set takes much longer.
    let mut elements = read::KernelElements { socket: &mut socket };
    Ok(compare::report(enforcer_config, packet, cache, &ruleset, &mut elements))
}
