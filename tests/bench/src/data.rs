//! Made-up decisions, the same in every run: 90 % hosts, 10 % ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};

/// Distinct IPv4 prefixes, hosts anywhere in unicast space, ranges of 16 to 28 bits.
pub(crate) fn v4(count: usize, seed: u64) -> Vec<IpNet> {
    let mut random = Rng::with_seed(seed);
    distinct(count, || {
        let address = Ipv4Addr::from_bits(random.u32(0x0100_0000..0xe000_0000));
        let length = if random.u8(0..10) == 0 { random.u8(16..=28) } else { 32 };
        IpNet::V4(Ipv4Net::new_assert(address, length).trunc())
    })
}

/// Distinct IPv6 prefixes in global unicast space, ranges of 32 to 64 bits.
pub(crate) fn v6(count: usize, seed: u64) -> Vec<IpNet> {
    let mut random = Rng::with_seed(seed);
    distinct(count, || {
        // Registries hand out a few thousand /24s; addresses crowd there.
        let top = 0x2400_0000u32 + (random.u32(0..0x1000) << 12);
        let address = u128::from(top) << 96 | u128::from(random.u64(..)) << 32 | u128::from(random.u32(..));
        let length = if random.u8(0..10) == 0 { random.u8(32..=64) } else { 128 };
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(address), length).trunc())
    })
}

/// Distinct hosts crowded into one network.
pub(crate) fn hosts_in(net: &str, count: usize, seed: u64) -> Vec<IpNet> {
    crowd(net, count, seed, |_, most| most)
}

/// Distinct ranges of the last 12 lengths before a host (IPv4) or before a /64 (IPv6), crowded into one network.
pub(crate) fn ranges_in(net: &str, count: usize, seed: u64) -> Vec<IpNet> {
    crowd(net, count, seed, |random, most| if most == 32 { random.u8(20..32) } else { random.u8(52..=64) })
}

fn crowd(net: &str, count: usize, seed: u64, length: fn(&mut Rng, u8) -> u8) -> Vec<IpNet> {
    let mut random = Rng::with_seed(seed);
    let net: IpNet = net.parse().expect("the benches name valid networks");
    distinct(count, || match net {
        IpNet::V4(net) => {
            let address = net.addr().to_bits() | random.u32(..) >> net.prefix_len();
            let length = length(&mut random, 32);
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(address), length).trunc())
        }
        IpNet::V6(net) => {
            let address = net.addr().to_bits() | random.u128(..) >> net.prefix_len();
            let length = length(&mut random, 128);
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(address), length).trunc())
        }
    })
}

fn distinct(count: usize, mut make: impl FnMut() -> IpNet) -> Vec<IpNet> {
    let mut seen = std::collections::HashSet::with_capacity(count);
    while seen.len() < count {
        seen.insert(make());
    }
    let mut nets: Vec<_> = seen.into_iter().collect();
    nets.sort_unstable();
    nets
}

/// Random addresses, half of them inside one of `nets`. The other half share `near` bits with one if they are IPv6,
/// as addresses crowd in few networks.
pub(crate) fn queries(nets: &[IpNet], near: u8, count: usize, seed: u64) -> Vec<IpAddr> {
    let mut random = Rng::with_seed(seed);
    let inside = |random: &mut Rng| {
        let net = nets[random.usize(..nets.len())];
        match net {
            IpNet::V4(net) => {
                let host = random.u32(..) & u32::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(net.addr().to_bits() | host))
            }
            IpNet::V6(net) => {
                let host = random.u128(..) & u128::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(net.addr().to_bits() | host))
            }
        }
    };
    let outside = |random: &mut Rng| match nets[random.usize(..nets.len())] {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(random.u32(0x0100_0000..0xe000_0000))),
        IpNet::V6(net) => {
            let high = Ipv6Net::new_assert(net.addr(), near).trunc().addr();
            IpAddr::V6(Ipv6Addr::from_bits(high.to_bits() | random.u128(..) >> near))
        }
    };
    (0..count).map(|n| if n % 2 == 0 { inside(&mut random) } else { outside(&mut random) }).collect()
}

/// Addresses as a busy site sees them: one in a hundred is held.
pub(crate) fn traffic(
    nets: &[IpNet],
    near: u8,
    count: usize,
    seed: u64,
    holds: impl Fn(IpAddr) -> bool,
) -> Vec<IpAddr> {
    let (mut out, mut round) = (Vec::with_capacity(count), seed);
    while out.len() < count {
        for ip in queries(nets, near, count, round) {
            if out.len() < count && holds(ip) == (out.len() % 100 == 0) {
                out.push(ip);
            }
        }
        round += 1;
    }
    Rng::with_seed(seed).shuffle(&mut out);
    out
}

/// An answer that announces these, from ten origins and lists.
pub(crate) fn batch(nets: &[IpNet], seed: u64) -> Batch {
    let mut random = Rng::with_seed(seed);
    let lists: Vec<String> = (0..8).map(|n| format!("list-{n}")).collect();
    let mut batch = Batch::new();
    for (id, net) in nets.iter().enumerate() {
        let (origin, scenario) = match id % 10 {
            0 => ("crowdsec", "crowdsecurity/ssh-bf"),
            1..=4 => ("CAPI", "http:scan"),
            n => ("lists", lists[n - 2].as_str()),
        };
        let until = Timestamp::from_millis(random.i64(3_600_000..600_000_000));
        batch.announce_net(*net, Reason { remediation: "ban", origin, scenario }, until, id as i64);
    }
    batch
}

pub(crate) fn ledger(nets: &[IpNet]) -> Ledger {
    let mut ledger = Ledger::new(Policy::default(), 42);
    ledger.apply(Mode::Everything, batch(nets, 7));
    ledger
}
