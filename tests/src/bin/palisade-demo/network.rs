//! The hosts of the throw-away network.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use palisade_e2e::{Host, Outcome, World};

/// The address that gets banned.
pub(crate) const VISITOR: &str = "198.51.100.77";
/// Where the LAPI listens.
pub(crate) const LAPI: &str = "198.18.1.10:8080";
/// The port of the services that the firewalls protect.
pub(crate) const SERVICE: u16 = 80;

/// The picture, for a page of 80 columns.
pub(crate) const PICTURE: [&str; 8] = [
    "visitor   198.51.100.77 ─┐          ┌── lapi  198.18.1.10  palisade-lapi",
    "neighbour 203.0.113.9   ─┤          ├── web   198.18.2.10  palisade-proxy",
    "                         │          │                       └─► application",
    "                         └─ router ─┼── hook  198.18.3.10  palisade-webhook",
    "                                    │                       └─► receiver",
    "                                    └── gateway  198.18.4.10, with NAT",
    "                                         ├── host1 (8001)  palisade-firewall",
    "                                         └── host2 (8002)  palisade-firewall",
];

/// All hosts; the world adds the visitors and the router between everything.
pub(crate) struct Network {
    pub(crate) world: World,
    pub(crate) lapi: Host,
    pub(crate) web: Host,
    pub(crate) hook: Host,
    gateway: Host,
    pub(crate) host1: Host,
    pub(crate) host2: Host,
}

impl Network {
    pub(crate) fn raise(folder: &Path) -> Outcome<Self> {
        let world = World::raise_in(folder.to_owned())?;
        let outer = |n: u8| (Ipv4Addr::new(198, 18, n, 10), address_v6(0x2001, n));
        let host = |name: &str, n: u8| world.host(name, outer(n).0, outer(n).1);
        let (lapi, web, hook) = (host("lapi", 1)?, host("web", 2)?, host("hook", 3)?);
        let gateway = world.gateway("gateway", outer(4).0, outer(4).1)?;
        let inner =
            |name: &str, n: u8| gateway.host_behind(name, Ipv4Addr::new(10, 1, n, 10), address_v6(0xfd00, n));
        let (host1, host2) = (inner("host1", 1)?, inner("host2", 2)?);
        // To the hosts behind it a visitor comes from its own address; to the LAPI they come from the gateway's.
        gateway.nft(&format!(
            "table ip ports {{ chain in {{ type nat hook prerouting priority dstnat; \
             tcp dport 8001 dnat to {}:{SERVICE}; tcp dport 8002 dnat to {}:{SERVICE}; }}; }}",
            host1.v4(),
            host2.v4()
        ))?;
        Ok(Self { world, lapi, web, hook, gateway, host1, host2 })
    }

    /// Every host that has a name in the picture.
    pub(crate) fn hosts(&self) -> [&Host; 8] {
        let world = &self.world;
        [
            &self.lapi,
            &self.web,
            &self.hook,
            &self.gateway,
            &self.host1,
            &self.host2,
            &world.visitor,
            &world.neighbour,
        ]
    }

    /// Where visitors reach the service of the first and the second host behind the gateway.
    pub(crate) fn services(&self) -> [(&Host, SocketAddr); 2] {
        let at = |port| SocketAddr::new(self.gateway.v4(), port);
        [(&self.host1, at(8001)), (&self.host2, at(8002))]
    }

    /// Where visitors reach the proxy.
    pub(crate) fn proxy(&self) -> SocketAddr {
        SocketAddr::new(self.web.v4(), 80)
    }
}

fn address_v6(first: u16, n: u8) -> Ipv6Addr {
    let second = if first == 0x2001 { 0xdb8 } else { 0 };
    Ipv6Addr::new(first, second, 0, 0x18 + u16::from(n), 0, 0, 0, 0x10)
}
