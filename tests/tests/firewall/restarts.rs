//! Starts, stops, crashes, reloads, second instances: none of them opens a gap, none takes what is not its own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use palisade_e2e::{
    Config, Firewall, Implementation, NftMonitor, Outcome, ScriptedLapi, UdpProbe, eventually, story,
    throughout, tools,
};

use crate::shared::{banning_lapi, is_blocked};

#[test]
fn a_restart_opens_no_gap() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?.set("keep_on_stop", true);
        let firewall = Firewall::start_with(world, &config)?;
        let (probe, probe_v6) = (
            UdpProbe::start(&world.visitor, &world.router)?,
            UdpProbe::start_v6(&world.visitor, &world.router)?,
        );
        let changes = NftMonitor::on(world, &world.router)?;
        let mut arrived_v6 = 0;
        let mut changed = Vec::new();
        let arrived = probe.during(|| {
            arrived_v6 = probe_v6.during(|| {
                changed = changes.during(|| {
                    assert!(firewall.stop()?.success());
                    let mut again = Firewall::start_with(world, &config)?;
                    lapi.pulled(2)?;
                    again.process().kill()?;
                    let _again = Firewall::start_with(world, &config)?;
                    lapi.pulled(2)
                })?;
                Ok(())
            })?;
            Ok(())
        })?;
        assert_eq!((arrived, arrived_v6), (0, 0), "datagrams through the gap");
        let touched: Vec<_> = changed.iter().filter(|line| line.contains("element")).collect();
        assert!(touched.is_empty(), "elements that stay need no touching: {touched:#?}");
        let rules = world.router.ruleset()?;
        let looks = rules.rules("crowdsec", "crowdsec-chain.source");
        let looks = looks.filter(|rule| rule.to_string().contains("@crowdsec-blacklists-cscli\"")).count();
        assert_eq!(looks, 1, "rules are not piled up");
        Ok(())
    })
}

#[test]
fn a_restart_by_the_service_manager_keeps_the_rules_and_a_stop_does_not() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        // systemd's response to a query of its jobs.
        let folder = world.fresh_path("bin");
        std::fs::create_dir(&folder)?;
        let job = |kind: &str| -> Outcome {
            let script = format!(
                "#!/bin/sh\necho '7 other.service stop running'\necho '8 fw.service {kind} running'\n"
            );
            let program = folder.join("systemctl");
            std::fs::write(&program, script)?;
            Ok(std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?)
        };
        let start = || -> Outcome<Firewall> {
            let mut command = tools::command(Implementation::under_test()?.program())?;
            let tools = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
            let path_variable =
                format!("{}:{}", folder.display(), tools.unwrap_or_default().to_string_lossy());
            command.env("PATH", path_variable).env("PALISADE_UNIT", "fw.service");
            let mut firewall = Firewall::launch_prepared(world, &world.router, command, &path, &config)?;
            firewall.ready()?;
            Ok(firewall)
        };
        let firewall = start()?;
        job("restart")?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let mut again = None;
        let arrived = probe.during(|| {
            assert!(firewall.stop()?.success());
            again = Some(start()?);
            Ok(())
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        job("stop")?;
        if let Some(firewall) = again {
            assert!(firewall.stop()?.success());
        }
        assert_eq!(world.router.ruleset()?.tables(), []);
        Ok(())
    })
}

#[test]
fn a_start_adopts_existing_elements_and_changes_only_differences() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        lapi.ban("192.0.2.1");
        lapi.ban("192.0.2.2");
        let mut firewall = Firewall::start(world, &lapi.access())?;
        firewall.process().kill()?;
        lapi.lift("192.0.2.1");
        lapi.ban("192.0.2.3");
        world.router.nft("add element ip crowdsec crowdsec-blacklists-cscli { 192.0.2.4 timeout 1h }")?;
        let changes = NftMonitor::on(world, &world.router)?;
        let mut again = None;
        let changed = changes.during(|| {
            again = Some(Firewall::start(world, &lapi.access())?);
            eventually("the difference is made", || {
                let rules = world.router.ruleset()?;
                Ok(!rules.bans("192.0.2.1") && rules.bans("192.0.2.3") && !rules.bans("192.0.2.4"))
            })
            .map(drop)
        })?;
        assert!(world.router.ruleset()?.bans("192.0.2.2"));
        let touched =
            |value: &str| changed.iter().any(|line| line.contains(value) && line.contains("element"));
        assert!(touched("192.0.2.1") && touched("192.0.2.3") && touched("192.0.2.4"), "{changed:#?}");
        assert!(!touched("192.0.2.2") && !touched("198.51.100.77"), "{changed:#?}");
        Ok(())
    })
}

