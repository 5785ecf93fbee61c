//! `explain` against the running kernel: the structure is ours, elements and foreign rules are put in by `nft`.

use std::net::IpAddr;
use std::sync::Arc;

use palisade_bouncer::control::{About, DecisionView, LookupAnswer, Source, State};

use super::structures::build;
use super::{in_namespace, nft, test_name};
use crate::config::{Allow, Config};
use crate::enforcer_config::EnforcerConfig;
use crate::explain::arguments::{ExplainedPacket, Protocol};
use crate::explain::explain;
use crate::local::LocalNetwork;
use crate::testing;

/// What the cache answers: these decisions cover the address.
fn cache(decisions: &[&str]) -> Result<LookupAnswer, String> {
    let held = |value: &&str| DecisionView {
        scope: "Ip".into(),
        value: (*value).to_owned(),
        remediation: "ban".into(),
        origin: "cscli".into(),
        scenario: "test".into(),
        id: 1,
        until: "2030-01-01T00:00:00Z".into(),
        seconds_left: 3600,
    };
    let state = State {
        about: About { program: "palisade-firewall".into(), version: "v0".into(), lapi: "http://l".into() },
        source: Source::Running,
        decisions: decisions.len(),
        last_answer: None,
        seconds_since_last_answer: None,
        last_full: None,
        failing: None,
        current_lapi: String::new(),
        lapi_kind: String::new(),
        push: false,
        fail_overs: 0,
    };
    Ok(LookupAnswer {
        subject: "the address".into(),
        effect: None,
        verdict: decisions.first().map(held),
        decisions: decisions.iter().map(held).collect(),
        not_listed: 0,
        state,
    })
}

fn enforcer_config(config: &Config) -> EnforcerConfig {
    let addresses = vec!["192.0.2.10".parse().unwrap()];
    EnforcerConfig {
        config: Arc::new(config.clone()),
        protected: vec!["192.0.2.20".parse().unwrap()],
        local: LocalNetwork { addresses, ..LocalNetwork::default() },
    }
}

