//! What people reported of firewalls of this kind, as stories: each holds the right outcome of one report.

mod allowed;
mod exact_ends;
mod first_minute;
mod foreign_objects;
mod limits;
mod own_network;
mod probe;
mod refusals;
mod restart_gap;
mod shared_set;
mod upgrade;

use palisade_e2e::{Config, Outcome, ScriptedLapi, World};

/// The operator's tables `ip mine` and `ip6 mine`, each with the set that is to be filled and a rule that drops what is
/// in it.
fn operators_tables(world: &World, flags: &str) -> Outcome {
    for (family, set) in [("ip", "crowdsec-blacklists"), ("ip6", "crowdsec6-blacklists")] {
        let kind = if family == "ip" { "ipv4_addr" } else { "ipv6_addr" };
        let flags = if flags.is_empty() { String::new() } else { format!("flags {flags};") };
        world.router.nft(&format!(
            "table {family} mine {{\nset {set} {{ type {kind}; {flags} }}\n\
             chain guard {{ type filter hook input priority 0;\n{family} saddr @{set} drop\n}}\n}}\n"
        ))?;
    }
    Ok(())
}

/// A configuration that fills [`operators_tables`].
fn set_only(world: &World, lapi: &ScriptedLapi) -> Outcome<Config> {
    Ok(Config::new(world, &lapi.access())?
        .set("nftables.ipv4.set-only", true)
        .set("nftables.ipv4.table", "mine")
        .set("nftables.ipv6.set-only", true)
        .set("nftables.ipv6.table", "mine"))
}
