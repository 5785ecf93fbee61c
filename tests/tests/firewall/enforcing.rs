//! A ban at a real LAPI is enforced in a real kernel: for exactly its target, and exactly as long as it lasts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Config, Firewall, Lapi, Make, Outcome, ScriptedLapi, World, against_either_lapi, eventually,
    eventually_within, story, throughout,
};

use crate::shared::reaches_from;

against_either_lapi!(
    a_banned_host_is_cut_off_and_let_back_in,
    a_banned_range_cuts_off_every_address_in_it_and_none_beside_it,
    lifting_a_range_leaves_a_host_inside_it_banned,
    nested_ranges_each_hold_as_long_as_they_are_banned,
    a_ban_ends_at_its_end,
    other_decisions_than_bans_are_enforced_only_if_configured,
    the_forward_hook_protects_hosts_behind_the_router,
);

fn a_banned_host_is_cut_off_and_let_back_in(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    assert!(world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80));
    let v4 = lapi.ban(world.visitor.v4())?;
    eventually("the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
    assert!(world.visitor.reaches_v6(&world.router, 80), "its IPv6 address is not banned");
    let v6 = lapi.ban(world.visitor.v6())?;
    eventually("the visitor is cut off over IPv6", || !world.visitor.reaches_v6(&world.router, 80))?;
    assert!(world.neighbour.reaches(&world.router, 80) && world.neighbour.reaches_v6(&world.router, 80));
    lapi.lift(v4)?;
    eventually("the visitor is let back in", || world.visitor.reaches(&world.router, 80))?;
    assert!(!world.visitor.reaches_v6(&world.router, 80), "only one ban was lifted");
    lapi.lift(v6)?;
    eventually("the visitor is let back in over IPv6", || world.visitor.reaches_v6(&world.router, 80))?;
    assert!(firewall.stop()?.success());
    Ok(())
}

fn a_banned_range_cuts_off_every_address_in_it_and_none_beside_it(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    for address in ["198.51.100.64", "198.51.100.95", "198.51.100.63", "198.51.100.96", "2001:db8:a::1:0"] {
        world.visitor.add_address(address)?;
    }
    let reaches = |from: &str| reaches_from(world, from);
    let range = lapi.ban("198.51.100.64/27")?;
    eventually("the visitor is cut off by its range", || !reaches("198.51.100.77"))?;
    assert!(!reaches("198.51.100.64"), "the first address of the range");
    assert!(!reaches("198.51.100.95"), "the last address of the range");
    assert!(reaches("198.51.100.63"), "the address before the range");
    assert!(reaches("198.51.100.96"), "the address after the range");
    let range_v6 = lapi.ban("2001:db8:a::/112")?;
    eventually("the visitor is cut off by its IPv6 range", || !reaches("2001:db8:a::77"))?;
    assert!(reaches("2001:db8:a::1:0"), "the address after the IPv6 range");
    lapi.lift(range)?;
    lapi.lift(range_v6)?;
    eventually("the range is open again", || reaches("198.51.100.77") && reaches("2001:db8:a::77"))?;
    Ok(())
}

fn lifting_a_range_leaves_a_host_inside_it_banned(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    world.visitor.add_address("198.51.100.64")?;
    let reaches = |from: &str| reaches_from(world, from);
    // The range has the same first address as the host has: a bouncer that cuts at the slash mixes them up.
    let host = lapi.ban("198.51.100.64")?;
    let range = lapi.ban("198.51.100.64/27")?;
    eventually("both are cut off", || !reaches("198.51.100.64") && !reaches("198.51.100.77"))?;
    lapi.lift(range)?;
    eventually("who was banned by the range alone is let in", || reaches("198.51.100.77"))?;
    assert!(!reaches("198.51.100.64"), "the host's own ban still holds");
    lapi.lift(host)?;
    eventually("the host is let in", || reaches("198.51.100.64"))?;
    Ok(())
}

fn nested_ranges_each_hold_as_long_as_they_are_banned(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    world.visitor.add_address("198.51.100.200")?;
    let reaches = |from: &str| reaches_from(world, from);
    let outer = lapi.ban("198.51.100.0/24")?;
    eventually("all are cut off", || !reaches("198.51.100.77") && !reaches("198.51.100.200"))?;
    let inner = lapi.ban(Ban::of("198.51.100.64/26").lasting(Duration::from_secs(7200)))?;
    let lasting = Duration::from_secs(3 * 3600);
    let innermost = lapi.ban(Ban::of("198.51.100.72/29").from_origin("lists:nested").lasting(lasting))?;
    eventually("the innermost range is in force", || Ok(world.router.ruleset()?.bans("198.51.100.72/29")))?;
    lapi.lift(outer)?;
    eventually("who is only in the outer range is let in", || reaches("198.51.100.200"))?;
    assert!(!reaches("198.51.100.77"), "two inner ranges still hold");
    lapi.lift(innermost)?;
    throughout(Duration::from_millis(500), "the middle range still holds", || !reaches("198.51.100.77"))?;
    lapi.lift(inner)?;
    eventually("the last range is open", || reaches("198.51.100.77"))?;
    Ok(())
}