fn explained_with(
    config: &Config,
    address: &str,
    port: Option<u16>,
    cache: Result<LookupAnswer, String>,
) -> String {
    let source: IpAddr = address.parse().unwrap();
    let packet = ExplainedPacket { source, port: port.map(|port| (Protocol::Tcp, port)) };
    let mut out = Vec::new();
    explain(&enforcer_config(config), packet, cache, false, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    println!("{text}");
    text
}

fn explained(config: &Config, address: &str, decisions: &[&str]) -> String {
    explained_with(config, address, None, cache(decisions))
}

/// Each line of `expected` is in the text, in this order.
fn assert_lines(text: &str, expected: &[&str]) {
    let mut rest = text;
    for part in expected {
        let Some((_, after)) = rest.split_once(part) else { panic!("{part:?} is missing in\n{text}") };
        rest = after;
    }
    let disagrees = expected.iter().any(|part| part.contains("DISAGREEMENT"));
    assert_eq!(text.contains("DISAGREEMENT"), disagrees, "{text}");
}

fn ban_host(address: &str) {
    nft(&format!("add element ip crowdsec crowdsec-blacklists-CAPI {{ {address} timeout 1h }}"));
}

fn managed() -> Config {
    let nets = [palisade_net::parse_prefix("192.0.2.30").unwrap()].into_iter().collect();
    let config = Config { allow: Allow { nets, ..Allow::default() }, ..testing::config() };
    build(&config, &["CAPI"]);
    nft("add element ip crowdsec crowdsec-blacklists.gate-22 { 192.0.0.0, 198.51.100.0 }");
    nft("add element ip crowdsec crowdsec-blacklists.allow { 192.0.2.10, 192.0.2.20, 192.0.2.30 }");
    let counter = "\"crowdsec-blacklists-CAPI\"";
    nft(&format!(
        "add element ip crowdsec crowdsec-blacklists.ranges-24 {{ 198.51.100.0 timeout 1h : {counter} }}"
    ));
    config
}

/// The handle of the only rule of a chain that contains `part`, as `nft` shows it.
fn handle(chain: &str, part: &str) -> String {
    let listing =
        std::process::Command::new("nft").args(["-a", "list", "chain"]).args(chain.split(' ')).output();
    let listing = String::from_utf8(listing.unwrap().stdout).unwrap();
    let line =
        listing.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} in {listing}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_banned_host_and_a_banned_range_are_traced_to_their_elements() {
    in_namespace(test_name!(), || {
        let config = managed();
        ban_host("192.0.2.7");
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        let deny = handle("ip crowdsec crowdsec-chain.deny", "drop");
        assert_lines(
            &text,
            &[
                "192.0.2.7: denied by the kernel at input, forward\n",
                "cache: denied (drop)\n  ban for 1h0m0s: Ip 192.0.2.7 from cscli",
                &format!(
                    "hook input, from 192.0.2.7: drop: rule {deny} of ip crowdsec crowdsec-chain.deny\n"
                ),
                "  ip crowdsec crowdsec-chain-input (priority -10, ours): drop",
                "crowdsec-blacklists.gate-22 has its cell 192.0.0.0/22: jump crowdsec-chain.source\n",
                "crowdsec-blacklists-CAPI has 192.0.2.7, ",
                " left (source CAPI): goto crowdsec-chain.deny\n",
                "hook forward, from 192.0.2.7: drop",
            ],
        );
        let text = explained(&config, "198.51.100.77", &["198.51.100.0/24"]);
        let element = "crowdsec-blacklists.ranges-24 has 198.51.100.0/24, ";
        let source = " left (source CAPI): goto crowdsec-chain.deny\n";
        assert_lines(&text, &["198.51.100.77: denied by the kernel at input, forward\n", element, source]);
    });
}

#[test]
fn ipv6_is_traced_alike() {
    in_namespace(test_name!(), || {
        let config = managed();
        nft("add element ip6 crowdsec6 crowdsec6-blacklists.gate-48 { 2001:db8:: }");
        nft("add element ip6 crowdsec6 crowdsec6-blacklists-CAPI { 2001:db8::7 timeout 1h }");
        nft("add table inet mine; \
             add chain inet mine first { type filter hook input priority -20; policy accept; }; \
             add rule inet mine first meta nfproto ipv4 drop; \
             add rule inet mine first ip6 saddr 2001:db8:5::/48 udp dport 53 drop");
        let text = explained(&config, "2001:db8::7", &["2001:db8::7"]);
        let gate = "crowdsec6-blacklists.gate-48 has its cell 2001:db8::/48: jump crowdsec6-chain.source\n";
        let host = "crowdsec6-blacklists-CAPI has 2001:db8::7, ";
        assert_lines(&text, &["2001:db8::7: denied by the kernel at input, forward\n", gate, host]);
        let text = explained(&config, "2001:db8:5::7", &[]);
        let doubt = "may be denied before (cannot be judged): rule ";
        assert_lines(
            &text,
            &["let through by the kernel at input, forward\n", doubt, " of inet mine first: drop\n"],
        );
    });
}

#[test]
fn what_limits_the_answer_is_noted() {
    in_namespace(test_name!(), || {
        let config = managed();
        nft("add table netdev early; add table inet mine; \
             add chain inet mine same { type filter hook input priority -10; policy drop; }");
        let text = explained(&config, "203.0.113.1", &[]);
        let same = "ip crowdsec crowdsec-chain-input and inet mine same have the same priority at input";
        assert_lines(&text, &["note: table netdev early is not evaluated", same]);
    });
}

#[test]
fn what_is_let_through_has_its_reason() {
    in_namespace(test_name!(), || {
        let config = managed();
        let near = explained(&config, "192.0.2.8", &[]);
        let gate = "crowdsec-blacklists.gate-22 has its cell 192.0.0.0/22: jump crowdsec-chain.source\n";
        assert_lines(&near, &["192.0.2.8: let through by the kernel at input, forward\n", gate]);
        let far = explained(&config, "203.0.113.1", &[]);
        let gate = "crowdsec-blacklists.gate-22 does not have its cell 203.0.112.0/22\n";
        assert_lines(&far, &["let through by the kernel", "cache: let through: no decision covers it", gate]);
        for (address, reason) in [
            ("192.0.2.10", "it is an address of this host"),
            ("192.0.2.20", "protect_lapi: it is the address of a LAPI"),
            ("192.0.2.30", "allow.addresses has it"),
        ] {
            ban_host(address);
            let text = explained(&config, address, &["192.0.2.0/24"]);
            let allow = format!("crowdsec-blacklists.allow has {address} ({reason}): return\n");
            let through = format!("{address}: let through by the kernel at input, forward\n");
            assert_lines(&text, &[&through, &format!("cache: let through: {reason}\n"), &allow]);
        }
    });
}

#[test]
fn an_allowed_interface_is_a_condition() {
    in_namespace(test_name!(), || {
        let allow = Allow { interfaces: vec!["wg*".into()], ..Allow::default() };
        let config = Config { allow, block_outbound: true, ..testing::config() };
        build(&config, &["CAPI"]);
        nft("add element ip crowdsec crowdsec-blacklists.gate-22 { 192.0.0.0 }");
        ban_host("192.0.2.7");
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        let rule = handle("ip crowdsec crowdsec-chain-input", "wg");
        let unless = format!("rule {rule} of ip crowdsec crowdsec-chain-input: return\n");
        let hooks =
            "denied by the kernel at input, forward, forward (as destination), output (as destination)\n";
        assert_lines(&text, &[hooks, "    unless this applies (cannot be judged): ", &unless]);
        // Whether the unknown source of a packet to the address is allowed changes nothing.
        assert!(!text.contains("crowdsec-chain.source: return"), "{text}");
        assert_lines(
            &text,
            &["hook output, to 192.0.2.7: drop: rule", ".gate-22 has its cell 192.0.0.0/22: jump"],
        );
    });
}

#[test]
fn disagreements_are_named() {
    in_namespace(test_name!(), || {
        let config = managed();
        // Banned, and taken out by hand.
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        let lacks = "DISAGREEMENT: the cache bans it, the kernel does not: a gate has its cell, but no set of bans \
                     has it (at input, forward)\n";
        assert_lines(&text, &["let through by the kernel at input, forward\n", lacks]);
        nft("delete element ip crowdsec crowdsec-blacklists.gate-22 { 192.0.0.0 }");
        ban_host("192.0.2.7");
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        assert_lines(&text, &["DISAGREEMENT: the cache bans it, the kernel does not: no gate has its cell"]);
        // Put in by hand.
        nft("add element ip crowdsec crowdsec-blacklists.gate-22 { 192.0.0.0 }");
        let text = explained(&config, "192.0.2.7", &[]);
        let foreign = "DISAGREEMENT: the kernel denies it, the cache does not: no decision covers it; \
                       crowdsec-blacklists-CAPI has 192.0.2.7, ";
        let hooks = " left (source CAPI) (at input, forward)\n";
        assert_lines(&text, &["192.0.2.7: denied by the kernel at input, forward\n", foreign, hooks]);
        // One hook only.
        nft("flush chain ip crowdsec crowdsec-chain-forward");
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        let part = "192.0.2.7: denied by the kernel at input; let through at forward\n";
        assert_lines(&text, &[part, "DISAGREEMENT", "no gate has its cell (at forward)\n"]);
        let text = explained_with(&config, "192.0.2.7", None, Err("no bouncer answers".into()));
        assert_lines(&text, &["cache unknown, not compared: no bouncer answers\n"]);
        nft("flush ruleset");
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        assert_lines(&text, &["DISAGREEMENT", "  no chain of ours: there is no table ip crowdsec\n"]);
        assert_lines(&text, &["DISAGREEMENT", "there is no table ip crowdsec (at input, forward)\n"]);
        let text = explained(&config, "192.0.2.7", &[]);
        assert_lines(&text, &["192.0.2.7: let through by the kernel at input, forward\n"]);
    });
}

#[test]
fn rules_of_others_are_judged_as_far_as_they_can_be_read() {
    in_namespace(test_name!(), || {
        let config = managed();
        ban_host("192.0.2.7");
        nft("add table inet mine; \
             add chain inet mine early { type filter hook input priority -100; policy accept; }; \
             add chain inet mine late { type filter hook input priority 0; policy drop; }; \
             add rule inet mine early ct state established,related accept; \
             add rule inet mine early iifname lo accept; \
             add rule inet mine early ip saddr { 192.0.2.0-192.0.2.99, 10.0.0.0/8 } tcp dport { 22, 2222-2230 } drop; \
             add rule inet mine early ip6 saddr 2001:db8::/32 drop; \
             add rule inet mine early iifname eth9 meta mark 7 drop; \
             add rule inet mine late tcp dport vmap { 80 : accept, 25 : drop }");
        let at = |chain: &str, part: &str| {
            format!("rule {} of inet mine {chain}", handle(&format!("inet mine {chain}"), part))
        };
        let (ports, mark) = (at("early", "dport"), at("early", "mark"));
        for port in [22, 2225] {
            let text = explained_with(&config, "192.0.2.7", Some(port), cache(&["192.0.2.7"]));
            assert_lines(
                &text,
                &[
                    &format!("hook input, from 192.0.2.7: drop: {ports}\n"),
                    &format!("  inet mine early (priority -100): drop: {ports}\n"),
                    "  ip crowdsec crowdsec-chain-input (priority -10, ours): not reached\n",
                    "  inet mine late (priority 0): not reached\n",
                ],
            );
        }
        let text = explained_with(&config, "192.0.2.7", Some(80), cache(&["192.0.2.7"]));
        let doubt = format!("  may be denied before (cannot be judged): {mark}: drop\n");
        let own = "hook input, from 192.0.2.7: drop: rule";
        assert_lines(
            &text,
            &[own, &doubt, "inet mine early (priority -100): accept: policy of inet mine early"],
        );
        // Without a port the rule cannot be judged.
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        assert_lines(&text, &["may be denied before (cannot be judged)", &format!("{ports}: drop\n")]);
        let map = at("late", "vmap");
        for (port, verdict) in [
            (80, "accept: no chain denies it".to_owned()),
            (25, format!("drop: {map}")),
            (443, "drop: policy of inet mine late".to_owned()),
        ] {
            let text = explained_with(&config, "203.0.113.1", Some(port), cache(&[]));
            assert_lines(&text, &[&format!("hook input, from 203.0.113.1: {verdict}\n")]);
        }
    });
}

#[test]
fn an_operators_set_is_read_with_the_rules_that_look_at_it() {
    in_namespace(test_name!(), || {
        let mut config = testing::config();
        config.v6 = None;
        if let Some(family) = &mut config.v4 {
            (family.set_only, family.table, family.set) = (true, "mine".into(), "bad".into());
        }
        let text = explained(&config, "192.0.2.7", &["192.0.2.7"]);
        assert_lines(
            &text,
            &["192.0.2.7: no chain of the kernel is concerned\n", "set mine bad: there is no such set"],
        );
        nft("add table inet mine; \
             add set inet mine bad { type ipv4_addr; flags timeout, interval; }; \
             add chain inet mine input { type filter hook input priority 0; policy accept; }; \
             add chain inet mine checks; \
             add rule inet mine input jump checks; \
             add rule inet mine checks ip saddr @bad drop; \
             add element inet mine bad { 192.0.2.0/28 timeout 1h comment \"palisade\", 198.51.100.0/24 }");
        let rule = format!("rule {} of inet mine checks: drop\n", handle("inet mine checks", "@bad"));
        let text = explained(&config, "192.0.2.7", &["192.0.2.0/28"]);
        assert_lines(
            &text,
            &[
                "192.0.2.7: denied by the kernel at input\n",
                "cache: the operator's rules decide: it is in set bad\n",
                "set inet mine bad: it holds the address in an interval from 192.0.2.0, ",
                " left: put in by palisade\n",
                &format!("  looked at by {rule}"),
                "hook input, from 192.0.2.7: drop",
            ],
        );
        let text = explained(&config, "198.51.100.7", &[]);
        assert_lines(
            &text,
            &["it is not put in set bad: no decision covers it", "an element of the operator\n"],
        );
        let text = explained(&config, "192.0.2.7", &[]);
        assert_lines(
            &text,
            &["DISAGREEMENT: the kernel's set has it by our doing, the cache does not ban it"],
        );
        let text = explained(&config, "203.0.113.7", &["203.0.113.7"]);
        assert_lines(&text, &["DISAGREEMENT: the cache bans it, the kernel's set does not have it"]);
    });
}
