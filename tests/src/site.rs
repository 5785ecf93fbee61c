//! A site: hosts behind one gateway that hides them all behind its own address.
//!
//! ```text
//!   site-1 10.1.1.10 ──┐
//!   site-2 10.1.2.10 ──┼── gateway 198.18.1.10  ══ line ══ router (the LAPI)
//!   …                  │   masquerades
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::host::Host;
use crate::lossy_link::LossyLink;
use crate::outcome::Outcome;
use crate::veth::{forward, join};
use crate::world::World;

/// Hosts behind one masquerading gateway.
pub struct Site {
    /// The gateway, `198.18.1.10`: the source address of all hosts of the site.
    pub gateway: Host,
    /// The link between the gateway and the router.
    pub line: LossyLink,
    /// The hosts behind it.
    pub hosts: Vec<Host>,
}

impl World {
    /// Creates a site of that many hosts; one per world.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn site(&self, hosts: u8) -> Outcome<Site> {
        let (gateway, line) = self.host_over_a_line(
            "gateway",
            Ipv4Addr::new(198, 18, 1, 10),
            Ipv6Addr::new(0x2001, 0xdb8, 0x11, 0, 0, 0, 0, 0x10),
        )?;
        masquerade(&gateway)?;
        let raised = std::thread::scope(|scope| {
            let raise = |n: u8| {
                let gateway = &gateway;
                move || {
                    let v6 = Ipv6Addr::new(0xfd00, 0, 0, u16::from(n), 0, 0, 0, 0x10);
                    join(gateway, &format!("site-{n}"), Ipv4Addr::new(10, 1, n, 10), v6)
                }
            };
            let threads: Vec<_> = (1..=hosts).map(|n| scope.spawn(raise(n))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        let hosts = raised.into_iter().collect::<Outcome<Vec<_>>>()?;
        Ok(Site { gateway, line, hosts })
    }

    /// Creates a host of the router that forwards, and hides what is behind it behind its own address.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn gateway(&self, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Host> {
        let gateway = self.host(name, v4, v6)?;
        masquerade(&gateway)?;
        Ok(gateway)
    }
}

impl Host {
    /// Creates a host behind this one, which forwards; its networks, `/24` and `/64`, must be new here.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn host_behind(&self, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Self> {
        join(self, name, v4, v6)
    }
}

fn masquerade(gateway: &Host) -> Outcome {
    forward(gateway)?;
    gateway.nft(
        "table inet masks { chain out { type nat hook postrouting priority srcnat; oifname \"eth0\" masquerade; }; }",
    )
}
