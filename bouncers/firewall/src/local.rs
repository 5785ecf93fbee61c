//! Reads this host's own addresses, its networks, and what it depends on, from the kernel and `/etc/resolv.conf`.
//!
//! Own addresses are never banned. A ban that covers the host's own network, its gateway or its resolver is enforced,
//! with a warning.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_bindings::utils::find_attr;

use crate::netlink::{Dump, NetlinkError, Socket};

/// Addresses of this host that are read.
// Each becomes an exempt interval, and is compared with every new ban.
const MAX_ADDRESSES: usize = 4096;

/// `RTM_GETADDR` and attributes of `linux/if_addr.h`.
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFADDRMSG_BYTES: usize = 8;

/// What of this host a ban should not hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalNetwork {
    /// Addresses of this host but link-local IPv6 ones, sorted.
    pub addresses: Vec<IpAddr>,
    /// The networks that its interfaces are in.
    pub subnets: Vec<IpNet>,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub resolvers: Vec<IpAddr>,
}

impl LocalNetwork {
    /// Reads everything anew. Blocks, for about a millisecond. What cannot be read is left out.
    ///
    /// # Errors
    /// The kernel does not list its addresses.
    pub fn read() -> Result<Self, NetlinkError> {
        let mut nets = addresses()?;
        nets.sort_unstable();
        nets.dedup();
        let addresses = nets.iter().map(IpNet::addr).collect();
        let is_subnet = |net: &&IpNet| net.prefix_len() < net.max_prefix_len() && !net.addr().is_loopback();
        let mut gateways = gateways_v4(&read("/proc/net/route"));
        gateways.extend(gateways_v6(&read("/proc/net/ipv6_route")));
        Ok(Self {
            addresses,
            subnets: nets.iter().filter(is_subnet).map(IpNet::trunc).collect(),
            gateways,
            resolvers: resolvers(&read("/etc/resolv.conf")),
        })
    }

    /// What of this host a ban of `net` hits besides its own addresses; `None` when nothing.
    pub(crate) fn hit_by(&self, net: IpNet) -> Option<String> {
        let covered = |list: &[IpAddr]| list.iter().find(|address| net.contains(*address)).copied();
        if let Some(gateway) = covered(&self.gateways) {
            return Some(format!("the gateway {gateway}"));
        }
        // A resolver on loopback is exempt anyway.
        if let Some(resolver) = covered(&self.resolvers).filter(|address| !address.is_loopback()) {
            return Some(format!("the name server {resolver}"));
        }
        if let Some(subnet) = self.subnets.iter().find(|subnet| net.contains(*subnet)) {
            return Some(format!("this host's own network {subnet}"));
        }
        covered(&self.addresses).map(|own| format!("this host's own address {own} (which stays let through)"))
    }
}

fn read(path: &str) -> String {
    // These files are made by the kernel or the administrator, so their size needs no bound. Where one is missing (IPv6
    // is off), it lists nothing.
    fs::read_to_string(path).unwrap_or_default()
}

/// Addresses with the prefix length of their network.
fn addresses() -> Result<Vec<IpNet>, NetlinkError> {
    let dump = Dump { what: "the addresses of this host", kind: RTM_GETADDR, family: 0 };
    Socket::open_route()?.dump(
        dump,
        |_| {},
        Vec::new,
        |nets, payload| {
            let Some((header, attributes)) = payload.split_at_checked(IFADDRMSG_BYTES) else { return };
            // On a point-to-point link `IFA_ADDRESS` is the other end.
            let address = find_attr(attributes, IFA_LOCAL).or_else(|| find_attr(attributes, IFA_ADDRESS));
            let address = match address {
                Some(bytes) if bytes.len() == 4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
                Some(bytes) => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
                None => None,
            };
            let net = address.and_then(|address| IpNet::new(address, header[1]).ok());
            // Link-local addresses are exempt as such, and every virtual interface has one, so they would only fill the
            // list.
            let link_local =
                |net: &IpNet| matches!(net.addr(), IpAddr::V6(own) if own.is_unicast_link_local());
            if nets.len() < MAX_ADDRESSES {
                nets.extend(net.filter(|net| !link_local(net)));
            }
        },
    )
}

/// Gateways of default routes in `/proc/net/route`.
fn gateways_v4(table: &str) -> Vec<IpAddr> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The kernel prints the address as a number in host order.
    let number =
        |text: &str| u32::from_str_radix(text, 16).ok().map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
    rows.filter_map(|row| match row.as_slice() {
        [_, "00000000", gateway, ..] if *gateway != "00000000" => number(gateway).map(IpAddr::V4),
        _ => None,
    })
    .collect()
}

/// Gateways of default routes out of `/proc/net/ipv6_route`.
fn gateways_v6(table: &str) -> Vec<IpAddr> {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let address = |text: &str| u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from_bits);
    rows.filter_map(|row| match row.as_slice() {
        [destination, "00", _, _, gateway, ..] if destination.bytes().all(|byte| byte == b'0') => {
            address(gateway).filter(|gateway| !gateway.is_unspecified()).map(IpAddr::V6)
        }
        _ => None,
    })
    .collect()
}

fn resolvers(file: &str) -> Vec<IpAddr> {
    let lines = file.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    // A link-local server may name its interface behind a percent sign.
    lines.filter_map(|rest| rest.trim().split('%').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_name_servers_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t010200C0\t0003\neth0\t000200C0\t00000000\t0001\n";
        let gateway = if cfg!(target_endian = "little") { "192.0.2.1" } else { "1.2.0.192" };
        assert_eq!(gateways_v4(table), [gateway.parse::<IpAddr>().unwrap()]);
        let zero = "0".repeat(32);
        let table = format!(
            "{zero} 00 {zero} 00 20010db8000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(gateways_v6(&table), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        let file =
            "# comment\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch example.test\nnameserver x\n";
        assert_eq!(resolvers(file), ["192.0.2.53", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert!(gateways_v4("garbage").is_empty());
    }

    #[test]
    fn what_a_ban_hits_is_named() {
        let local = LocalNetwork {
            addresses: vec!["192.0.2.10".parse().unwrap()],
            subnets: vec!["192.0.2.0/24".parse().unwrap()],
            gateways: vec!["192.0.2.1".parse().unwrap()],
            resolvers: vec!["198.51.100.53".parse().unwrap(), "127.0.0.53".parse().unwrap()],
        };
        for (net, expected) in [
            ("192.0.0.0/16", Some("the gateway 192.0.2.1")),
            ("192.0.2.1/32", Some("the gateway 192.0.2.1")),
            ("198.51.100.0/24", Some("the name server 198.51.100.53")),
            ("192.0.2.10/32", Some("this host's own address 192.0.2.10 (which stays let through)")),
            ("192.0.2.77/32", None),
            ("203.0.113.0/24", None),
            ("127.0.0.53/32", None),
        ] {
            assert_eq!(local.hit_by(net.parse().unwrap()).as_deref(), expected, "{net}");
        }
        let without_gateway = LocalNetwork { gateways: Vec::new(), ..local };
        let hit = without_gateway.hit_by("192.0.2.0/24".parse().unwrap());
        assert_eq!(hit.as_deref(), Some("this host's own network 192.0.2.0/24"));
    }
}
