//! The structure we ask for, as `nft` shows it.

use std::io::Write;
use std::time::Duration;

use super::{in_namespace, nft, test_name};
use crate::config::{Allow, Config, Deny, DenyLog, Hook, IpFamily, LogRate, RatePeriod, RejectWith};
use crate::found::Found;
use crate::layout::Layout;
use crate::netlink::Socket;
use crate::structure::Structure;
use crate::testing;

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("a minute is enough for any test")
    })
}

fn wanted(config: &Config, sources: &[&str]) -> Vec<Structure> {
    let mut layout = Layout::new(config, &[IpFamily::V4, IpFamily::V6]);
    for (ip, family) in config.families() {
        for source in sources {
            layout.add_source(ip, family, source);
        }
        layout.add_length(ip, family, if ip == IpFamily::V4 { 24 } else { 64 }, 1);
    }
    config.families().map(|(ip, family)| Structure::wanted(config, ip, family, &layout)).collect()
}

fn found(config: &Config) -> Vec<Found> {
    let mut socket = Socket::open().unwrap();
    config.families().map(|(ip, family)| Found::read(&mut socket, ip, &family.table).unwrap()).collect()
}

/// Makes what stands in the kernel what is wanted; returns how many commands that took.
pub(super) fn build(config: &Config, sources: &[&str]) -> usize {
    let commands: Vec<_> = wanted(config, sources)
        .iter()
        .zip(found(config))
        .flat_map(|(wanted, found)| wanted.changes(&found))
        .collect();
    let count = commands.len();
    block_on(crate::nft::apply("build the test's structure", commands)).unwrap();
    count
}

fn chain(table: &str, name: &str) -> String {
    let text = nft(&format!("list chain {table} {name}"));
    text.lines().skip(2).map(str::trim).take_while(|line| *line != "}").collect::<Vec<_>>().join("\n")
}

#[test]
fn the_stock_structure_stands_and_is_recognised() {
    in_namespace(test_name!(), || {
        let config = testing::config();
        assert!(build(&config, &["CAPI"]) > 10);
        assert_eq!(
            chain("ip crowdsec", "crowdsec-chain-input"),
            "type filter hook input priority filter - 10; policy accept;\n\
             counter name \"processed\" comment \"palisade\"\n\
             iifname \"lo\" return\n\
             ip saddr & 255.255.252.0 == @crowdsec-blacklists.gate-22 jump crowdsec-chain.source"
        );
        assert_eq!(
            nft("list chain ip crowdsec crowdsec-chain.source").lines().skip(2).collect::<Vec<_>>(),
            [
                "\t\tip saddr @crowdsec-blacklists.allow return comment \"palisade\"",
                "\t\tip saddr @crowdsec-blacklists-CAPI counter name \"crowdsec-blacklists-CAPI\" goto crowdsec-chain.deny",
                "\t\tcounter name ip saddr & 255.255.255.0 map @crowdsec-blacklists.ranges-24 goto crowdsec-chain.deny",
                "\t}",
                "}"
            ]
        );
        assert_eq!(
            chain("ip6 crowdsec6", "crowdsec6-chain-forward"),
            "type filter hook forward priority filter - 10; policy accept;\n\
             counter name \"processed\" comment \"palisade\"\n\
             ip6 saddr & ffff:ffff:ffff:: == @crowdsec6-blacklists.gate-48 jump crowdsec6-chain.source"
        );
        assert_eq!(build(&config, &["CAPI"]), 0, "what stands is left alone");
        // One more source: a set, a counter, and the chain that looks for it filled anew, for each family.
        assert_eq!(build(&config, &["CAPI", "lists:my list"]), 2 * (1 + 1 + 1 + 4));
        assert_eq!(build(&config, &["CAPI", "lists:my list"]), 0);
        let saved = nft("list ruleset");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "flush ruleset\n{saved}").unwrap();
        let output = std::process::Command::new("nft").arg("-f").arg(file.path()).output().unwrap();
        assert!(output.status.success(), "a saved ruleset loads again: {output:?}");
    });
}

