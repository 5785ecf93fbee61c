//! Decisions in the kernel: elements, ranges, gates and counters.

use std::time::{Duration, Instant};

use palisade_firewall::config::{Config, Hook};

use crate::HOUR;
use crate::kernel_world::{
    World, config, count_elements, eventually, expires_secs, generation, in_namespace, list, memory, nft,
    test_name,
};

#[test]
fn a_ban_is_in_the_kernel_until_it_ends() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        world.ban("192.0.2.7/32", "cscli", HOUR).await;
        world.ban("2001:db8::7/128", "cscli", HOUR).await;
        world.ban("198.51.100.0/24", "CAPI", HOUR).await;
        assert!(list("set ip crowdsec crowdsec-blacklists-cscli").contains("192.0.2.7 timeout 59m"));
        assert!(list("set ip6 crowdsec6 crowdsec6-blacklists-cscli").contains("2001:db8::7 timeout 59m"));
        let map = list("map ip crowdsec crowdsec-blacklists.ranges-24");
        assert!(
            map.contains("198.51.100.0 timeout 59m") && map.contains(": \"crowdsec-blacklists-CAPI\""),
            "{map}"
        );
        let gate = list("set ip crowdsec crowdsec-blacklists.gate-22");
        assert!(gate.contains("192.0.0.0, 198.51.100.0"), "{gate}");
        world.lift("192.0.2.7/32").await;
        world.lift("198.51.100.0/24").await;
        assert!(!list("set ip crowdsec crowdsec-blacklists-cscli").contains("elements"));
        assert!(!list("map ip crowdsec crowdsec-blacklists.ranges-24").contains("elements"));
        assert!(!list("set ip crowdsec crowdsec-blacklists.gate-22").contains("elements"));
        world.stop().await;
        assert_eq!(nft("list tables"), "");
    });
}

#[test]
fn many_sources_and_prefix_lengths_get_inner_gates() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        let source = || list("chain ip crowdsec crowdsec-chain.source");
        world.ban("192.0.2.7/32", "cscli", HOUR).await;
        world.ban("192.0.2.8/32", "CAPI", HOUR).await;
        world.ban("198.51.100.0/24", "CAPI", HOUR).await;
        world.ban("203.0.113.0/28", "CAPI", HOUR).await;
        world.ban("10.16.0.0/20", "CAPI", HOUR).await;
        assert!(!source().contains("inner"), "{}", source());
        // With the third source and the third length of a group: in force at once with what was there before.
        world.ban("192.0.2.9/32", "crowdsec", HOUR).await;
        let hosts = list("set ip crowdsec crowdsec-blacklists.inner-32");
        assert!(hosts.contains("192.0.2.7, 192.0.2.8,") && hosts.contains("192.0.2.9"), "{hosts}");
        world.ban("10.20.4.0/22", "CAPI", HOUR).await;
        let ranges = list("set ip crowdsec crowdsec-blacklists.inner-24");
        assert!(ranges.contains("198.51.100.0") && ranges.contains("203.0.113.0"), "{ranges}");
        assert_eq!(ranges.matches("10.20.").count(), 4, "{ranges}");
        let rules = source();
        let at = |text: &str| rules.find(text).unwrap_or_else(|| panic!("no {text} in {rules}"));
        assert!(
            at("inner-32 jump crowdsec-chain.source.inner-32")
                < at("inner-24 jump crowdsec-chain.source.inner-24")
        );
        assert!(at("inner-24 jump") < at("ranges-20"), "a group of one length has none: {rules}");
        assert!(!rules.contains("blacklists-CAPI") && !rules.contains("ranges-24"), "{rules}");
        world.lift("10.20.4.0/22").await;
        world.lift("192.0.2.9/32").await;
        assert!(!list("set ip crowdsec crowdsec-blacklists.inner-24").contains("10.20."));
        assert!(!list("set ip crowdsec crowdsec-blacklists.inner-32").contains("192.0.2.9"));
        // IPv6 with a second gate: one look-up ahead of both.
        world.ban("2001:db8:1:2::/64", "CAPI", HOUR).await;
        assert!(!list("chain ip6 crowdsec6 crowdsec6-chain-input").contains("front"));
        world.ban("2a00:1234::/33", "CAPI", HOUR).await;
        let front = list("set ip6 crowdsec6 crowdsec6-blacklists.front-32");
        assert!(front.contains("2001:db8::,") && front.contains("2a00:1234::"), "{front}");
        let base = list("chain ip6 crowdsec6 crowdsec6-chain-input");
        assert_eq!(base.matches("jump").count(), 1, "{base}");
        assert!(base.contains("front-32 jump crowdsec6-chain.source.front"), "{base}");
        let behind = list("chain ip6 crowdsec6 crowdsec6-chain.source.front");
        let at = |text: &str| behind.find(text).unwrap_or_else(|| panic!("no {text} in {behind}"));
        assert!(
            at("gate-48 jump crowdsec6-chain.source") < at("gate-40 jump crowdsec6-chain.source.gate-40")
        );
        world.stop().await;
        assert_eq!(nft("list tables"), "");
    });
}

