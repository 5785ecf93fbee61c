//! Starts, reloads, dry runs, and what earlier processes left in the kernel.

use std::time::Duration;

use palisade_firewall::config::{Allow, Config, Deny, Hook, Mode, RejectWith};

use crate::HOUR;
use crate::kernel_world::{
    Witness, World, config, eventually, generation, in_namespace, list, nft, test_name, try_list,
};

#[test]
fn a_restart_adopts_existing_elements_and_changes_nothing() {
    in_namespace(test_name!(), async |mut world: World| {
        let keep = || Config { keep_on_stop: true, ..config() };
        world.start(keep()).await;
        for n in 0..50 {
            world.announce(&format!("192.0.2.{n}/32"), "CAPI", HOUR);
            world.announce(&format!("10.{n}.0.0/16"), "lists:a list", HOUR);
        }
        world.publish().await;
        world.stop().await;
        let before = generation();
        world.start(keep()).await;
        assert_eq!(generation(), before, "nothing was committed");
        // One thing differs: one transaction.
        world.announce("192.0.2.200/32", "CAPI", HOUR);
        world.stop().await;
        nft("delete element ip crowdsec crowdsec-blacklists-CAPI { 192.0.2.3 }");
        nft("add element ip crowdsec crowdsec-blacklists-CAPI { 203.0.113.99 timeout 1h }");
        let before = generation();
        world.start(keep()).await;
        assert_eq!(generation(), before + 1, "one transaction puts all right");
        let set = list("set ip crowdsec crowdsec-blacklists-CAPI");
        assert!(
            set.contains("192.0.2.3 ") && set.contains("192.0.2.200") && !set.contains("203.0.113.99"),
            "{set}"
        );
        world.stop().await;
    });
}

#[test]
fn leftovers_of_the_stock_bouncer_are_replaced_without_a_gap() {
    in_namespace(test_name!(), async |mut world: World| {
        nft("add table ip crowdsec");
        nft("add set ip crowdsec crowdsec-blacklists { type ipv4_addr; flags timeout; }");
        nft("add element ip crowdsec crowdsec-blacklists { 192.0.2.7 timeout 1h, 192.0.2.8 timeout 1h }");
        nft("add chain ip crowdsec crowdsec-chain { type filter hook input priority 0; }");
        nft("add rule ip crowdsec crowdsec-chain ip saddr @crowdsec-blacklists counter drop");
        let witness = Witness::start();
        world.announce("192.0.2.7/32", "cscli", HOUR);
        world.start(config()).await;
        let seen = witness.stop_after("delete chain ip crowdsec crowdsec-chain\n").await;
        let before = |early: &str, late: &str| {
            let at = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{text} in {seen}"));
            at(early) < at(late)
        };
        assert!(before(
            "add element ip crowdsec crowdsec-blacklists-cscli { 192.0.2.7",
            "delete chain ip crowdsec crowdsec-chain\n"
        ));
        assert!(!nft("list ruleset").contains("crowdsec-chain {"));
        assert!(!nft("list ruleset").contains("192.0.2.8"), "stale bans go");
        assert!(!nft("list ruleset").contains("set crowdsec-blacklists {"));
        world.stop().await;
    });
}

#[test]
fn a_reload_changes_only_what_differs() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        world.ban("192.0.2.7/32", "cscli", HOUR).await;
        nft("reset counters");
        let set = "set ip crowdsec crowdsec-blacklists-cscli";
        world.reload(Config { deny: Deny::Reject(RejectWith::Stock), ..config() }).await;
        eventually("it rejects", Duration::from_secs(5), || {
            list("chain ip crowdsec crowdsec-chain.deny").contains("reject")
        })
        .await;
        assert!(list(set).contains("192.0.2.7"));
        world.reload(Config { hooks: vec![Hook::Prerouting], ..config() }).await;
        eventually("only prerouting is left", Duration::from_secs(5), || {
            let all = nft("list chains");
            all.contains("crowdsec-chain-prerouting") && !all.contains("crowdsec-chain-input")
        })
        .await;
        let mut renamed = config();
        renamed.v4.as_mut().unwrap().table = "other".into();
        renamed.v6 = None;
        world.reload(renamed).await;
        eventually("the table has its new name", Duration::from_secs(5), || {
            nft("list tables") == "table ip other\n"
        })
        .await;
        assert!(list("set ip other crowdsec-blacklists-cscli").contains("192.0.2.7"));
        let allow = Allow {
            nets: [palisade_net::parse_prefix("192.0.2.0/24").unwrap()].into_iter().collect(),
            interfaces: vec!["wg0".into()],
        };
        world.reload(Config { allow, ..config() }).await;
        eventually("the net is let through", Duration::from_secs(5), || {
            try_list("chain ip crowdsec crowdsec-chain-input").contains("iifname \"wg0\" return")
                && try_list("set ip crowdsec crowdsec-blacklists.allow").contains("192.0.2.0/24")
        })
        .await;
        eventually("the renamed table is gone", Duration::from_secs(5), || {
            !nft("list tables").contains("other")
        })
        .await;
        world.stop().await;
        assert_eq!(nft("list tables"), "");
    });
}

#[test]
fn checking_touches_nothing() {
    in_namespace(test_name!(), async |_world: World| {
        let before = generation();
        palisade_firewall::check(&config()).await.unwrap();
        assert_eq!(nft("list ruleset"), "");
        assert_eq!(generation(), before);
        let mut long = config();
        long.v4.as_mut().unwrap().table = "x".repeat(300);
        let error = palisade_firewall::check(&long).await.unwrap_err();
        assert!(error.to_string().starts_with("nft refuses to build"), "{error}");
    });
}

#[test]
fn a_dry_run_touches_nothing_and_a_reload_into_it_cleans_up() {
    in_namespace(test_name!(), async |mut world: World| {
        let before = generation();
        world.announce("192.0.2.7/32", "cscli", HOUR);
        world.start(Config { mode: Mode::DryRun, ..config() }).await;
        world.ban("192.0.2.8/32", "cscli", HOUR).await;
        assert_eq!(generation(), before);
        world.reload(config()).await;
        eventually("it is in force", Duration::from_secs(5), || {
            try_list("set ip crowdsec crowdsec-blacklists-cscli").contains("192.0.2.8")
        })
        .await;
        world.reload(Config { mode: Mode::DryRun, ..config() }).await;
        eventually("the tables are gone", Duration::from_secs(5), || nft("list tables").is_empty()).await;
        world.stop().await;
    });
}
