//! A LAPI that is away, slow, wrong or confused: nobody is let in by it, nobody is shut out for ever, nothing is
//! lost.

use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Changes, Config, CrowdSec, Drip, Fault, Firewall, Implementation, Outcome, ScriptedLapi, Seen,
    eventually, eventually_within, patience, story, throughout,
};
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_lapi_that_is_down_at_boot_is_waited_for() -> Outcome {
    story(|world| {
        let mut lapi = ScriptedLapi::start(&world.router)?;
        lapi.close();
        lapi.ban("198.51.100.77");
        let _service = world.router.echoes_on(80)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
        eventually("it says that there is no answer", || firewall.has_said("no answer from the LAPI"))?;
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
fn remembered_bans_are_enforced_before_the_lapi_answers() -> Outcome {
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

#[test]
fn bans_hold_and_end_while_the_lapi_is_away() -> Outcome {
    story(|world| {
        let mut lapi = CrowdSec::start(world)?;
        let mut firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        lapi.ban(Ban::of("198.51.100.77").lasting(Duration::from_secs(4)))?;
        lapi.ban(Ban::of("2001:db8:a::/64"))?;
        eventually("both doors are shut", || {
            !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
        })?;
        lapi.down();
        eventually("it notices", || firewall.has_said("no answer from the LAPI"))?;
        eventually("the short ban ends by itself", || world.visitor.reaches(&world.router, 80))?;
        assert!(!world.visitor.reaches_v6(&world.router, 80), "the long one holds");
        lapi.up(world)?;
        lapi.ban("203.0.113.9")?;
        eventually("news arrive again", || !world.neighbour.reaches(&world.router, 80))?;
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

#[test]
fn answers_that_break_off_or_make_no_sense_lose_nothing() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let mut firewall = Firewall::start(world, &lapi.access())?;
        let drip = Drip::start(&world.visitor, &world.router)?;
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
        let arrived = drip.during(|| {
            for (n, fault) in faults.iter().enumerate() {
                let (come, gone) = (format!("192.0.2.{n}"), format!("192.0.3.{n}"));
                lapi.ban(gone.as_str());
                eventually("the next to be lifted is in force", || Ok(world.router.ruleset()?.bans(&gone)))?;
                // An answer with the news is spoilt, and the LAPI believes that it was heard.
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
fn a_lapi_that_stops_in_the_middle_of_an_answer_is_not_waited_for_for_ever() -> Outcome {
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
        eventually_within(patience() * 3, "it is given up, and asked again for everything", || {
            Ok(world.router.ruleset()?.bans("192.0.2.2"))
        })?;
        Ok(())
    })
}

#[test]
fn a_key_that_is_refused_later_opens_no_door_and_is_not_hammered() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let _service = world.router.echoes_on(80)?;
        let mut firewall = Firewall::start(world, &lapi.access())?;
        lapi.accept_keys(&["another key"]);
        firewall.says("refuses this bouncer")?;
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
fn one_empty_answer_is_not_believed() -> Outcome {
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
            let drip = Drip::start(&world.visitor, &world.router)?;
            let arrived = drip.during(|| {
                // A database that fails gives a full answer without a decision, once.
                let full = lapi.pulls().len();
                eventually("an empty answer to a full request is given", || {
                    lapi.next(Fault::Empty);
                    let pulls = lapi.pulls();
                    Ok(pulls[full..].iter().any(Seen::is_startup))
                })?;
                lapi.heal();
                firewall.says("nothing is removed until a second answer says the same")?;
                lapi.pulled(5)
            })?;
            assert_eq!(arrived, 0, "datagrams through the gap");
            assert!(world.router.ruleset()?.bans("2001:db8:a::/64"));
            // What really is empty is believed when it is heard twice.
            lapi.replace_database();
            eventually("everything is let in", || Ok(world.router.ruleset()?.banned().is_empty()))?;
            assert!(firewall.stop()?.success());
        }
        Ok(())
    })
}

#[test]
fn decisions_that_vanish_without_a_word_are_lifted_by_the_next_full_pull() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let config = Config::new(world, &lapi.access())?.set("resync_interval", "1s");
        let _firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        let erased = lapi.ban("198.51.100.77")?;
        lapi.ban("203.0.113.9")?;
        eventually("both are shut out", || {
            !world.visitor.reaches(&world.router, 80) && !world.neighbour.reaches(&world.router, 80)
        })?;
        // Deleting the alert deletes its decisions, and the LAPI tells nobody.
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
        let drip = Drip::start(&world.visitor, &world.router)?;
        let changes = Changes::on(world, &world.router)?;
        // The list comes again under new ids and with the same ends, give or take the time it takes.
        let mut changed = Vec::new();
        let arrived = drip.during(|| {
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
        let changes = Changes::on(world, &world.router)?;
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
fn another_puller_with_the_same_key_is_noticed_and_told_once() -> Outcome {
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
        eventually("it is told", || firewall.has_said(warning))?;
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
fn what_one_lapi_said_is_not_remembered_for_another() -> Outcome {
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
        assert!(firewall.has_said("holds decisions of another LAPI"), "{}", firewall.process().log());
        let rules = world.router.ruleset()?;
        assert!(rules.bans("192.0.2.1") && !rules.bans("198.51.100.77"));
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
        firewall.says("the LAPI answers again")?;
        assert_eq!(firewall.process().log().matches("no answer from the LAPI").count(), 1);
        Ok(())
    })
}

#[test]
fn usage_is_reported_at_the_end_in_the_form_the_lapi_takes() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban(Ban::of("2001:db8:a::/64").from_origin("lists:tor"));
        lapi.ban("2001:db8::1");
        let firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(!world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80));
        assert!(world.neighbour.reaches(&world.router, 80));
        assert!(firewall.stop()?.success());
        let reports = lapi.usage_metrics();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let components = reports[0]["remediation_components"].as_array().cloned().unwrap_or_default();
        assert_eq!(components.len(), 1);
        let component = &components[0];
        assert_eq!(component["type"], "palisade-firewall");
        assert!(component["version"].as_str().is_some_and(|version| version.starts_with('v')), "{component}");
        assert!(component["feature_flags"].is_array(), "an object is refused");
        assert!(component["utc_startup_timestamp"].as_i64().is_some_and(|at| at > 1_600_000_000));
        assert!(component["os"]["name"].is_string() && component["os"]["version"].is_string());
        let windows = component["metrics"].as_array().cloned().unwrap_or_default();
        assert_eq!(windows.len(), 1, "an array, whatever the guide says");
        assert!(windows[0]["meta"]["window_size_seconds"].is_i64());
        assert!(windows[0]["meta"]["utc_now_timestamp"].is_i64());
        let items = windows[0]["items"].as_array().cloned().unwrap_or_default();
        let value = |name: &str, unit: &str, labels: &[(&str, &str)]| {
            let fits = |item: &&Value| {
                item["name"] == name
                    && item["unit"] == unit
                    && labels.iter().all(|(label, text)| item["labels"][label] == *text)
            };
            items.iter().find(fits).and_then(|item| item["value"].as_f64()).unwrap_or(-1.0)
        };
        let cscli = [("origin", "cscli"), ("ip_type", "ipv4")];
        let listed = [("origin", "lists:tor"), ("ip_type", "ipv6")];
        assert_eq!(value("active_decisions", "ip", &cscli), 1.0, "{items:#?}");
        assert_eq!(value("active_decisions", "ip", &listed), 1.0, "{items:#?}");
        assert!(value("dropped", "packet", &cscli) > 0.0, "{items:#?}");
        assert!(value("dropped", "byte", &cscli) > value("dropped", "packet", &cscli), "{items:#?}");
        assert!(value("dropped", "packet", &listed) > 0.0, "{items:#?}");
        assert!(value("processed", "packet", &[("ip_type", "ipv4")]) > 0.0, "{items:#?}");
        assert!(value("processed", "byte", &[("ip_type", "ipv6")]) > 0.0, "{items:#?}");
        // The same key as the stream's, or the LAPI takes it for another bouncer.
        let seen = lapi.seen();
        let pushed = seen.iter().find(|seen| seen.path == "/v1/usage-metrics");
        let headers = pushed.map(|seen| (seen.header("x-api-key"), seen.header("user-agent")));
        let agent = headers.and_then(|(_, agent)| agent).unwrap_or_default();
        assert_eq!(headers.and_then(|(key, _)| key), Some("key-of-the-story"));
        assert_eq!(agent.matches('/').count(), 1, "type/version: {agent}");
        Ok(())
    })
}

#[test]
fn an_end_is_not_held_up_by_a_lapi_that_takes_no_usage() -> Outcome {
    story(|world| {
        for status in [404, 500] {
            let lapi = ScriptedLapi::start(&world.router)?;
            lapi.answer_usage_metrics_with(status);
            let firewall = Firewall::start(world, &lapi.access())?;
            let told = Instant::now();
            assert!(firewall.stop()?.success());
            assert!(told.elapsed() < Duration::from_secs(8), "{status}: {:?}", told.elapsed());
            assert!(world.router.ruleset()?.tables().is_empty());
        }
        let lapi = ScriptedLapi::start(&world.router)?;
        let firewall = Firewall::start(world, &lapi.access())?;
        lapi.close();
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn the_first_request_asks_for_everything_and_the_filters_are_passed_on() -> Outcome {
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