#[test]
fn a_ban_is_renewed_longer_and_shorter() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        for secs in [HOUR, 5 * HOUR, 600] {
            world.ban("192.0.2.7/32", "cscli", secs).await;
            world.ban("198.51.100.0/24", "cscli", secs).await;
            for set in
                ["set ip crowdsec crowdsec-blacklists-cscli", "map ip crowdsec crowdsec-blacklists.ranges-24"]
            {
                let left = expires_secs(&list(set));
                assert!(left.abs_diff(secs) <= 3, "{set}: {left} of {secs}");
            }
        }
        // The same decision from another source moves: one element at a time, never none.
        world.ban("192.0.2.7/32", "crowdsec", 700).await;
        assert!(!list("set ip crowdsec crowdsec-blacklists-cscli").contains("192.0.2.7"));
        assert!(list("set ip crowdsec crowdsec-blacklists-crowdsec").contains("192.0.2.7"));
        world.stop().await;
    });
}

#[test]
fn nested_ranges_and_hosts_in_them_are_right() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        world.ban("10.0.0.0/8", "CAPI", HOUR).await;
        world.ban("10.20.0.0/16", "cscli", 9 * HOUR).await;
        world.ban("10.20.30.40/32", "crowdsec", HOUR).await;
        let range = |length: u8| list(&format!("map ip crowdsec crowdsec-blacklists.ranges-{length}"));
        assert!(range(8).contains("10.0.0.0") && range(8).contains(": \"crowdsec-blacklists-CAPI\""));
        assert!(range(16).contains("10.20.0.0") && range(16).contains(": \"crowdsec-blacklists-cscli\""));
        assert_eq!(list("set ip crowdsec crowdsec-blacklists.gate-14").matches("10.").count(), 64);
        assert_eq!(list("set ip crowdsec crowdsec-blacklists.gate-22").matches("10.20.").count(), 64);
        assert!(list("set ip crowdsec crowdsec-blacklists-crowdsec").contains("10.20.30.40"));
        world.lift("10.20.0.0/16").await;
        assert!(range(8).contains("10.0.0.0") && !range(16).contains("10.20."));
        let gate = list("set ip crowdsec crowdsec-blacklists.gate-22");
        assert!(gate.contains("10.20.28.0"), "the host's cell stays: {gate}");
        assert_eq!(gate.matches("10.20.").count(), 1);
        world.stop().await;
    });
}

#[test]
fn a_hundred_thousand_decisions_are_added_changed_and_removed() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        for n in 0..100_000_u32 {
            world.announce(&format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255), "CAPI", 24 * HOUR);
        }
        let started = Instant::now();
        world.publish().await;
        println!("100,000 hosts: from the cache into the kernel in {:?}", started.elapsed());
        println!("memory: {}", memory());
        assert_eq!(world.status().total(), 100_000);
        assert_eq!(world.status().repairs, 0);
        let started = Instant::now();
        world.ban("203.0.113.7/32", "CAPI", HOUR).await;
        println!("one more: {:?}", started.elapsed());
        let before = world.status().transactions;
        nft("flush ruleset");
        let started = Instant::now();
        eventually("100,001 are back", Duration::from_secs(20), || {
            let status = world.status();
            status.repairs > 0 && status.transactions > before && status.failing.is_none()
        })
        .await;
        println!("after a flush: {:?}", started.elapsed());
        println!("memory: {}", memory());
        assert_eq!(count_elements("ip", "crowdsec", "crowdsec-blacklists-CAPI"), 100_001);
        let started = Instant::now();
        world.stop().await;
        println!("stopped in {:?}", started.elapsed());
    });
}

#[test]
fn counters_are_read_by_source_and_family() {
    in_namespace(test_name!(), async |mut world: World| {
        nft("add table inet probe");
        world.start(Config { hooks: vec![Hook::Output], ..config() }).await;
        std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        world.ban("192.0.2.7/32", "lists:my list", HOUR).await;
        let counters = palisade_firewall::read_counters(&config()).unwrap();
        assert_eq!(counters.len(), 2);
        assert_eq!(counters[0].dropped.len(), 1);
        assert_eq!(counters[0].dropped[0].0, "lists:my list");
        assert_eq!(counters[1].dropped, []);
        assert!(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").is_ok());
        eventually("the packet is counted", Duration::from_secs(5), || {
            palisade_firewall::read_counters(&config()).unwrap()[0].processed.packets >= 1
        })
        .await;
        world.stop().await;
        assert_eq!(palisade_firewall::read_counters(&config()).unwrap()[0].dropped, []);
    });
}

#[test]
fn one_more_among_many_ranges_is_one_small_transaction() {
    in_namespace(test_name!(), async |mut world: World| {
        for n in 0..51_000_u32 {
            let first = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n * 512);
            world.announce(&format!("{first}/24"), "CAPI", 24 * HOUR);
        }
        world.start(config()).await;
        assert_eq!(world.status().total(), 51_000);
        for (net, change) in [("198.51.100.0/24", true), ("203.0.113.0/24", true), ("198.51.100.0/24", false)]
        {
            let (transactions, before) = (world.status().transactions, generation());
            let started = Instant::now();
            if change {
                world.ban(net, "CAPI", HOUR).await;
            } else {
                world.lift(net).await;
            }
            println!("one more or less: {:?}", started.elapsed());
            assert_eq!(world.status().transactions, transactions + 1);
            assert_eq!(generation(), before + 1);
        }
        assert_eq!(world.status().total(), 51_001);
        world.stop().await;
    });
}
