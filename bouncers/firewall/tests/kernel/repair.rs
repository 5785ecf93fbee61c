//! Repair of what other programs remove.

use std::time::{Duration, Instant};

use crate::HOUR;
use crate::kernel_world::{World, config, eventually, in_namespace, list, nft, test_name};

#[test]
fn what_others_remove_is_restored_within_a_second() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        world.ban("192.0.2.7/32", "cscli", HOUR).await;
        world.ban("198.51.100.0/24", "cscli", HOUR).await;
        let stands = || {
            let all = nft("list ruleset");
            let gate = all.contains("elements = { 192.0.0.0, 198.51.100.0 }");
            let rules = (all.matches(" jump ").count(), all.matches(" goto ").count());
            gate && all.contains("192.0.2.7") && all.contains("198.51.100.0 timeout") && rules == (4, 2)
        };
        assert!(stands(), "{}", nft("list ruleset"));
        for harm in [
            "flush ruleset",
            "delete table ip crowdsec",
            "flush chain ip crowdsec crowdsec-chain-input",
            "flush set ip crowdsec crowdsec-blacklists-cscli",
            "delete element ip crowdsec crowdsec-blacklists-cscli { 192.0.2.7 }",
            "flush chain ip crowdsec crowdsec-chain.source",
            "flush set ip crowdsec crowdsec-blacklists.gate-22",
            "delete element ip crowdsec crowdsec-blacklists.gate-22 { 192.0.0.0 }",
            "flush map ip crowdsec crowdsec-blacklists.ranges-24",
            "flush ruleset; add table inet foreign; add chain inet foreign c { type filter hook input priority 0; }",
        ] {
            nft(harm);
            let started = Instant::now();
            eventually("all is back", Duration::from_secs(5), stands).await;
            let took = started.elapsed();
            println!("after `{harm}`: {took:?}");
            assert!(took < Duration::from_secs(1), "after `{harm}`: {took:?}");
        }
        // What we do ourselves is no reason to repair. (The first ban is in force after the last repair is counted.)
        world.ban("203.0.113.200/32", "cscli", HOUR).await;
        let repairs = world.status().repairs;
        for n in 0..20 {
            world.ban(&format!("203.0.113.{n}/32"), "cscli", HOUR).await;
        }
        assert_eq!(world.status().repairs, repairs);
        world.stop().await;
    });
}

#[test]
fn repeated_removals_by_another_program_are_repaired_slowly() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        world.ban("192.0.2.7/32", "cscli", HOUR).await;
        for n in 0..200 {
            nft(&format!("add element ip crowdsec crowdsec-blacklists-cscli {{ 203.0.113.{n} timeout 1h }}"));
        }
        // One reading after a burst, not one for each.
        let before = world.status().transactions;
        eventually("only ours is left", Duration::from_secs(20), || {
            world.status().failing.is_none() && {
                let set = list("set ip crowdsec crowdsec-blacklists-cscli");
                set.contains("192.0.2.7") && !set.contains("203.0.113.")
            }
        })
        .await;
        assert!(world.status().transactions - before < 100, "{}", world.status().transactions - before);
        world.stop().await;
    });
}
