//! What the stock bouncer's own suite observes, and operators and dashboards rely on: configuration, command line,
//! phrases, authentication, names.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use palisade_e2e::{
    Authority, Ban, Config, CrowdSec, Firewall, Implementation, Outcome, ScriptedLapi, World, eventually,
    story, tools,
};
use serde_json::Value;

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
            fails(world, &config, &[phrase])?;
        }
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_dry_run_says_what_it_would_do() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("mode", "dry-run");
        fails(
            world,
            &config.clone().without("api_url"),
            &["backend.Init() called", "unable to configure bouncer: config does not contain LAPI url"],
        )?;
        lapi.ban("192.0.2.1");
        let mut firewall = Firewall::start_with(world, &config)?;
        firewall.says("backend.Add() called with 192.0.2.1")?;
        firewall.says("backend.Commit() called")?;
        lapi.lift("192.0.2.1");
        firewall.says("backend.Delete() called with 192.0.2.1")?;
        firewall.process().signal(palisade_e2e::Signal::TERM)?;
        assert!(firewall.process().end()?.success());
        assert!(firewall.has_said("backend.ShutDown() called"));
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
        fails(world, &config.clone().without("api_url"), &[phrase])?;
        fails(world, &config.set("api_url", ""), &[phrase])?;
        Ok(())
    })
}