#[test]
fn a_stop_removes_incomplete_tables_too() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let _service = world.router.echoes_on(80)?;
        world.router.nft("table inet mine { chain c { type filter hook input priority 0; }; }")?;
        let firewall = Firewall::start(world, &lapi.access())?;
        assert!(is_blocked(world));
        assert!(firewall.stop()?.success());
        let only_mine = [("inet".to_owned(), "mine".to_owned())];
        assert_eq!(world.router.ruleset()?.tables(), only_mine);
        assert!(world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80));
        // The IPv4 table goes away in the same moment: the IPv6 one is removed all the same.
        let mut firewall = Firewall::start(world, &lapi.access())?;
        firewall.process().signal(palisade_e2e::Signal::STOP)?;
        world.router.nft("delete table ip crowdsec")?;
        firewall.process().signal(palisade_e2e::Signal::TERM)?;
        firewall.process().signal(palisade_e2e::Signal::CONT)?;
        assert!(firewall.process().end()?.success());
        assert_eq!(world.router.ruleset()?.tables(), only_mine);
        Ok(())
    })
}

#[test]
fn bans_are_kept_on_stop_if_configured() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let _service = world.router.echoes_on(80)?;
        let config = Config::new(world, &lapi.access())?.set("keep_on_stop", true);
        let firewall = Firewall::start_with(world, &config)?;
        assert!(firewall.stop()?.success());
        assert!(is_blocked(world));
        let banned = world.router.ruleset()?.banned();
        assert!(banned["198.51.100.77"].expires.is_some(), "and still end by themselves");
        Ok(())
    })
}

#[test]
fn a_second_start_that_fails_leaves_the_running_instance_alone() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::start_with(world, &config)?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let arrived = probe.during(|| {
            let bad =
                config.clone().set("api_key", "bad key").set("prometheus.enabled", false).write(world)?;
            let (status, said) =
                Implementation::under_test()?.run(world, &["-c", bad.to_str().unwrap_or_default()])?;
            assert_eq!(status.code(), Some(1), "{said}");
            Ok(())
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        assert!(firewall.process().exited().is_none());
        assert!(world.router.ruleset()?.bans("198.51.100.77"));
        Ok(())
    })
}

#[test]
fn a_second_daemon_is_kept_out() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::start_with(world, &config)?;
        let changes = NftMonitor::on(world, &world.router)?;
        let changed = changes.during(|| {
            let second = config.clone().set("prometheus.enabled", false);
            Implementation::under_test()?.refuses(world, &second, &["another bouncer already runs"])
        })?;
        assert_eq!(changed, [] as [&str; 0]);
        assert!(firewall.process().exited().is_none());
        // The lock is free as soon as the first has ended, however it ended.
        firewall.process().kill()?;
        assert!(Firewall::start_with(world, &config)?.stop()?.success());
        Ok(())
    })
}

