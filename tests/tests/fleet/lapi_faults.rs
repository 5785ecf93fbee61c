//! A LAPI that is down, slow, wrong or inconsistent: it lifts no ban, leaves no ban in force for ever, and loses none.

use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Fault, Firewall, Implementation, Lapi, Make, Outcome, ScriptedLapi, UdpProbe, World,
    against_either_lapi, default_timeout, eventually, eventually_within, story, throughout,
};

against_either_lapi!(bans_hold_and_end_while_the_lapi_is_away,);
#[test]
fn a_lapi_that_is_down_at_boot_is_tried_again() -> Outcome {
    story(|world| {
        let mut lapi = ScriptedLapi::start(&world.router)?;
        lapi.close();
        lapi.ban("198.51.100.77");
        let _service = world.router.echoes_on(80)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
        eventually("it says that there is no answer", || firewall.log_contains("no answer from the LAPI"))?;
        throughout(Duration::from_millis(700), "it waits, and is not ready", || {
            Ok(!firewall.is_ready()? && firewall.process().exited().is_none())
        })?;
        lapi.open()?;
        firewall.ready()?;
        assert!(!world.visitor.reaches(&world.router, 80), "ready means that the bans are in force");
        Ok(())
    })
}

#[test]
fn persisted_bans_are_enforced_before_the_lapi_responds() -> Outcome {
    story(|world| {
        let mut lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8:a::/64");
        lapi.ban(Ban::of("203.0.113.9").lasting(Duration::from_secs(1)));
        let config = Config::new(world, &lapi.access())?;
        let firewall = Firewall::start_with(world, &config)?;
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        lapi.close();
        let _service = world.router.echoes_on(80)?;
        let mut firewall = Firewall::start_with(world, &config)?;
        assert!(
            !world.visitor.reaches(&world.router, 80),
            "ready means that the remembered bans are in force"
        );
        assert!(!world.visitor.reaches_v6(&world.router, 80), "the range, too");
        eventually("who was banned for a second is in", || world.neighbour.reaches(&world.router, 80))?;
        // What has changed meanwhile is made up for.
        lapi.lift("198.51.100.77");
        lapi.ban("203.0.113.9");
        lapi.open()?;
        eventually("who was lifted is let in", || world.visitor.reaches(&world.router, 80))?;
        eventually("who was banned is shut out", || !world.neighbour.reaches(&world.router, 80))?;
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

fn bans_hold_and_end_while_the_lapi_is_away(world: &World, make: Make) -> Outcome {
    let mut lapi = Lapi::start(world, make)?;
    let mut firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    lapi.ban(Ban::of("198.51.100.77").lasting(Duration::from_secs(4)))?;
    lapi.ban(Ban::of("2001:db8:a::/64"))?;
    eventually("both doors are shut", || {
        !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
    })?;
    lapi.down();
    eventually("it notices", || firewall.log_contains("no answer from the LAPI"))?;
    eventually("the short ban ends by itself", || world.visitor.reaches(&world.router, 80))?;
    assert!(!world.visitor.reaches_v6(&world.router, 80), "the long one holds");
    lapi.up(world)?;
    lapi.ban("203.0.113.9")?;
    eventually("news arrive again", || !world.neighbour.reaches(&world.router, 80))?;
    assert!(firewall.process().exited().is_none());
    Ok(())
}

#[test]
fn answers_that_break_off_or_make_no_sense_lose_nothing() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let mut firewall = Firewall::start(world, &lapi.access())?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let faults = [
            Fault::CutAfter(1),
            Fault::CutAfter(150),
            Fault::HangUp,
            Fault::Status(500),
            Fault::Status(502),
            Fault::Body("{\"new\": [{\"id\": 1, \"value\": ".to_owned()),
            Fault::Body("<html>a proxy's error page</html>".to_owned()),
            Fault::Body(String::new()),
            Fault::Body("{\"new\": \"soon\", \"deleted\": []}".to_owned()),
            Fault::Late(Duration::from_millis(300)),
        ];
        let arrived = probe.during(|| {
            for (n, fault) in faults.iter().enumerate() {
                let (come, gone) = (format!("192.0.2.{n}"), format!("192.0.3.{n}"));
                lapi.ban(gone.as_str());
                eventually("the next to be lifted is in force", || Ok(world.router.ruleset()?.bans(&gone)))?;
                // A response with changes is corrupted, and the LAPI assumes that it was received.
                lapi.meanwhile(fault.clone());
                lapi.ban(come.as_str());
                lapi.lift(&gone);
                lapi.pulled(1)?;
                lapi.heal();
                eventually(&format!("news told in {fault:?} arrive all the same"), || {
                    let rules = world.router.ruleset()?;
                    Ok(rules.bans(&come) && !rules.bans(&gone))
                })?;
            }
            Ok(())
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

#[test]
fn a_response_that_stalls_is_abandoned() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let _service = world.router.echoes_on(80)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        lapi.ban(Ban::of("192.0.2.1").lasting(Duration::from_secs(3)));
        eventually("a short ban is in force", || Ok(world.router.ruleset()?.bans("192.0.2.1")))?;
        lapi.next(Fault::StallAfter(10));
        lapi.pulled(1)?;
        lapi.ban("192.0.2.2");
        assert!(!world.visitor.reaches(&world.router, 80), "bans hold meanwhile");
        eventually("and end meanwhile", || Ok(!world.router.ruleset()?.bans("192.0.2.1")))?;
        assert!(!world.router.ruleset()?.bans("192.0.2.2"), "the answer still stalls");
        eventually_within(default_timeout() * 3, "it is given up, and asked again for everything", || {
            Ok(world.router.ruleset()?.bans("192.0.2.2"))
        })?;
        Ok(())
    })
}

#[test]
fn a_key_refused_later_lifts_no_ban_and_is_retried_slowly() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let _service = world.router.echoes_on(80)?;
        let mut firewall = Firewall::start(world, &lapi.access())?;
        lapi.accept_keys(&["another key"]);
        firewall.wait_for_log("refuses this bouncer")?;
        let asked = lapi.pulls().len();
        throughout(Duration::from_secs(3), "it waits, and enforces", || {
            Ok(lapi.pulls().len() <= asked + 1
                && firewall.process().exited().is_none()
                && world.router.ruleset()?.bans("198.51.100.77"))
        })?;
        assert!(!world.visitor.reaches(&world.router, 80));
        // The operator puts the new key into the file.
        let path = firewall.config_file().to_owned();
        Config::new(world, &lapi.access())?.set("api_key", "another key").write_to(&path)?;
        lapi.ban("203.0.113.9");
        firewall.reload()?;
        eventually("news arrive with the new key", || !world.neighbour.reaches(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn a_redirect_does_not_carry_the_key_elsewhere() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let elsewhere = ScriptedLapi::start(&world.router)?;
        elsewhere.ban("203.0.113.9");
        lapi.ban("198.51.100.77");
        let mut firewall = Firewall::start(world, &lapi.access())?;
        lapi.meanwhile(Fault::Redirect(format!("{}v1/decisions/stream", elsewhere.access().url)));
        eventually("it says so", || firewall.process().log().contains("redirect"))?;
        assert!(elsewhere.seen().is_empty(), "nobody else is asked, and nobody else sees the key");
        assert!(world.router.ruleset()?.bans("198.51.100.77"));
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

#[test]
fn trouble_is_said_once_and_not_at_every_try() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let mut firewall = Firewall::start(world, &lapi.access())?;
        lapi.meanwhile(Fault::Status(500));
        lapi.pulled(4)?;
        lapi.heal();
        firewall.wait_for_log("the LAPI answers again")?;
        assert_eq!(firewall.process().log().matches("no answer from the LAPI").count(), 1);
        Ok(())
    })
}

#[test]
fn the_first_request_is_a_full_pull_with_the_filters() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        lapi.ban(Ban::of("192.0.2.2").from_origin("CAPI"));
        let config = Config::new(world, &lapi.access())?
            .set("origins", vec!["cscli", "crowdsec"])
            .set("scopes", vec!["ip", "range"])
            .set("scenarios_not_containing", vec!["test"]);
        let _firewall = Firewall::start_with(world, &config)?;
        lapi.pulled(2)?;
        let rules = world.router.ruleset()?;
        assert!(rules.bans("192.0.2.1") && !rules.bans("192.0.2.2"));
        let pulls = lapi.pulls();
        assert!(pulls[0].is_startup() && !pulls[1].is_startup());
        for pull in &pulls[..2] {
            assert_eq!(pull.method, "GET");
            for part in ["origins=cscli%2Ccrowdsec", "scopes=ip%2Crange", "scenarios_not_containing=test"] {
                assert!(
                    pull.query.contains(part) || pull.query.contains(&part.replace("%2C", ",")),
                    "{pull:?}"
                );
            }
            assert_eq!(pull.header("x-api-key"), Some("key-of-the-story"));
        }
        Ok(())
    })
}
