//! The kernel is shared: others flush it, reload it, restart us. What is banned stays banned through all of it.

use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Firewall, Implementation, NftMonitor, Outcome, ScriptedLapi, UdpProbe, eventually,
    eventually_within, story, tools,
};

use crate::shared::{banning_lapi, is_blocked, is_blocked_quickly};

#[test]
fn what_others_remove_is_restored_within_a_second() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(is_blocked(world), "both doors are shut at the beginning");
        for deed in [
            "flush ruleset",
            "delete table ip crowdsec",
            "delete table ip6 crowdsec6",
            "delete table ip crowdsec; delete table ip6 crowdsec6",
            "flush set ip crowdsec crowdsec-blacklists-cscli",
            "delete element ip crowdsec crowdsec-blacklists-cscli { 198.51.100.77 }",
            "flush map ip6 crowdsec6 crowdsec6-blacklists.ranges-64",
            "flush set ip6 crowdsec6 crowdsec6-blacklists.gate-48",
            "flush chain ip crowdsec crowdsec-chain.source",
            "flush chain ip crowdsec crowdsec-chain-input",
            "flush table ip6 crowdsec6",
            "flush chain ip crowdsec crowdsec-chain-input; delete chain ip crowdsec crowdsec-chain-input",
        ] {
            world.router.nft(deed)?;
            eventually_within(Duration::from_secs(1), &format!("shut again after: {deed}"), || {
                Ok(world.router.ruleset()?.bans("198.51.100.77") && is_blocked_quickly(world))
            })?;
            assert!(world.neighbour.reaches(&world.router, 80), "nobody else is shut out after: {deed}");
        }
        Ok(())
    })
}

/// firewalld, ufw, nftables.service: one transaction that flushes everything and loads rules of its own.
#[test]
fn another_firewalls_reload_lifts_bans_only_briefly() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        let reload = "flush ruleset\ntable inet firewalld { chain input { type filter hook input priority 10; policy \
                      accept; ct state established,related accept; } ; }\n";
        for _ in 0..3 {
            world.router.nft(reload)?;
            eventually_within(Duration::from_secs(1), "shut again", || is_blocked_quickly(world))?;
        }
        let rules = world.router.ruleset()?;
        let names: Vec<_> = rules.tables().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["firewalld", "crowdsec", "crowdsec6"], "the other firewall's table is left alone");
        // News arrive as before.
        lapi.ban("203.0.113.9");
        eventually("a new ban is in force", || !world.neighbour.reaches(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn testing_a_configuration_touches_nothing() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        let which = Implementation::under_test()?;
        let changes = NftMonitor::on(world, &world.router)?;
        let words = ["-c", path.to_str().unwrap_or_default(), "-t"];
        let test = || {
            let (status, said) = which.run(world, &words)?;
            assert!(status.success() && said.contains("config is valid"), "{said}");
            Ok(())
        };
        assert_eq!(changes.during(test)?, [] as [&str; 0], "with no instance running");
        let firewall = Firewall::start_with(world, &config)?;
        lapi.pulled(2)?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let mut changed = Vec::new();
        let arrived = probe.during(|| {
            changed = changes.during(test)?;
            Ok(())
        })?;
        assert_eq!(changed, [] as [&str; 0], "beside a running instance");
        assert_eq!(arrived, 0);
        assert!(firewall.stop()?.success(), "the running instance does not notice");
        Ok(())
    })
}

#[test]
fn what_the_stock_bouncer_left_behind_is_taken_over() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        lapi.ban("192.0.2.1");
        let config = Config::new(world, &lapi.access())?;
        let mut stock = Firewall::launch(world, &Implementation::stock()?, &config)?;
        stock.ready()?;
        eventually("the stock bouncer enforces", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
        // What a crash leaves: one set and one chain for all origins.
        stock.process().kill()?;
        let rules = world.router.ruleset()?;
        assert_eq!(rules.chains("ip", "crowdsec"), ["crowdsec-chain"]);
        lapi.lift("192.0.2.1");
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let arrived = probe.during(|| {
            let _firewall = Firewall::start_with(world, &config)?;
            lapi.pulled(2)?;
            let rules = world.router.ruleset()?;
            for (family, table) in [("ip", "crowdsec"), ("ip6", "crowdsec6")] {
                let chains = ["-forward", "-input", ".deny", ".source"];
                assert_eq!(rules.chains(family, table), chains.map(|chain| format!("{table}-chain{chain}")));
            }
            assert!(rules.set("crowdsec", "crowdsec-blacklists").is_err(), "the old set is gone");
            assert!(!rules.bans("192.0.2.1"), "and with it what it held that is banned no more");
            assert!(rules.bans("198.51.100.77"));
            Ok(())
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        Ok(())
    })
}

#[test]
fn origins_of_any_name_are_enforced() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let long = "l".repeat(400);
        let origins = [
            "",
            "with spaces",
            "lists:a: b; flush ruleset",
            "lists:größe",
            "lists:",
            "crowdsec/sub",
            "-",
            "\"",
            &long,
        ];
        for (n, origin) in origins.iter().enumerate() {
            lapi.ban(Ban::of(format!("192.0.2.{n}")).from_origin(origin));
            lapi.ban(Ban::of(format!("2001:db8:{n:x}::/48")).from_origin(origin));
        }
        let _firewall = Firewall::start(world, &lapi.access())?;
        eventually("every one is in force", || {
            let rules = world.router.ruleset()?;
            let all = (0..origins.len())
                .all(|n| rules.bans(&format!("192.0.2.{n}")) && rules.bans(&format!("2001:db8:{n:x}::/48")));
            Ok(all)
        })?;
        let saved = world.router.tool(["nft", "list", "ruleset"])?;
        world.router.feed(["nft", "--check", "-f", "-"], &format!("flush ruleset\n{saved}"))?;
        Ok(())
    })
}

#[test]
fn net_admin_is_all_the_privilege_it_needs() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        let mut program = tools::command("setpriv")?;
        program.args(["--no-new-privs", "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin"]);
        program.args(["--bounding-set=-all,+net_admin", "--"]);
        program.arg(Implementation::under_test()?.program());
        let mut firewall = Firewall::launch_prepared(world, &world.router, program, &path, &config)?;
        firewall.ready()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", firewall.process().id()))?;
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap_or_default();
        assert_eq!(u64::from_str_radix(effective, 16)?, 1 << 12, "CAP_NET_ADMIN and no other");
        let _service = world.router.echoes_on(80)?;
        eventually("both doors shut", || is_blocked_quickly(world))?;
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}
