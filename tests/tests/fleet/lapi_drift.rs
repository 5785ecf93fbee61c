//! Changes that a LAPI omits, misreports or repeats, and how they are corrected.

use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Config, Fault, Firewall, Implementation, Lapi, Make, NftMonitor, Outcome, RecordedRequest,
    ScriptedLapi, UdpProbe, World, against_either_lapi, eventually, story,
};

against_either_lapi!(sharing_a_key_with_the_stock_bouncer_costs_no_ban,);

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn one_empty_response_is_not_applied() -> Outcome {
    story(|world| {
        for modern in [false, true] {
            let lapi = ScriptedLapi::start(&world.router)?;
            if modern {
                lapi.modern();
            }
            lapi.ban("198.51.100.77");
            lapi.ban("2001:db8:a::/64");
            let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
            let mut firewall = Firewall::start_with(world, &config)?;
            let probe = UdpProbe::start(&world.visitor, &world.router)?;
            let arrived = probe.during(|| {
                // A database that fails gives a full answer without a decision, once.
                let full = lapi.pulls().len();
                eventually("an empty answer to a full request is given", || {
                    lapi.next(Fault::Empty);
                    let pulls = lapi.pulls();
                    Ok(pulls[full..].iter().any(RecordedRequest::is_startup))
                })?;
                lapi.heal();
                firewall.wait_for_log("nothing is removed until a second answer says the same")?;
                lapi.pulled(5)
            })?;
            assert_eq!(arrived, 0, "datagrams through the gap");
            assert!(world.router.ruleset()?.bans("2001:db8:a::/64"));
            // A list that really is empty is accepted the second time.
            lapi.replace_database();
            eventually("everything is let in", || Ok(world.router.ruleset()?.banned().is_empty()))?;
            assert!(firewall.stop()?.success());
        }
        Ok(())
    })
}

#[test]
fn decisions_removed_without_an_announcement_are_lifted_by_the_next_full_pull() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Stock)?;
        let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
        let _firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        let erased = lapi.ban("198.51.100.77")?;
        lapi.ban("203.0.113.9")?;
        eventually("both are shut out", || {
            !world.visitor.reaches(&world.router, 80) && !world.neighbour.reaches(&world.router, 80)
        })?;
        // Deleting the alert deletes its decisions without announcement.
        lapi.erase(erased)?;
        eventually("the visitor is let in", || world.visitor.reaches(&world.router, 80))?;
        assert!(!world.neighbour.reaches(&world.router, 80));
        Ok(())
    })
}

#[test]
fn decisions_that_were_committed_too_late_for_any_update_are_found() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
        let _firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        lapi.pulled(2)?;
        lapi.ban_unseen("198.51.100.77");
        eventually("the visitor is shut out", || !world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn a_refreshed_blocklist_is_a_longer_end_and_nothing_else() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let listed = |n: u32| Ban::of(format!("192.0.2.{n}")).from_origin("CAPI").lasting(HOUR);
        lapi.ban_all((0..200).map(listed));
        lapi.ban(Ban::of("198.51.100.0/24").from_origin("CAPI").lasting(HOUR));
        let _firewall = Firewall::start(world, &lapi.access())?;
        lapi.pulled(2)?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let changes = NftMonitor::on(world, &world.router)?;
        // The list is refreshed with new ids and about the same ends.
        let mut changed = Vec::new();
        let arrived = probe.during(|| {
            let quickly = Instant::now();
            changed = changes.during(|| {
                lapi.refresh_origin("CAPI", HOUR);
                lapi.pulled(2)
            })?;
            if quickly.elapsed() < Duration::from_secs(1) {
                let gone: Vec<_> = changed.iter().filter(|line| line.contains("delete")).collect();
                assert!(gone.is_empty(), "the kernel forgets nothing in between: {gone:#?}");
            }
            // The next refresh prolongs them.
            lapi.refresh_origin("CAPI", 3 * HOUR);
            eventually("all last longer", || {
                let banned = world.router.ruleset()?.banned();
                let all = (0..200).all(|n| {
                    let element = banned.get(&format!("192.0.2.{n}"));
                    element.and_then(|element| element.expires).is_some_and(|left| left > 2 * HOUR.as_secs())
                });
                Ok(all && banned.len() == 201)
            })?;
            Ok(())
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        Ok(())
    })
}

