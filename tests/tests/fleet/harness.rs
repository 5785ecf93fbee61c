//! The harness proves itself: worlds carry packets, LAPIs keep decisions, and the stock bouncer, whose behaviour
//! is known, is seen to behave as known.

use std::time::Duration;

use palisade_e2e::{
    Config, Fault, Firewall, Implementation, Lapi, Make, Outcome, ScriptedLapi, eventually, story,
};

#[test]
fn a_world_carries_packets_and_its_rules_are_its_own() -> Outcome {
    story(|world| {
        let _service = world.router.echoes_on(80)?;
        assert!(world.visitor.reaches(&world.router, 80));
        assert!(world.visitor.reaches_v6(&world.router, 80));
        let server = world.server()?;
        let _other = server.echoes_on(443)?;
        eventually("the visitor reaches the server through the router", || {
            world.visitor.reaches(&server, 443)
        })?;
        assert!(world.neighbour.reaches_v6(&server, 443));
        assert!(world.router.ruleset()?.tables().is_empty());
        world.router.nft(
            "table ip t { chain c { type filter hook input priority 0; ip saddr 198.51.100.77 drop; }; }",
        )?;
        assert!(!world.visitor.reaches(&world.router, 80));
        assert!(world.visitor.reaches_v6(&world.router, 80));
        Ok(())
    })
}

#[test]
fn the_stock_bouncer_cuts_a_banned_visitor_off_and_lets_it_back_in() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Stock)?;
        let mut firewall =
            Firewall::launch(world, &Implementation::stock()?, &Config::new(world, &lapi.access())?)?;
        firewall.ready()?;
        let _service = world.router.echoes_on(80)?;
        assert!(world.visitor.reaches(&world.router, 80));
        let ban = lapi.ban(world.visitor.v4())?;
        eventually("the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
        assert!(world.neighbour.reaches(&world.router, 80));
        assert!(world.router.ruleset()?.bans("198.51.100.77"));
        lapi.lift(ban)?;
        eventually("the visitor is let back in", || world.visitor.reaches(&world.router, 80))?;
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn the_scripted_lapi_serves_the_stock_bouncer_and_fails_on_request() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let mut firewall =
            Firewall::launch(world, &Implementation::stock()?, &Config::new(world, &lapi.access())?)?;
        firewall.ready()?;
        let banned = |value: &str| Ok(world.router.ruleset()?.bans(value));
        eventually("what was banned before is in force", || banned("192.0.2.1"))?;
        lapi.ban("2001:db8::bad");
        eventually("a delta is in force", || banned("2001:db8::bad"))?;
        lapi.lift("192.0.2.1");
        eventually("a lifted ban is gone", || banned("192.0.2.1").map(|banned| !banned))?;
        assert!(lapi.pulls()[0].is_startup());
        assert!(!lapi.pulls()[1].is_startup());
        for fault in [
            Fault::Status(500),
            Fault::CutAfter(20),
            Fault::StallAfter(20),
            Fault::Body("{\"new\": [".to_owned()),
            Fault::HangUp,
            Fault::Late(Duration::from_millis(300)),
        ] {
            lapi.ban("192.0.2.9");
            lapi.meanwhile(fault);
            lapi.pulled(1)?;
            lapi.heal();
            lapi.pulled(1)?;
        }
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}