#[test]
fn every_setting_reads_back_as_it_was_written() {
    in_namespace(test_name!(), || {
        let log = |rate, group| Some(DenyLog { prefix: "crowdsec drop: ".into(), rate, group });
        let rate = |packets, per| Some(LogRate { packets, per });
        let rejects = [
            RejectWith::Stock,
            RejectWith::PortUnreachable,
            RejectWith::AdminProhibited,
            RejectWith::HostUnreachable,
            RejectWith::TcpReset,
        ];
        let mut configs = vec![];
        for reject in rejects {
            configs.push(Config { deny: Deny::Reject(reject), ..testing::config() });
        }
        for log in
            [log(None, None), log(rate(3, RatePeriod::Minute), None), log(rate(7, RatePeriod::Day), Some(5))]
        {
            configs.push(Config { log, ..testing::config() });
        }
        configs.push(Config {
            hooks: Hook::ALL.to_vec(),
            block_outbound: true,
            allow: Allow { interfaces: vec!["wg*".into(), "eth1".into()], ..Allow::default() },
            ..testing::config()
        });
        configs.push(Config { block_outbound: true, ..testing::config() });
        for config in configs {
            assert!(build(&config, &["CAPI"]) > 0, "{config:?}");
            assert_eq!(build(&config, &["CAPI"]), 0, "{config:?}\n{}", nft("list ruleset"));
        }
    });
}

#[test]
fn reject_and_log_say_what_the_stock_bouncer_says() {
    in_namespace(test_name!(), || {
        let config = Config {
            hooks: vec![Hook::Input],
            deny: Deny::Reject(RejectWith::Stock),
            log: Some(DenyLog {
                prefix: "crowdsec drop: ".into(),
                rate: Some(LogRate { packets: 10, per: RatePeriod::Second }),
                group: None,
            }),
            ..testing::config()
        };
        build(&config, &["cscli"]);
        let v4 = chain("ip crowdsec", "crowdsec-chain.deny");
        let expected = "limit rate 10/second log prefix \"crowdsec drop: \" comment \"palisade\"\nreject";
        assert_eq!(v4, expected);
        let v6 = chain("ip6 crowdsec6", "crowdsec6-chain.deny");
        assert!(v6.contains("reject with icmpv6 addr-unreachable"), "{v6}");
        build(&Config { deny: Deny::Reject(RejectWith::TcpReset), log: None, ..config }, &["cscli"]);
        let v6 = chain("ip6 crowdsec6", "crowdsec6-chain.deny");
        assert_eq!(v6, "reject with tcp reset comment \"palisade\"\nreject");
    });
}

#[test]
fn another_priority_swaps_the_chain_in_one_transaction() {
    in_namespace(test_name!(), || {
        let config = testing::config();
        build(&config, &["CAPI"]);
        nft("add element ip crowdsec crowdsec-blacklists-CAPI { 192.0.2.1 timeout 1h }");
        let generation = || Socket::open().unwrap().generation().unwrap();
        let before = generation();
        let mut other = config;
        other.v4.as_mut().unwrap().priority = 5;
        build(&other, &["CAPI"]);
        assert_eq!(generation(), before + 1);
        assert!(chain("ip crowdsec", "crowdsec-chain-input").contains("priority filter + 5"));
        assert!(chain("ip crowdsec", "crowdsec-chain-input").contains("jump crowdsec-chain.source"));
        assert!(nft("list set ip crowdsec crowdsec-blacklists-CAPI").contains("192.0.2.1"), "elements stay");
        assert_eq!(build(&other, &["CAPI"]), 0);
    });
}

