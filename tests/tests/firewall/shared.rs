//! What several stories need: a LAPI that bans the visitor, and whether the visitor is blocked.

use std::net::SocketAddr;
use std::time::Duration;

use palisade_e2e::{Outcome, ScriptedLapi, World};

/// A LAPI that bans the visitor: its host in IPv4, its network in IPv6.
pub(crate) fn banning_lapi(world: &World) -> Outcome<ScriptedLapi> {
    let lapi = ScriptedLapi::start(&world.router)?;
    lapi.ban("198.51.100.77");
    lapi.ban("2001:db8:a::/64");
    lapi.ban("2001:db8:a::77");
    Ok(lapi)
}

/// Whether the visitor is blocked in both families; the service must be on port 80.
pub(crate) fn is_blocked(world: &World) -> bool {
    !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
}

/// The same within 120 ms, for conditions that must hold within a second.
pub(crate) fn is_blocked_quickly(world: &World) -> bool {
    [world.router.v4(), world.router.v6()].into_iter().all(|to| {
        let to = SocketAddr::new(to, 80);
        world.visitor.connects(None, to, Duration::from_millis(60)).is_err()
    })
}

/// Whether the visitor reaches port 80 of the router from this address of its own.
pub(crate) fn reaches_from(world: &World, from: &str) -> bool {
    let to = if from.contains(':') { world.router.v6() } else { world.router.v4() };
    world.visitor.reaches_from(from, SocketAddr::new(to, 80))
}
