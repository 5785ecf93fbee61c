//! The enforcing task against the running kernel, with `nft` as the independent witness. Each test runs in a user
//! and network namespace of its own: no privilege is needed, and no rule of the host is touched.

mod kernel_world;

use std::time::{Duration, Instant};

use kernel_world::{World, config, eventually, in_namespace, list, nft, test_name};
use palisade_firewall::config::{Allow, Config, Deny, Hook, Mode, RejectWith};

const HOUR: u64 = 3600;

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
                let left = kernel_world::expires_secs(&list(set));
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
fn a_restart_adopts_what_stands_and_changes_nothing() {
    in_namespace(test_name!(), async |mut world: World| {
        let keep = || Config { keep_on_stop: true, ..config() };
        world.start(keep()).await;
        for n in 0..50 {
            world.announce(&format!("192.0.2.{n}/32"), "CAPI", HOUR);
            world.announce(&format!("10.{n}.0.0/16"), "lists:a list", HOUR);
        }
        world.publish().await;
        world.stop().await;
        let before = kernel_world::generation();
        world.start(keep()).await;
        assert_eq!(kernel_world::generation(), before, "nothing was committed");
        // One thing differs: one transaction.
        world.announce("192.0.2.200/32", "CAPI", HOUR);
        world.stop().await;
        nft("delete element ip crowdsec crowdsec-blacklists-CAPI { 192.0.2.3 }");
        nft("add element ip crowdsec crowdsec-blacklists-CAPI { 203.0.113.99 timeout 1h }");
        let before = kernel_world::generation();
        world.start(keep()).await;
        assert_eq!(kernel_world::generation(), before + 1, "one transaction puts all right");
        let set = list("set ip crowdsec crowdsec-blacklists-CAPI");
        assert!(
            set.contains("192.0.2.3 ") && set.contains("192.0.2.200") && !set.contains("203.0.113.99"),
            "{set}"
        );
        world.stop().await;
    });
}

#[test]
fn what_others_take_away_is_back_within_a_second() {
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
fn a_hundred_thousand_come_change_and_go() {
    in_namespace(test_name!(), async |mut world: World| {
        world.start(config()).await;
        for n in 0..100_000_u32 {
            world.announce(&format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255), "CAPI", 24 * HOUR);
        }
        let started = Instant::now();
        world.publish().await;
        println!("100,000 hosts: from the cache into the kernel in {:?}", started.elapsed());
        println!("memory: {}", kernel_world::memory());
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
        println!("memory: {}", kernel_world::memory());
        assert_eq!(kernel_world::count_elements("ip", "crowdsec", "crowdsec-blacklists-CAPI"), 100_001);
        let started = Instant::now();
        world.stop().await;
        println!("stopped in {:?}", started.elapsed());
    });
}