#[test]
fn foreign_chains_stay_and_old_ones_of_ours_go() {
    in_namespace(test_name!(), || {
        let config = testing::config();
        // As release 0.0.25 leaves it.
        nft("add table ip crowdsec");
        nft("add set ip crowdsec crowdsec-blacklists { type ipv4_addr; flags timeout; }");
        nft("add chain ip crowdsec crowdsec-chain { type filter hook input priority 0; }");
        nft("add rule ip crowdsec crowdsec-chain ip saddr @crowdsec-blacklists counter drop");
        // As a later release leaves it after a crash and a restart: everything twice.
        nft("add counter ip crowdsec processed");
        nft("add chain ip crowdsec crowdsec-chain-input { type filter hook input priority 0; }");
        nft("add rule ip crowdsec crowdsec-chain-input counter name processed");
        nft("add rule ip crowdsec crowdsec-chain-input counter name processed");
        // As release 0.1 of ours leaves it.
        nft("add counter ip crowdsec crowdsec-blacklists-CAPI");
        nft("add set ip crowdsec crowdsec-blacklists-CAPI { type ipv4_addr; flags timeout; }");
        nft(
            "add set ip crowdsec crowdsec-blacklists.ranges-CAPI { type ipv4_addr; flags interval,timeout; }",
        );
        nft("add chain ip crowdsec crowdsec-chain-prerouting { type filter hook prerouting priority 0; }");
        nft("add rule ip crowdsec crowdsec-chain-prerouting counter name processed");
        nft("add rule ip crowdsec crowdsec-chain-prerouting ip saddr @crowdsec-blacklists.ranges-CAPI drop");
        // As an earlier configuration of ours leaves it.
        nft("add counter ip crowdsec old-CAPI");
        nft("add set ip crowdsec old-CAPI { type ipv4_addr; flags timeout; }");
        nft("add set ip crowdsec old.ranges-CAPI { type ipv4_addr; flags interval,timeout; }");
        nft("add chain ip crowdsec old-input { type filter hook input priority 3; }");
        nft("add rule ip crowdsec old-input counter name processed");
        nft("add rule ip crowdsec old-input ip saddr @old-CAPI counter name old-CAPI drop");
        nft("add rule ip crowdsec old-input ip saddr @old.ranges-CAPI counter name old-CAPI drop");
        // An object of another program.
        nft("add chain ip crowdsec mine");
        nft("add rule ip crowdsec mine accept");
        nft("add chain ip crowdsec crowdsec-chain-output { type filter hook output priority 0; }");
        nft("add rule ip crowdsec crowdsec-chain-output tcp dport 22 accept");
        nft("add set ip crowdsec crowdsec-blacklists-mine { type ipv4_addr; }");
        build(&config, &["CAPI"]);
        assert!(nft("list ruleset").contains("crowdsec-chain {"), "still blocking while the new sets fill");
        for (structure, found) in wanted(&config, &["CAPI"]).iter().zip(found(&config)) {
            block_on(crate::nft::apply("take leftovers away", structure.leftovers(&found))).unwrap();
        }
        let after = nft("list ruleset");
        for gone in [
            "crowdsec-chain {",
            "crowdsec-chain-prerouting",
            "set crowdsec-blacklists {",
            "chain old-",
            "set old",
            "set crowdsec-blacklists.ranges-CAPI",
        ] {
            assert!(!after.contains(gone), "{gone} in {after}");
        }
        for kept in ["chain mine", "tcp dport 22 accept", "set crowdsec-blacklists-mine"] {
            assert!(after.contains(kept), "{kept} in {after}");
        }
        assert_eq!(chain("ip crowdsec", "crowdsec-chain-input").matches("processed").count(), 1);
        assert_eq!(build(&config, &["CAPI"]), 0);
    });
}

