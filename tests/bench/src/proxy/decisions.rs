//! The decisions of the comparison, as each proxy wants them, and client addresses that none of them holds.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_e2e::{Outcome, World};

use crate::data;

/// Client addresses of a run; each request has the next one.
const CLIENTS: usize = 4096;

/// Prefixes without repeats: 70 % IPv4, 5 % ranges.
pub(super) fn list(count: usize) -> Vec<IpNet> {
    let mut random = Rng::with_seed(14);
    let mut nets = std::collections::HashSet::with_capacity(count);
    while nets.len() < count {
        nets.insert(one(&mut random));
    }
    let mut nets: Vec<_> = nets.into_iter().collect();
    nets.sort_unstable();
    nets
}

fn one(random: &mut Rng) -> IpNet {
    let range = random.u8(0..20) == 0;
    if random.u8(0..10) < 7 {
        let length = if range { random.u8(16..=28) } else { 32 };
        // The loopback, the peer of every connection here, must stay free.
        let address = random.u32(0x0100_0000..0x7f00_0000);
        Ipv4Net::new_assert(address.into(), length).trunc().into()
    } else {
        let length = if range { random.u8(32..=64) } else { 128 };
        let top = 0x2400_0000u32 + (random.u32(0..0x1000) << 12);
        let address = u128::from(top) << 96 | u128::from(random.u64(..)) << 32 | u128::from(random.u32(..));
        Ipv6Net::new_assert(address.into(), length).trunc().into()
    }
}

/// Bans of these as a LAPI sends them, with ids from `first_id`.
pub(super) fn as_json(nets: &[IpNet], first_id: usize) -> impl Iterator<Item = String> {
    nets.iter().enumerate().map(move |(at, net)| {
        let host = net.prefix_len() == net.max_prefix_len();
        let (scope, value) = if host { ("Ip", net.addr().to_string()) } else { ("Range", net.to_string()) };
        format!(
            r#"{{"duration":"{}h59m58s","id":{},"origin":"CAPI","scenario":"http:scan","scope":"{scope}","type":"ban","value":"{value}"}}"#,
            23 + at % 100,
            first_id + at
        )
    })
}

/// Writes one prefix in each line, with `ending` behind it.
pub(super) fn as_lines(world: &World, nets: &[IpNet], ending: &str) -> Outcome<PathBuf> {
    let mut text = String::new();
    for net in nets {
        let _ = writeln!(text, "{net}{ending}");
    }
    let path = world.fresh_path("list");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Addresses that none of these holds, half of them from the same /24s and /48s.
pub(super) fn clean(nets: &[IpNet]) -> Vec<IpAddr> {
    let snapshot = data::ledger(nets).snapshot();
    let mut random = Rng::with_seed(15);
    let mut clients = Vec::with_capacity(CLIENTS);
    while clients.len() < CLIENTS {
        let near = nets.get(random.usize(..nets.len().max(1))).filter(|_| clients.len() % 2 == 0);
        let address = match near {
            Some(IpNet::V4(net)) => IpAddr::V4((net.addr().to_bits() & !0xff | random.u32(..256)).into()),
            Some(IpNet::V6(net)) => {
                IpAddr::V6((net.addr().to_bits() & (u128::MAX << 80) | random.u128(..) >> 48).into())
            }
            None => one(&mut random).addr(),
        };
        if !snapshot.holds(address) {
            clients.push(address);
        }
    }
    clients
}

/// A script for wrk with which each request has the next of these addresses in `X-Forwarded-For`.
pub(super) fn wrk_script(world: &World, clients: &[IpAddr]) -> Outcome<PathBuf> {
    let quoted: Vec<_> = clients.iter().map(|address| format!("\"{address}\"")).collect();
    let text = include_str!("templates/clients.lua").replace("@CLIENTS@", &quoted.join(", "));
    let path = world.fresh_path("clients.lua");
    std::fs::write(&path, text)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_clients_are_outside_of_the_list() {
        let nets = list(3000);
        let ranges = nets.iter().filter(|net| net.prefix_len() != net.max_prefix_len()).count();
        assert!((100..200).contains(&ranges), "{ranges}");
        let clients = clean(&nets);
        assert_eq!(clients.len(), CLIENTS);
        assert!(!clients.iter().any(|client| nets.iter().any(|net| net.contains(client))));
        assert_eq!(clean(&[]).len(), CLIENTS);
    }
}