#[test]
fn leftovers_of_the_stock_bouncer_give_way_without_a_gap() {
    in_namespace(test_name!(), async |mut world: World| {
        nft("add table ip crowdsec");
        nft("add set ip crowdsec crowdsec-blacklists { type ipv4_addr; flags timeout; }");
        nft("add element ip crowdsec crowdsec-blacklists { 192.0.2.7 timeout 1h, 192.0.2.8 timeout 1h }");
        nft("add chain ip crowdsec crowdsec-chain { type filter hook input priority 0; }");
        nft("add rule ip crowdsec crowdsec-chain ip saddr @crowdsec-blacklists counter drop");
        let witness = kernel_world::Witness::start();
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
            kernel_world::try_list("chain ip crowdsec crowdsec-chain-input")
                .contains("iifname \"wg0\" return")
                && kernel_world::try_list("set ip crowdsec crowdsec-blacklists.allow")
                    .contains("192.0.2.0/24")
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
fn an_operators_set_is_filled_in_its_own_dialect() {
    for (flags, hosts, ranges, timeouts) in [
        ("flags timeout;", true, false, true),
        ("", true, false, false),
        ("flags interval,timeout;", true, true, true),
        ("flags interval;", true, true, false),
    ] {
        in_namespace(&format!("{} {flags}", test_name!()), async |mut world: World| {
            nft("add table inet filter");
            nft(&format!("add set inet filter bad4 {{ type ipv4_addr; {flags} }}"));
            nft("add chain inet filter input { type filter hook input priority 0; }");
            nft("add rule inet filter input ip saddr @bad4 drop");
            let rules = list("chain inet filter input");
            world.announce("10.0.0.0/8", "CAPI", HOUR);
            world.announce("10.9.9.9/32", "CAPI", 9 * HOUR);
            world.announce("255.255.255.255/32", "CAPI", HOUR);
            world.start(kernel_world::set_only("filter", "bad4")).await;
            world.ban("192.0.2.7/32", "cscli", HOUR).await;
            let set = list("set inet filter bad4");
            assert_eq!(set.contains("192.0.2.7"), hosts, "{set}");
            assert_eq!(set.contains("10.0.0.0-10.9.9.8"), ranges, "{set}");
            let apart = set.split([' ', ',']).any(|word| word.trim() == "10.9.9.9");
            assert!(apart && set.contains("255.255.255.255"), "{set}");
            assert_eq!(set.contains("timeout 59m") || set.contains("timeout 1h"), timeouts, "{set}");
            assert_eq!(world.status().unenforceable_ranges, u64::from(!ranges));
            world.lift("10.9.9.9/32").await;
            let set = list("set inet filter bad4");
            assert!(!set.contains("10.9.9.9"), "{set}");
            assert_eq!(set.contains("10.0.0.0/8"), ranges, "{set}");
            nft("flush set inet filter bad4");
            eventually("it is filled again", Duration::from_secs(1), || {
                list("set inet filter bad4").contains("192.0.2.7")
            })
            .await;
            assert_eq!(list("chain inet filter input"), rules, "rules are the operator's");
            world.stop().await;
            assert!(!list("set inet filter bad4").contains("elements"), "emptied at the stop");
            assert_eq!(nft("list tables"), "table inet filter\n");
        });
    }
}

#[test]
fn a_missing_operators_set_is_made_and_a_missing_table_waited_for() {
    in_namespace(test_name!(), async |mut world: World| {
        world.announce("192.0.2.7/32", "cscli", HOUR);
        world.launch(kernel_world::set_only("mine", "bad4"));
        eventually("it says what is missing", Duration::from_secs(5), || {
            world
                .status()
                .failing
                .is_some_and(|text| text.starts_with("nftables: could not find table 'mine'"))
        })
        .await;
        assert!(!world.status().is_ready());
        nft("add table ip mine");
        eventually("the set is made and filled", Duration::from_secs(5), || {
            kernel_world::try_list("set ip mine bad4").contains("192.0.2.7")
        })
        .await;
        eventually("it is ready", Duration::from_secs(5), || world.status().is_ready()).await;
        assert!(list("set ip mine bad4").contains("flags timeout"));
        world.stop().await;
    });
}

#[test]
fn an_operators_set_of_another_kind_is_refused() {
    in_namespace(test_name!(), async |mut world: World| {
        nft("add table ip mine");
        nft("add set ip mine bad4 { type ipv4_addr . inet_service; flags timeout; }");
        world.launch(kernel_world::set_only("mine", "bad4"));
        eventually("it says what is wrong", Duration::from_secs(5), || {
            world.status().failing.is_some_and(|text| text.contains("cannot be filled"))
        })
        .await;
        world.stop().await;
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
fn checking_touches_nothing() {
    in_namespace(test_name!(), async |_world: World| {
        let before = kernel_world::generation();
        palisade_firewall::check(&config()).await.unwrap();
        assert_eq!(nft("list ruleset"), "");
        assert_eq!(kernel_world::generation(), before);
        let mut long = config();
        long.v4.as_mut().unwrap().table = "x".repeat(300);
        let error = palisade_firewall::check(&long).await.unwrap_err();
        assert!(error.to_string().starts_with("nft refuses to build"), "{error}");
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
fn a_family_that_is_off_is_left_alone() {
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
            let (transactions, generation) = (world.status().transactions, kernel_world::generation());
            let started = Instant::now();
            if change {
                world.ban(net, "CAPI", HOUR).await;
            } else {
                world.lift(net).await;
            }
            println!("one more or less: {:?}", started.elapsed());
            assert_eq!(world.status().transactions, transactions + 1);
            assert_eq!(kernel_world::generation(), generation + 1);
        }
        assert_eq!(world.status().total(), 51_001);
        world.stop().await;
    });
}

#[test]
fn a_fight_over_the_table_is_not_fought_at_full_speed() {
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

#[test]
fn a_dry_run_touches_nothing_and_a_reload_into_it_cleans_up() {
    in_namespace(test_name!(), async |mut world: World| {
        let before = kernel_world::generation();
        world.announce("192.0.2.7/32", "cscli", HOUR);
        world.start(Config { mode: Mode::DryRun, ..config() }).await;
        world.ban("192.0.2.8/32", "cscli", HOUR).await;
        assert_eq!(kernel_world::generation(), before);
        world.reload(config()).await;
        eventually("it is in force", Duration::from_secs(5), || {
            kernel_world::try_list("set ip crowdsec crowdsec-blacklists-cscli").contains("192.0.2.8")
        })
        .await;
        world.reload(Config { mode: Mode::DryRun, ..config() }).await;
        eventually("the tables are gone", Duration::from_secs(5), || nft("list tables").is_empty()).await;
        world.stop().await;
    });
}