#[test]
fn a_foreign_object_is_in_the_way_and_stays() {
    in_namespace(test_name!(), || {
        let config = Config { v6: None, ..testing::config() };
        for (object, kind, name) in [
            (
                "chain ip crowdsec crowdsec-chain-input { type filter hook input priority 0; }",
                "chain",
                "crowdsec-chain-input",
            ),
            ("chain ip crowdsec crowdsec-chain.deny", "chain", "crowdsec-chain.deny"),
            (
                "set ip crowdsec crowdsec-blacklists-CAPI { type ipv4_addr; }",
                "set",
                "crowdsec-blacklists-CAPI",
            ),
            (
                "set ip crowdsec crowdsec-blacklists.gate-22 { type ipv4_addr; }",
                "set",
                "crowdsec-blacklists.gate-22",
            ),
        ] {
            nft("add table ip crowdsec");
            nft(&format!("add {object}"));
            if kind == "chain" {
                nft(&format!("add rule ip crowdsec {name} tcp dport 22 accept"));
            }
            let (wanted, found) = (wanted(&config, &["CAPI"]), found(&config));
            let collision = wanted[0].collision(&found[0]).unwrap();
            assert_eq!((collision.kind, collision.name.as_str()), (kind, name));
            let before = nft("list ruleset");
            assert_eq!(wanted[0].leftovers(&found[0]), Vec::<crate::nft::Command>::new());
            assert_eq!(wanted[0].retirement(&found[0]), Vec::<crate::nft::Command>::new());
            assert_eq!(nft("list ruleset"), before);
            nft("delete table ip crowdsec");
        }
        // An empty chain that is just as wanted loses nothing by being adopted.
        nft("add table ip crowdsec");
        nft("add chain ip crowdsec crowdsec-chain-input { type filter hook input priority -10; }");
        assert_eq!(wanted(&config, &["CAPI"])[0].collision(&found(&config)[0]), None);
        build(&config, &["CAPI"]);
        assert_eq!(
            wanted(&config, &["CAPI"])[0].collision(&found(&config)[0]),
            None,
            "ours is not in the way"
        );
    });
}

#[test]
fn all_that_goes_at_the_end_is_ours() {
    in_namespace(test_name!(), || {
        let config = Config { v6: None, ..testing::config() };
        let retire = || {
            for (structure, found) in wanted(&config, &["CAPI"]).iter().zip(found(&config)) {
                block_on(crate::nft::apply("delete our objects", structure.retirement(&found))).unwrap();
            }
        };
        build(&config, &["CAPI"]);
        retire();
        assert_eq!(nft("list ruleset"), "", "a table that we made goes whole");
        for object in [
            "chain ip crowdsec mine",
            "set ip crowdsec mine { type ipv4_addr; }",
            "map ip crowdsec mine { type ipv4_addr : verdict; }",
            "counter ip crowdsec mine",
            "quota ip crowdsec mine { over 5 mbytes }",
        ] {
            nft("add table ip crowdsec");
            nft(&format!("add {object}"));
            let before = nft("list ruleset");
            build(&config, &["CAPI"]);
            retire();
            assert_eq!(nft("list ruleset"), before, "what was there first stays: {object}");
            build(&config, &["CAPI"]);
            nft("delete table ip crowdsec");
            build(&config, &["CAPI"]);
            nft(&format!("add {object}"));
            retire();
            assert!(nft("list ruleset").contains(" mine"), "what came later stays: {object}");
            nft("delete table ip crowdsec");
        }
        nft("add table ip crowdsec");
        build(&config, &["CAPI"]);
        retire();
        assert_eq!(nft("list tables"), "table ip crowdsec\n", "an empty table of somebody else stays");
    });
}

#[test]
fn a_table_put_to_sleep_is_woken() {
    in_namespace(test_name!(), || {
        let config = testing::config();
        build(&config, &["CAPI"]);
        nft("add table ip crowdsec { flags dormant; }");
        assert!(nft("list tables ip").contains("crowdsec") && nft("list ruleset").contains("flags dormant"));
        assert_eq!(build(&config, &["CAPI"]), 1);
        assert!(!nft("list ruleset").contains("dormant"), "{}", nft("list ruleset"));
    });
}

#[test]
fn a_set_of_the_wrong_kind_is_made_anew() {
    in_namespace(test_name!(), || {
        let config = testing::config();
        build(&config, &["CAPI"]);
        nft("flush chain ip crowdsec crowdsec-chain.source");
        nft("delete set ip crowdsec crowdsec-blacklists-CAPI");
        nft("add set ip crowdsec crowdsec-blacklists-CAPI { type ipv4_addr; flags interval; }");
        nft(
            "add rule ip crowdsec crowdsec-chain.source ip saddr @crowdsec-blacklists-CAPI drop comment palisade",
        );
        build(&config, &["CAPI"]);
        assert!(nft("list set ip crowdsec crowdsec-blacklists-CAPI").contains("flags timeout"));
        assert_eq!(build(&config, &["CAPI"]), 0);
    });
}