#[test]
fn the_key_must_be_there_and_right_and_is_then_known_by_name() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let config = Config::new(world, &lapi.access())?;
        let missing = "config does not contain LAPI key or certificate";
        fails(world, &config.clone().without("api_key"), &["unable to configure bouncer: ", missing])?;
        let refused = "process terminated with error: API error: access forbidden";
        fails(world, &config.clone().set("api_key", "bad key"), &[refused])?;
        assert!(world.router.ruleset()?.tables().is_empty(), "a refused bouncer leaves nothing behind");
        let ours = lapi.add_bouncer("by-another-name", "foo$bar")?;
        for (key, present_as, kind) in [
            (lapi.access().key, None, "palisade-firewall"),
            (ours.key, Some("crowdsec-firewall-bouncer"), "crowdsec-firewall-bouncer"),
        ] {
            let mut config = config.clone().set("api_key", key);
            if let Some(present_as) = present_as {
                config = config.set("present_as", present_as);
            }
            let firewall = Firewall::start_with(world, &config)?;
            let name = if present_as.is_some() { "by-another-name" } else { "firewall-of-the-story" };
            eventually("cscli knows it", || {
                Ok(bouncer(&lapi, name)?
                    .is_some_and(|row| row["type"] == kind && row["auth_type"] == "api-key"))
            })?;
            assert!(firewall.stop()?.success());
        }
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
        firewall.says("backend.Add() called with 192.0.2.1")?;
        assert!(firewall.has_said("Loading yaml file:") && firewall.has_said("with additional values from"));

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
fn mistakes_are_told_all_at_once_and_before_anything_is_touched() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?;
        let wrong = config
            .clone()
            .set("nftables_hooks", vec!["inptu"])
            .set("deny_action", "DORP")
            .set("log_level", "loud")
            .set("update_frequency", "soon");
        fails(world, &wrong, &["inptu", "invalid deny_action 'DORP', must be one of DROP, REJECT"])?;
        fails(
            world,
            &config.clone().set("update_frequency", "0s"),
            &["lapi update interval must be positive"],
        )?;
        fails(
            world,
            &config.clone().set("nftables.ipv4.enabled", false).set("nftables.ipv6.enabled", false),
            &["both IPv4 and IPv6 disabled, doing nothing"],
        )?;
        fails(
            world,
            &config.clone().set("log_mode", "nowhere"),
            &["log_mode should be either 'stdout' or 'file'"],
        )?;
        // A key nobody knows is told, and refused when asked to be strict.
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
fn a_lapi_behind_a_private_authority_is_trusted_when_told_so() -> Outcome {
    story(|world| {
        let authority = Authority::new(world)?;
        let lapi = CrowdSec::start_with_tls(world, &authority)?;
        let config = Config::new(world, &lapi.access())?;
        // Ours goes on trying; the reason is said.
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
        eventually("it does not trust the LAPI", || {
            let log = firewall.process().log().to_lowercase();
            log.contains("unknown authority")
                || log.contains("unknownissuer")
                || log.contains("unknown issuer")
        })?;
        drop(firewall);
        let trusting = config.clone().set("ca_cert_path", text(&authority.path()));
        let firewall = Firewall::start_with(world, &trusting)?;
        assert!(firewall.has_said("Using CA cert"));
        lapi.cscli(&["decisions", "add", "-i", "198.51.100.77"])?;
        eventually("a ban arrives", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
        drop(firewall);
        let _firewall = Firewall::start_with(world, &config.set("insecure_skip_verify", true))?;
        eventually("it is enforced again", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
        Ok(())
    })
}

#[test]
fn a_client_certificate_takes_the_place_of_a_key() -> Outcome {
    story(|world| {
        let authority = Authority::new(world)?;
        let lapi = CrowdSec::start_with_tls(world, &authority)?;
        let config = Config::new(world, &lapi.access())?.set("ca_cert_path", text(&authority.path()));
        let certified = |name: &str, unit: &str| -> Outcome<Config> {
            let mine = authority.client(name, unit)?;
            let config = config.clone().without("api_key");
            Ok(config.set("cert_path", text(&mine.cert)).set("key_path", text(&mine.key)))
        };
        let wrong = certified("stranger", "agent-ou")?;
        fails(world, &wrong, &["API error: access forbidden"])?;
        assert!(lapi.log().contains("OU"), "the LAPI says why: {}", lapi.log());
        let both = certified("both", "bouncer-ou")?.set("api_key", lapi.access().key);
        fails(world, &both, &["cannot use both API key and certificate auth"])?;
        let half = certified("half", "bouncer-ou")?.without("key_path");
        fails(world, &half, &["key_path"])?;
        let mut firewall = Firewall::start_with(world, &certified("door", "bouncer-ou")?)?;
        firewall.says("Using cert auth with cert")?;
        lapi.cscli(&["decisions", "add", "-i", "198.51.100.77"])?;
        eventually("a ban arrives", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
        let known = lapi.bouncers()?;
        let mine = known.iter().find(|row| row["auth_type"] == "tls");
        assert!(mine.is_some_and(|row| row["type"] == "palisade-firewall"), "{known:?}");
        Ok(())
    })
}

#[test]
fn tables_sets_and_rules_have_the_stock_names() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all(
            ["1.2.3.4", "1.2.3.5", "1.2.3.6", "::1:0:3"].map(|ip| Ban::of(ip).from_origin("script")),
        );
        lapi.ban(Ban::of("1.2.4.0/24").from_origin("lists:tor"));
        let mut config = Config::new(world, &lapi.access())?.set("nftables.ipv4.priority", -10);
        let firewall = Firewall::start_with(world, &config)?;
        let rules = world.router.ruleset()?;
        let named = |family: &str, name: &str| (family.to_owned(), name.to_owned());
        assert_eq!(rules.tables(), [named("ip", "crowdsec"), named("ip6", "crowdsec6")]);
        for (family, table, prefix, priority) in
            [("ip", "crowdsec", "crowdsec-chain", -10), ("ip6", "crowdsec6", "crowdsec6-chain", 0)]
        {
            for hook in ["forward", "input"] {
                let name = format!("{prefix}-{hook}");
                let chain = rules.chain(table, &name).cloned().unwrap_or_default();
                assert_eq!(
                    (&chain["hook"], &chain["prio"]),
                    (&Value::from(hook), &Value::from(priority)),
                    "{name}"
                );
                let all: Vec<String> = rules.rules(table, &name).map(Value::to_string).collect();
                let set =
                    format!("{}-blacklists-script", if family == "ip" { "crowdsec" } else { "crowdsec6" });
                let looks = all.iter().filter(|rule| rule.contains(&format!("@{set}"))).count();
                assert_eq!(looks, 1, "one rule of {name} looks into {set}: {all:#?}");
                assert!(all.iter().any(|rule| rule.contains("processed")), "{all:#?}");
            }
        }
        let of_v4 = rules.set("crowdsec", "crowdsec-blacklists-script")?;
        assert_eq!((of_v4.kind.as_str(), of_v4.elements.len()), ("ipv4_addr", 3));
        assert_eq!(of_v4.flags, ["timeout"]);
        let of_v6 = rules.set("crowdsec6", "crowdsec6-blacklists-script")?;
        assert_eq!((of_v6.kind.as_str(), of_v6.elements.len()), ("ipv6_addr", 1));
        let counters: BTreeSet<String> = rules.counters().into_keys().collect();
        for name in ["crowdsec/processed", "crowdsec/crowdsec-blacklists-script", "crowdsec6/processed"] {
            assert!(counters.contains(name), "{counters:?}");
        }
        // What nft lists, nft can load again: nothing of ours has a name it cannot read.
        let saved = world.router.tool(["nft", "list", "ruleset"])?;
        world.router.nft(&format!("flush ruleset\n{saved}"))?;
        assert!(firewall.stop()?.success());
        // Other names are taken from the file.
        config = config
            .set("nftables.ipv4.table", "mine")
            .set("nftables.ipv4.chain", "my-chain")
            .set("blacklists_ipv4", "my-set");
        let _firewall = Firewall::start_with(world, &config)?;
        let rules = world.router.ruleset()?;
        assert_eq!(rules.chains("ip", "mine"), ["my-chain-forward", "my-chain-input"]);
        assert_eq!(rules.set("mine", "my-set-script")?.elements.len(), 3);
        Ok(())
    })
}