#[test]
fn repeated_answers_cause_no_change_in_the_kernel() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all((0..100).map(|n| Ban::of(format!("192.0.2.{n}"))));
        lapi.ban("198.51.100.0/24");
        let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
        let _firewall = Firewall::start_with(world, &config)?;
        lapi.pulled(2)?;
        let changes = NftMonitor::on(world, &world.router)?;
        let changed = changes.during(|| {
            let before = lapi.pulls().iter().filter(|pull| pull.is_startup()).count();
            eventually("everything is pulled twice more", || {
                lapi.pulls().iter().filter(|pull| pull.is_startup()).count() >= before + 2
            })?;
            lapi.pulled(2)
        })?;
        assert_eq!(changed, [] as [&str; 0]);
        Ok(())
    })
}

#[test]
fn another_puller_with_the_same_key_is_detected_and_logged_once() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
        let mut firewall = Firewall::start_with(world, &config)?;
        let warning = "another bouncer uses this API key";
        for n in 0..6 {
            let stolen = format!("198.51.100.{n}");
            lapi.ban_unseen(stolen.as_str());
            lapi.steal_delta();
            eventually("what was stolen is found", || Ok(world.router.ruleset()?.bans(&stolen)))?;
        }
        eventually("it is told", || firewall.log_contains(warning))?;
        assert_eq!(firewall.process().log().matches(warning).count(), 1, "and told once");
        Ok(())
    })
}

#[test]
fn another_database_behind_the_same_address_is_noticed() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all((0..9).map(|n| Ban::of(format!("192.0.2.{n}"))));
        lapi.ban("198.51.100.77");
        let mut firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(!world.visitor.reaches(&world.router, 80));
        // Restored from an old backup: ids begin again, and the visitor is not in it.
        lapi.replace_database();
        lapi.ban_all((0..9).map(|n| Ban::of(format!("192.0.2.{}", n + 1))));
        lapi.pulled(1)?;
        lapi.ban("203.0.113.9");
        eventually("the new bans are in force", || !world.neighbour.reaches(&world.router, 80))?;
        eventually("and those of the old database lifted", || world.visitor.reaches(&world.router, 80))?;
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

#[test]
fn decisions_of_one_lapi_are_not_restored_for_another() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?;
        let firewall = Firewall::start_with(world, &config)?;
        assert!(firewall.stop()?.success());
        let other = ScriptedLapi::start(&world.router)?;
        other.ban("192.0.2.1");
        let moved = config.set("api_url", other.access().url);
        let mut firewall = Firewall::start_with(world, &moved)?;
        assert!(firewall.log_contains("holds decisions of another LAPI"), "{}", firewall.process().log());
        let rules = world.router.ruleset()?;
        assert!(rules.bans("192.0.2.1") && !rules.bans("198.51.100.77"));
        Ok(())
    })
}

/// A real LAPI of that age keeps one cursor for each key, so two bouncers take each other's updates.
fn sharing_a_key_with_the_stock_bouncer_costs_no_ban(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let beside = Config::new(world, &lapi.access())?
        .set("update_frequency", "0.03s")
        .set("nftables.ipv4.table", "stock")
        .set("nftables.ipv6.table", "stock6");
    let mut thief = Firewall::launch(world, &Implementation::stock()?, &beside)?;
    thief.ready()?;
    let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
    let _firewall = Firewall::start_with(world, &config)?;
    let banned = |value: &str| {
        let rules = world.router.ruleset()?;
        Ok(rules.sets().iter().any(|set| set.table == "crowdsec" && set.element(value).is_some()))
    };
    for n in 1..=6 {
        let value = format!("192.0.2.{n}");
        let alert = lapi.ban(value.as_str())?;
        eventually(&format!("ban {n} is in force"), || banned(&value))?;
        lapi.lift(alert)?;
        eventually(&format!("ban {n} is lifted"), || banned(&value).map(|banned| !banned))?;
    }
    Ok(())
}
