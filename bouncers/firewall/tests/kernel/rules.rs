//! The rules: which packets the decisions apply to.

use std::time::Duration;

use palisade_firewall::config::Config;

use crate::HOUR;
use crate::kernel_world::{World, config, eventually, in_namespace, list, nft, test_name};

#[test]
fn the_lapi_is_never_blocked() {
    in_namespace(test_name!(), async |mut world: World| {
        world.update_protected(&["203.0.113.1", "2001:db8::1", "127.0.0.1"]);
        world.start(config()).await;
        assert!(list("set ip crowdsec crowdsec-blacklists.allow").contains("203.0.113.1 }"));
        assert!(list("set ip6 crowdsec6 crowdsec6-blacklists.allow").contains("2001:db8::1,"));
        let chain = list("chain ip crowdsec crowdsec-chain-input");
        let (lo, gate) =
            (chain.find("iifname \"lo\" return"), chain.find("gate-22 jump crowdsec-chain.source"));
        assert!(lo.is_some() && lo < gate, "{chain}");
        let chain = list("chain ip crowdsec crowdsec-chain.source");
        assert!(chain.lines().nth(2).unwrap().contains("@crowdsec-blacklists.allow return"), "{chain}");
        world.update_protected(&["203.0.113.2"]);
        eventually("the new address is let through", Duration::from_secs(5), || {
            list("set ip crowdsec crowdsec-blacklists.allow").contains("203.0.113.2 }")
        })
        .await;
        world.stop().await;
    });
}

#[test]
fn tracked_connections_of_a_newly_banned_address_are_cut() {
    in_namespace(test_name!(), async |mut world: World| {
        let ip = |arguments: &str| {
            let done = std::process::Command::new("ip").args(arguments.split(' ')).status();
            assert!(done.expect("ip (package iproute2) is needed for this test").success(), "ip {arguments}");
        };
        ip("link set lo up");
        // Connections are tracked where a rule asks for their state.
        nft("add table inet tracking");
        nft("add chain inet tracking c { type filter hook output priority 0; }");
        nft("add rule inet tracking c ct state established counter");
        world.start(Config { drop_established: true, ..config() }).await;
        let far = ["192.0.2.1", "192.0.2.2", "198.51.100.9", "203.0.113.7", "2001:db8::7"];
        for address in far {
            // Without duplicate address detection, which takes a moment for IPv6.
            ip(&format!("address add {address} dev lo{}", if address.contains(':') { " nodad" } else { "" }));
        }
        let open = |address: &str| {
            let address: std::net::IpAddr = address.parse().unwrap();
            // Always from the same port, so that it stays one connection however often it is used.
            let socket = std::net::UdpSocket::bind((address, 40_009)).unwrap();
            socket.send_to(b"x", (address, 9)).unwrap();
        };
        let tracked = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        // The first packet to an address that was just added is lost now and then.
        eventually("every connection is tracked", Duration::from_secs(10), || {
            far.into_iter().for_each(open);
            tracked().is_ok_and(|count| count.trim().parse().is_ok_and(|count: usize| count >= far.len()))
        })
        .await;
        world.ban("192.0.2.1/32", "cscli", HOUR).await;
        assert_eq!(world.status().flows_dropped, 1, "a single host, by filter");
        world.ban("2001:db8::7/128", "cscli", HOUR).await;
        assert_eq!(world.status().flows_dropped, 2, "IPv6");
        world.ban("198.51.100.0/24", "cscli", HOUR).await;
        assert_eq!(world.status().flows_dropped, 3, "a range");
        for n in 0..50 {
            world.announce(&format!("203.0.113.{n}/32"), "cscli", HOUR);
        }
        world.publish().await;
        assert_eq!(world.status().flows_dropped, 4, "one of many, in one pass");
        world.ban("192.0.2.1/32", "cscli", 2 * HOUR).await;
        assert_eq!(world.status().flows_dropped, 4, "a renewal is no new ban");
        world.stop().await;
    });
}

#[test]
fn a_disabled_family_is_not_touched() {
    in_namespace(test_name!(), async |mut world: World| {
        world.announce("192.0.2.7/32", "cscli", HOUR);
        world.announce("2001:db8::/32", "cscli", HOUR);
        world.start(Config { v4: None, ..config() }).await;
        assert_eq!(nft("list tables"), "table ip6 crowdsec6\n");
        assert!(list("map ip6 crowdsec6 crowdsec6-blacklists.ranges-32").contains("2001:db8::"));
        assert_eq!(world.status().total(), 1);
        world.stop().await;
    });
}

#[test]
fn outbound_blocking_matches_the_destination() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(Config { block_outbound: true, ..config() }).await;
        world.ban("192.0.2.7/32", "cscli", HOUR).await;
        let jumps = |hook: &str| {
            let chain = list(&format!("chain ip crowdsec crowdsec-chain-{hook}"));
            ["source", "destination"].map(|side| chain.contains(&format!("jump crowdsec-chain.{side}")))
        };
        assert_eq!(jumps("input"), [true, false]);
        assert_eq!(jumps("forward"), [true, true]);
        assert_eq!(jumps("output"), [false, true]);
        let destination = list("chain ip crowdsec crowdsec-chain.destination");
        assert!(destination.contains("ip daddr @crowdsec-blacklists-cscli counter"), "{destination}");
        assert!(!destination.contains("saddr"), "{destination}");
        std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        std::process::Command::new("ip")
            .args(["address", "add", "192.0.2.1/24", "dev", "lo"])
            .status()
            .unwrap();
        world.stop().await;
    });
}
