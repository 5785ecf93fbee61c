//! Names that dashboards, scripts and operators use: tables, chains, sets, counters, metrics.

use std::collections::BTreeSet;

use palisade_e2e::{Ban, Config, Firewall, Outcome, ScriptedLapi, eventually, story};
use serde_json::Value;

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
                assert!(all.iter().any(|rule| rule.contains("processed")), "{all:#?}");
            }
            let set = format!("{}-blacklists-script", if family == "ip" { "crowdsec" } else { "crowdsec6" });
            let name = format!("{prefix}.source");
            let all: Vec<String> = rules.rules(table, &name).map(Value::to_string).collect();
            let looks = all.iter().filter(|rule| rule.contains(&format!("@{set}\""))).count();
            assert_eq!(looks, 1, "one rule of {name} looks into {set}: {all:#?}");
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
        let chains = ["-forward", "-input", ".deny", ".source"].map(|chain| format!("my-chain{chain}"));
        assert_eq!(rules.chains("ip", "mine"), chains);
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
