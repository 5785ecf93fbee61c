//! What the stock bouncer's own suite observes, and operators and dashboards rely on: configuration, command line,
//! phrases, authentication, names.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use palisade_e2e::{Config, Firewall, Implementation, Outcome, ScriptedLapi, eventually, story, tools};

#[test]
fn the_mode_is_required_and_must_be_known() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?;
        for (config, phrase) in [
            (config.clone().without("mode"), "config does not contain 'mode'"),
            (config.clone().set("mode", "whatever"), "firewall 'whatever' is not supported"),
            (config.clone().set("mode", "${BACKEND}"), "firewall '${BACKEND}' is not supported"),
            // Backends there are elsewhere: one clear error that names the way out.
            (config.clone().set("mode", "iptables"), "mode: nftables"),
            (config.set("mode", "pf"), "crowdsec-firewall-bouncer"),
        ] {
            Implementation::under_test()?.refuses(world, &config, &[phrase])?;
        }
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_dry_run_prints_what_it_would_do() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("mode", "dry-run");
        Implementation::under_test()?.refuses(
            world,
            &config.clone().without("api_url"),
            &["backend.Init() called", "unable to configure bouncer: config does not contain LAPI url"],
        )?;
        lapi.ban("192.0.2.1");
        let mut firewall = Firewall::start_with(world, &config)?;
        firewall.wait_for_log("backend.Add() called with 192.0.2.1")?;
        firewall.wait_for_log("backend.Commit() called")?;
        lapi.lift("192.0.2.1");
        firewall.wait_for_log("backend.Delete() called with 192.0.2.1")?;
        firewall.process().signal(palisade_e2e::Signal::TERM)?;
        assert!(firewall.process().end()?.success());
        assert!(firewall.log_contains("backend.ShutDown() called"));
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn the_lapi_must_be_named() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("mode", "dry-run");
        let phrase = "unable to configure bouncer: config does not contain LAPI url";
        Implementation::under_test()?.refuses(world, &config.clone().without("api_url"), &[phrase])?;
        Implementation::under_test()?.refuses(world, &config.set("api_url", ""), &[phrase])?;
        Ok(())
    })
}

#[test]
fn the_local_file_has_the_last_word_and_the_environment_fills_in() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let config = Config::new(world, &lapi.access())?.without("mode");
        let base = config.write(world)?;
        let which = Implementation::under_test()?;
        let (status, said) = which.run(world, &["-c", text(&base)])?;
        assert_eq!(status.code(), Some(1));
        assert!(said.contains("config does not contain 'mode'"), "{said}");

        let local =
            base.with_file_name(format!("{}.local", text(base.file_name().unwrap_or_default().as_ref())));
        std::fs::write(&local, "mode: $BOUNCER_MODE # ${NOT_SET} stays as it is\n")?;
        let mut program = tools::command(which.program())?;
        program.env("BOUNCER_MODE", "dry-run");
        let mut firewall = Firewall::launch_prepared(world, &world.router, program, &base, &config)?;
        firewall.wait_for_log("backend.Add() called with 192.0.2.1")?;
        assert!(
            firewall.log_contains("Loading yaml file:")
                && firewall.log_contains("with additional values from")
        );

        let (status, merged) = which.run(world, &["-c", text(&base), "-T"])?;
        assert!(status.success());
        assert!(merged.contains("$BOUNCER_MODE"), "-T shows the merged text before expansion: {merged}");
        assert!(merged.contains("crowdsec") || merged.contains("api_url"), "{merged}");

        std::fs::write(&local, "nftables: [not, a, map]\n")?;
        let (status, said) = which.run(world, &["-c", text(&base), "-t"])?;
        assert_eq!(status.code(), Some(1));
        assert!(said.contains("unable to read config file") && said.contains("can't merge"), "{said}");
        Ok(())
    })
}

#[test]
fn the_command_line_is_the_stock_one() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        let which = Implementation::under_test()?;
        for (words, code, phrase) in [
            (vec![], 1, "configuration file is required"),
            (vec!["-c", ""], 1, "configuration file is required"),
            (vec!["-c", "/nowhere/firewall.yaml"], 1, "unable to read config file"),
            (vec!["-version"], 0, "version: "),
            (vec!["--version"], 0, "version: "),
            (vec!["-V"], 0, "version: "),
            (vec!["-h"], 0, "-c"),
            (vec!["-nonsense"], 2, "-nonsense"),
            (vec!["-c", text(&path), "-t"], 0, "config is valid"),
            (vec!["--c", text(&path), "--t"], 0, "config is valid"),
            (vec!["-c", text(&path), "-T"], 0, "update_frequency"),
        ] {
            let (status, said) = which.run(world, &words)?;
            assert_eq!(status.code(), Some(code), "{words:?}: {said}");
            assert!(said.to_lowercase().contains(&phrase.to_lowercase()), "{words:?}: {said}");
        }
        assert!(lapi.seen().is_empty(), "none of them asks the LAPI");
        Ok(())
    })
}

#[test]
fn all_mistakes_are_reported_at_once_before_any_change() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?;
        let wrong = config
            .clone()
            .set("nftables_hooks", vec!["inptu"])
            .set("deny_action", "DORP")
            .set("log_level", "loud")
            .set("update_frequency", "soon");
        Implementation::under_test()?.refuses(
            world,
            &wrong,
            &["inptu", "invalid deny_action 'DORP', must be one of DROP, REJECT"],
        )?;
        Implementation::under_test()?.refuses(
            world,
            &config.clone().set("update_frequency", "0s"),
            &["lapi update interval must be positive"],
        )?;
        Implementation::under_test()?.refuses(
            world,
            &config.clone().set("nftables.ipv4.enabled", false).set("nftables.ipv6.enabled", false),
            &["both IPv4 and IPv6 disabled, doing nothing"],
        )?;
        Implementation::under_test()?.refuses(
            world,
            &config.clone().set("log_mode", "nowhere"),
            &["log_mode should be either 'stdout' or 'file'"],
        )?;
        // An unknown key is reported, and refused in strict mode.
        let typo = config.set("update_frequenzy", "1s");
        let path = typo.write(world)?;
        let which = Implementation::under_test()?;
        let (status, said) = which.run(world, &["-c", text(&path), "-t"])?;
        assert!(
            status.success() && said.contains("update_frequenzy") && said.contains("update_frequency"),
            "{said}"
        );
        let (status, said) = which.run(world, &["-c", text(&path), "-t", "--strict"])?;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn the_log_file_is_the_stock_one_and_its_owners_alone() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let folder = world.fresh_path("log");
        std::fs::create_dir_all(&folder)?;
        let config = Config::new(world, &lapi.access())?
            .set("log_mode", "file")
            .set("log_dir", format!("{}/", folder.display()))
            .set("log_max_backups", 2)
            .set("log_compression", true);
        let firewall = Firewall::start_with(world, &config)?;
        let file = folder.join("crowdsec-firewall-bouncer.log");
        let log = || std::fs::read_to_string(&file).unwrap_or_default();
        eventually("it says what it does", || log().contains("level=info msg="))?;
        assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        assert!(firewall.stop()?.success());
        eventually("it says that it ends", || {
            log().contains("Received shutdown signal, exiting gracefully")
        })?;
        assert!(
            !log().contains("log_max_backups"),
            "both spellings of the logging keys are known: {}",
            log()
        );
        assert!(!log().contains("key-of-the-story"), "the key is not for the log");
        Ok(())
    })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of a story are plain")
}
