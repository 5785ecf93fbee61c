//! Veth pairs between hosts, and the addresses at their ends.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::host::Host;
use crate::outcome::{Doing, Outcome};
use crate::wait::eventually;

/// Creates a host on a veth pair to a forwarding host, which gets the `.1` and `::1` of the new host's networks.
pub(crate) fn join(to: &Host, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Outcome<Host> {
    let host = Host::new(name, v4, v6)?;
    lay(&host, "eth0", to, &format!("to-{name}"))?;
    address_ends(to, &host)?;
    Ok(host)
}

/// Creates a veth pair between two hosts: interfaces that are up and have no address.
pub(crate) fn lay(near: &Host, near_name: &str, far: &Host, far_name: &str) -> Outcome {
    let there = far.network_path();
    near.feed(
        ["ip", "-batch", "-"],
        &format!(
            "link set lo up\nlink add {near_name} type veth peer name {far_name} netns {there}\n\
             link set {near_name} up\n"
        ),
    )?;
    far.feed(["ip", "-batch", "-"], &format!("link set {far_name} up\n")).map(drop)
}

/// Sets the addresses of the host's `eth0` and of the forwarding host's `to-NAME`; returns once packets pass in both
/// directions.
pub(crate) fn address_ends(to: &Host, host: &Host) -> Outcome {
    let (name, v4, v6) = (host.name(), host.v4(), host.v6());
    let (gateway_v4, gateway_v6) = (first_beside(v4), first_beside(v6));
    to.feed(
        ["ip", "-batch", "-"],
        &format!(
            "address add {gateway_v4}/24 dev to-{name}\naddress add {gateway_v6}/64 dev to-{name} nodad\n"
        ),
    )?;
    host.feed(
        ["ip", "-batch", "-"],
        &format!(
            "address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad\n\
             route add default via {gateway_v4}\nroute add default via {gateway_v6}\n"
        ),
    )?;
    // A link comes up asynchronously. A refusal by a closed port proves both directions.
    for (from, at) in [(host, gateway_v4), (host, gateway_v6), (to, v4), (to, v6)] {
        eventually(&format!("the link of {name} carries packets to {at}"), || {
            let asked = from.connects(None, SocketAddr::new(at, 9), Duration::from_millis(100));
            asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })?;
    }
    Ok(())
}

/// Enables forwarding on a host.
pub(crate) fn forward(host: &Host) -> Outcome {
    host.run(|| {
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let path = format!("/proc/sys/net/{switch}");
            std::fs::write(&path, "1").doing(format_args!("writing {path} on {}", host.name()))?;
        }
        Ok(())
    })
}

/// The `.1` or `::1` of an address's network.
fn first_beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 1).into()
        }
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[7] = 1;
            Ipv6Addr::from(segments).into()
        }
    }
}