#[test]
fn what_is_in_the_kernel_holds_until_something_better_is_known() -> Outcome {
    story(|world| {
        let mut lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::start_with(world, &config)?;
        // Killed before anything could be persisted, and the LAPI is down.
        firewall.process().kill()?;
        let _nothing_remembered =
            std::fs::remove_file(Path::new(&config.text("state_dir")).join("decisions"));
        lapi.close();
        let which = Implementation::under_test()?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let arrived = probe.during(|| {
            let mut firewall = Firewall::launch(world, &which, &config)?;
            firewall.wait_for_log("no answer from the LAPI")?;
            throughout(Duration::from_millis(500), "it is not ready, and the bans are in force", || {
                Ok(!firewall.is_ready()? && world.router.ruleset()?.bans("198.51.100.77"))
            })?;
            lapi.open()?;
            firewall.ready()?;
            firewall.process().kill()
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        // Stopped while it waits, it still cleans up.
        lapi.close();
        let _nothing_remembered =
            std::fs::remove_file(Path::new(&config.text("state_dir")).join("decisions"));
        let mut firewall = Firewall::launch(world, &which, &config)?;
        firewall.wait_for_log("no answer from the LAPI")?;
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_reload_takes_the_new_configuration_without_a_gap() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?.set("nftables_hooks", vec!["input"]);
        let mut firewall = Firewall::start_with(world, &config)?;
        let path = firewall.config_file().to_owned();
        let (probe, probe_v6) = (
            UdpProbe::start(&world.visitor, &world.router)?,
            UdpProbe::start_v6(&world.visitor, &world.router)?,
        );
        let mut arrived_v6 = 0;
        let arrived = probe.during(|| {
            arrived_v6 = probe_v6.during(|| {
                for (changed, sign) in [
                    (
                        config.clone().set("nftables_hooks", vec!["input", "forward"]),
                        "crowdsec6-chain-forward",
                    ),
                    (config.clone().set("deny_action", "REJECT"), "reject"),
                    (config.clone().set("nftables.ipv4.priority", -20), "priority -20"),
                    (config.clone().set("deny_log", true).set("deny_log_prefix", "again: "), "again: "),
                ] {
                    changed.write_to(&path)?;
                    firewall.reload()?;
                    eventually(&format!("the reload shows: {sign}"), || {
                        Ok(world.router.tool(["nft", "-nn", "list", "ruleset"])?.contains(sign))
                    })?;
                    lapi.pulled(1)?;
                }
                // A broken file changes nothing, and is reported.
                std::fs::write(&path, "mode: [\n")?;
                firewall.reload()?;
                firewall.wait_for_log("unable to")?;
                lapi.pulled(2)
            })?;
            Ok(())
        })?;
        assert_eq!((arrived, arrived_v6), (0, 0), "datagrams through the gap");
        let told = firewall.manager_messages()?;
        assert!(told.iter().any(|line| line == "RELOADING=1"), "{told:?}");
        let last = |word: &str| told.iter().rposition(|line| line == word);
        assert!(last("READY=1") > last("RELOADING=1"), "each reload ends with READY=1: {told:?}");
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

#[test]
fn a_reload_with_other_names_moves_the_bans_without_a_gap() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::start_with(world, &config)?;
        let path = firewall.config_file().to_owned();
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let arrived = probe.during(|| {
            config
                .clone()
                .set("nftables.ipv4.table", "mine")
                .set("nftables.ipv4.chain", "guard")
                .set("blacklists_ipv4", "unwelcome")
                .set("disable_ipv6", true)
                .set("nftables.ipv6.enabled", false)
                .write_to(&path)?;
            firewall.reload()?;
            let only = [("ip".to_owned(), "mine".to_owned())];
            eventually("only the new table is there", || Ok(world.router.ruleset()?.tables() == only))?;
            let rules = world.router.ruleset()?;
            assert!(rules.set("mine", "unwelcome-cscli")?.element("198.51.100.77").is_some());
            assert_eq!(
                rules.chains("ip", "mine"),
                ["guard-forward", "guard-input", "guard.deny", "guard.source"]
            );
            Ok(())
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_reload_with_another_lapi_enforces_its_decisions() -> Outcome {
    story(|world| {
        let (lapi, other) = (banning_lapi(world)?, ScriptedLapi::start(&world.router)?);
        other.ban("203.0.113.9");
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        config.clone().set("api_url", other.access().url).write_to(firewall.config_file())?;
        firewall.reload()?;
        eventually("who the other bans is shut out", || !world.neighbour.reaches(&world.router, 80))?;
        eventually("whom only the first banned is let in", || world.visitor.reaches(&world.router, 80))?;
        let asked = lapi.pulls().len();
        other.pulled(3)?;
        assert!(lapi.pulls().len() <= asked + 1, "the first is asked no more");
        Ok(())
    })
}