#[test]
fn metrics_have_the_stock_names_and_count_what_happens() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(world.neighbour.reaches(&world.router, 80));
        lapi.ban("198.51.100.77");
        lapi.ban(Ban::of("198.51.100.0/28").from_origin("lists:tor"));
        lapi.ban("2001:db8:a::77");
        lapi.ban("2001:db8:a::78");
        let sample = |name: &str, labels: &[&str]| -> Outcome<f64> {
            let found = firewall.metrics()?;
            let fits = |key: &&String| {
                key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label))
            };
            Ok(found.keys().find(fits).map_or(-1.0, |key| found[key]))
        };
        let cscli = ["origin=\"cscli\"", "ip_type=\"ipv4\""];
        eventually("banned addresses are counted by origin and family", || {
            Ok(sample("fw_bouncer_banned_ips", &cscli)? == 1.0
                && sample("fw_bouncer_banned_ips", &["origin=\"lists:tor\"", "ip_type=\"ipv4\""])? >= 1.0
                && sample("fw_bouncer_banned_ips", &["origin=\"cscli\"", "ip_type=\"ipv6\""])? == 2.0)
        })?;
        assert!(!world.visitor.reaches(&world.router, 80));
        eventually(
            "dropped packets are counted",
            || Ok(sample("fw_bouncer_dropped_packets", &cscli)? > 0.0),
        )?;
        assert!(sample("fw_bouncer_dropped_bytes", &cscli)? > 0.0);
        assert!(sample("fw_bouncer_processed_packets", &["ip_type=\"ipv4\""])? > 0.0);
        assert!(sample("fw_bouncer_processed_bytes", &["ip_type=\"ipv4\""])? > 0.0);
        assert!(sample("lapi_requests_total", &[])? > 0.0);
        assert!(sample("lapi_requests_failures_total", &[])? >= 0.0);
        lapi.lift("198.51.100.77");
        eventually("a lifted ban is not counted", || Ok(sample("fw_bouncer_banned_ips", &cscli)? <= 0.0))?;
        assert!(sample("fw_bouncer_dropped_packets", &cscli)? > 0.0, "what was dropped stays counted");
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

#[test]
fn the_key_may_be_in_a_file_and_is_never_shown() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        let file = world.fresh_path("key");
        std::fs::write(&file, "key-of-the-story\n")?;
        let config = Config::new(world, &lapi.access())?.set("log_level", "trace");
        let from_file = config.clone().without("api_key").set("api_key_file", text(&file));
        let mut firewall = Firewall::start_with(world, &from_file)?;
        eventually("a ban is in force", || Ok(world.router.ruleset()?.bans("192.0.2.1")))?;
        assert!(!firewall.process().log().contains("key-of-the-story"));
        let path = config.write(world)?;
        let (status, shown) = Implementation::under_test()?.run(world, &["-c", text(&path), "-T"])?;
        assert!(status.success() && !shown.contains("key-of-the-story"), "{shown}");
        Ok(())
    })
}

/// Runs the bouncer with this configuration; it must end by itself with exit code 1 and say these phrases.
fn fails(world: &World, config: &Config, phrases: &[&str]) -> Outcome {
    let path = config.write(world)?;
    let (status, said) = Implementation::under_test()?.run(world, &["-c", text(&path)])?;
    assert_eq!(status.code(), Some(1), "{said}");
    for phrase in phrases {
        assert!(said.contains(phrase), "it should say {phrase:?}: {said}");
    }
    Ok(())
}

/// What cscli knows of a bouncer.
fn bouncer(lapi: &CrowdSec, name: &str) -> Outcome<Option<Value>> {
    Ok(lapi.bouncers()?.into_iter().find(|row| row["name"] == name))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of a story are plain")
}
