//! Refusals by the kernel are reported with their true cause and the remedy.

use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, World, eventually, story, tools,
};

use super::set_only;

#[test]
fn a_missing_capability_is_named_with_the_ways_to_grant_it() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        let said = without_net_admin(world, &config, &path)?;
        let fatal: Vec<_> = said
            .lines()
            .filter(|line| line.contains("level=fatal") || line.contains("level=error"))
            .collect();
        assert_eq!(fatal.len(), 1, "one line: {said}");
        for phrase in ["CAP_NET_ADMIN", "AmbientCapabilities=CAP_NET_ADMIN", "setcap cap_net_admin"] {
            assert!(fatal[0].contains(phrase), "{phrase} is named: {}", fatal[0]);
        }
        assert!(!said.contains("kernel module"), "a module is not what is missing: {said}");
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_missing_capability_is_named_in_set_only_mode_too() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        super::operators_tables(world, "timeout")?;
        let config = set_only(world, &lapi)?;
        let path = config.write(world)?;
        let said = without_net_admin(world, &config, &path)?;
        assert!(said.contains("AmbientCapabilities=CAP_NET_ADMIN"), "{said}");
        Ok(())
    })
}

#[test]
fn a_capability_of_the_programs_file_is_enough() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        let copy = world.fresh_path("palisade-firewall");
        std::fs::copy(Implementation::under_test()?.program(), &copy)?;
        let name = copy.display().to_string();
        world.router.tool(["setcap", "cap_net_admin+ep", &name])?;
        // Being root counts for nothing here, so what the file grants is all there is.
        let mut program = tools::command("setpriv")?;
        program.args(["--securebits=+noroot", "--inh-caps=-all", "--ambient-caps=-all", "--"]).arg(&copy);
        let mut firewall = Firewall::launch_prepared(world, &world.router, program, &path, &config)?;
        firewall.ready()?;
        assert!(world.router.ruleset()?.bans("198.51.100.77"));
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn a_full_set_is_named_with_its_size() -> Outcome {
    story(|world| {
        for (flags, family) in [("timeout", "ip"), ("interval,timeout", "ip")] {
            let lapi = ScriptedLapi::start(&world.router)?;
            world.router.nft(&format!(
                "table {family} mine {{ set crowdsec-blacklists {{ type ipv4_addr; flags {flags}; size 4; }} ; }}"
            ))?;
            let config = set_only(world, &lapi)?.set("nftables.ipv6.enabled", false);
            let mut firewall = Firewall::start_with(world, &config)?;
            // No two of them are neighbours.
            lapi.ban_all((0..8).map(|n| Ban::of(format!("192.0.2.{}", 2 * n))));
            firewall.wait_for_log("the set is full: size 4")?;
            let log = firewall.log();
            assert!(!log.contains("Too many open files"), "{log}");
            let line = log.lines().find(|line| line.contains("the set is full")).unwrap_or_default();
            assert!(line.contains("crowdsec-blacklists") && line.contains("192.0.2."), "{line}");
            eventually("it is as full as it can be", || {
                Ok(!world.router.ruleset()?.set("mine", "crowdsec-blacklists")?.elements.is_empty())
            })?;
            drop(firewall);
            world.router.nft("delete table ip mine")?;
        }
        Ok(())
    })
}

/// Runs the program under test with no capability at all; it must exit with code 1. Returns its output.
fn without_net_admin(world: &World, config: &Config, path: &std::path::Path) -> Outcome<String> {
    let mut program = tools::command("setpriv")?;
    program.args(["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"]);
    program.arg(Implementation::under_test()?.program());
    let mut firewall = Firewall::launch_prepared(world, &world.router, program, path, config)?;
    let status = firewall.process().end()?;
    let said = firewall.log();
    assert_eq!(status.code(), Some(1), "{said}");
    Ok(said)
}
