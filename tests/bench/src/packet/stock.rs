//! The rules of the newest stock bouncer: in each family's table one hash set and one counted drop for each origin,
//! on input and forward. A range is held by its first address alone.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use palisade_e2e::{Host, Outcome};

use super::origin::Origin;
use crate::netlink::Batches;

/// Lays the rules and loads the sets.
pub(crate) fn load(host: &Host, v6: bool, nets: &[IpNet], origins: &[Origin]) -> Outcome {
    let (family, table, kind) = if v6 { ("ip6", "crowdsec6", "ipv6") } else { ("ip", "crowdsec", "ipv4") };
    let set = |origin: &Origin| format!("{table}-blacklists-{}", origin.set_suffix());
    let mut script = format!("table {family} {table} {{\n counter processed {{ }}\n");
    for origin in origins {
        let set = set(origin);
        writeln!(script, " counter {set} {{ }}\n set {set} {{ type {kind}_addr; flags timeout; }}")?;
    }
    for hook in ["input", "forward"] {
        writeln!(
            script,
            " chain {table}-chain-{hook} {{ type filter hook {hook} priority -10; policy accept;"
        )?;
        writeln!(script, "  counter name processed")?;
        for set in origins.iter().map(set) {
            writeln!(script, "  {family} saddr @{set} counter name {set} drop")?;
        }
        writeln!(script, " }}")?;
    }
    host.nft(&(script + "}\n"))?;
    let mut batches = Batches::new(v6);
    // An address that is in any set already is not added again.
    let mut known = HashSet::with_capacity(nets.len());
    for (at, origin) in origins.iter().enumerate() {
        let addresses = nets.iter().skip(at).step_by(origins.len()).map(IpNet::network);
        let addresses: Vec<IpAddr> = addresses.filter(|address| known.insert(*address)).collect();
        batches.add(table, &set(origin), &addresses, Some(Duration::from_secs(86_400)));
    }
    batches.commit(host).map(drop)
}