fn a_ban_ends_at_its_end(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    let lasting = Duration::from_secs(3);
    let banned = Instant::now();
    lapi.ban_all([Ban::of("198.51.100.77").lasting(lasting), Ban::of("2001:db8:a::/64").lasting(lasting)])?;
    eventually("the visitor is cut off", || {
        !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
    })?;
    eventually("the visitor is let back in", || world.visitor.reaches(&world.router, 80))?;
    let lasted = banned.elapsed();
    assert!(lasted + Duration::from_millis(50) >= lasting, "it ended early, after {lasted:?}");
    eventually("its IPv6 range too", || world.visitor.reaches_v6(&world.router, 80))?;
    let lasted = banned.elapsed();
    assert!(lasted < lasting + Duration::from_secs(3), "it ended late, after {lasted:?}");
    Ok(())
}

fn other_decisions_than_bans_are_enforced_only_if_configured(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    lapi.ban(Ban::of("198.51.100.77").kind("captcha"))?;
    lapi.ban("192.0.2.66")?;
    eventually("the ban that came later is in force", || Ok(world.router.ruleset()?.bans("192.0.2.66")))?;
    assert!(world.visitor.reaches(&world.router, 80), "a captcha is for somebody else to show");
    assert!(firewall.stop()?.success());
    let asked = Config::new(world, &lapi.access())?.set("supported_decisions_types", vec!["ban", "captcha"]);
    let _firewall = Firewall::start_with(world, &asked)?;
    eventually("the captcha counts as a ban", || !world.visitor.reaches(&world.router, 80))?;
    Ok(())
}

fn the_forward_hook_protects_hosts_behind_the_router(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _firewall = Firewall::start(world, &lapi.access())?;
    let server = world.server()?;
    let _service = server.echoes_on(443)?;
    assert!(world.visitor.reaches(&server, 443) && world.visitor.reaches_v6(&server, 443));
    let v4 = lapi.ban(world.visitor.v4())?;
    lapi.ban(world.visitor.v6())?;
    eventually("the visitor is cut off from the server", || !world.visitor.reaches(&server, 443))?;
    eventually("over IPv6 too", || !world.visitor.reaches_v6(&server, 443))?;
    assert!(world.neighbour.reaches(&server, 443) && world.neighbour.reaches_v6(&server, 443));
    lapi.lift(v4)?;
    eventually("the visitor reaches the server again", || world.visitor.reaches(&server, 443))?;
    Ok(())
}

#[test]
fn without_a_forward_hook_only_the_host_itself_is_protected() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("nftables_hooks", vec!["input"]);
        let _firewall = Firewall::start_with(world, &config)?;
        let server = world.server()?;
        let (_service, _local) = (server.echoes_on(443)?, world.router.echoes_on(80)?);
        lapi.ban("198.51.100.77");
        eventually("the visitor is cut off from the router", || !world.visitor.reaches(&world.router, 80))?;
        assert!(world.visitor.reaches(&server, 443), "nobody asked to look at forwarded packets");
        Ok(())
    })
}

#[test]
fn an_address_in_any_notation_is_the_address_it_means() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _service = world.router.echoes_on(80)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        for (written, v6) in [
            ("::ffff:198.51.100.77", false),
            ("198.51.100.77/32", false),
            ("198.51.100.77/24", false),
            ("2001:0DB8:000a:0::0077", true),
            ("2001:db8:a::77/128", true),
        ] {
            let reaches = || {
                let to = if v6 { world.router.v6() } else { world.router.v4() };
                world.visitor.reaches_at(SocketAddr::new(to, 80))
            };
            assert!(reaches());
            lapi.ban(written);
            eventually(&format!("{written} is cut off"), || !reaches())?;
            lapi.lift(written);
            eventually(&format!("{written} is let in"), reaches)?;
        }
        Ok(())
    })
}

#[test]
fn one_more_ban_is_in_force_within_a_poll() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        lapi.pulled(1)?;
        lapi.ban("198.51.100.77");
        let within = Duration::from_secs(1);
        eventually_within(within, "the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}
