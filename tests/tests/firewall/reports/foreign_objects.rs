//! Tables that are shared with others, and names that are taken: what is not ours stays as it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Doing, Firewall, Implementation, Outcome, ScriptedLapi, UdpProbe, World, eventually,
    eventually_within, pace, story,
};

use crate::shared::{banning_lapi, is_blocked};

/// What docker, ufw and an administrator have on a host, the first two in the table that people configure for bans.
const FOREIGN: &str = r#"
table ip filter {
    set ssh-clients { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 203.0.113.9 }; }
    set f2b-sshd { type ipv4_addr; flags timeout; elements = { 192.0.2.99 timeout 1d }; }
    map ports { type inet_service : inet_service; elements = { 80 : 8080 }; }
    counter seen { comment "of the administrator" }
    chain DOCKER { iifname != "docker0" oifname "docker0" ip daddr 172.17.0.2 tcp dport 80 counter accept; }
    chain DOCKER-ISOLATION-STAGE-1 { counter return; }
    chain FORWARD {
        type filter hook forward priority filter; policy accept;
        counter jump DOCKER-ISOLATION-STAGE-1
        oifname "docker0" counter jump DOCKER
    }
    chain ufw-user-input { tcp dport 22 ip saddr @ssh-clients counter accept comment "'dapp_OpenSSH'"; }
    chain INPUT {
        type filter hook input priority filter; policy accept;
        ct state established,related counter accept
        counter name "seen" jump ufw-user-input
        ip saddr @f2b-sshd counter reject
    }
}
table ip6 filter {
    chain INPUT { type filter hook input priority filter; policy accept; ip6 nexthdr icmpv6 counter accept; }
}
table ip nat {
    chain POSTROUTING { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }
}
table inet firewalld {
    chain input { type filter hook input priority 10; iifname "lo" accept; }
}
"#;

#[test]
fn a_table_that_is_shared_keeps_what_is_not_ours_at_every_stage() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        world.router.nft(FOREIGN)?;
        let before = ruleset(world)?;
        let config = shared(world, &lapi)?;
        let mut firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        eventually("both doors shut", || is_blocked(world))?;
        assert_eq!(foreign_of(world, &before)?, before, "after the start");
        assert_eq!(world.router.ruleset()?.tables().len(), 4, "no table was made");

        // Others work in it meanwhile.
        world.router.nft("add element ip filter f2b-sshd { 192.0.2.98 timeout 1d }")?;
        world.router.nft("add rule ip filter DOCKER counter")?;
        let before = {
            let mut changed = foreign_of(world, &before)?;
            changed.retain(|name, _| before.contains_key(name));
            changed
        };
        lapi.ban("192.0.2.7");
        eventually("news arrive", || Ok(ruleset_text(world)?.contains("192.0.2.7")))?;
        assert_eq!(foreign_of(world, &before)?, before, "after others' changes");

        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        let arrived = probe.during(|| {
            config.clone().set("nftables.ipv4.chain", "wall").write_to(firewall.config_file())?;
            firewall.reload()?;
            eventually("the chain has its new name", || {
                let chains = world.router.ruleset()?.chains("ip", "filter");
                Ok(chains.iter().any(|chain| chain == "wall-input")
                    && !chains.iter().any(|chain| chain.starts_with("crowdsec-chain")))
            })
            .map(drop)
        })?;
        assert_eq!(arrived, 0, "datagrams through the gap");
        assert_eq!(foreign_of(world, &before)?, before, "after the reload");

        firewall.process().kill()?;
        assert_eq!(foreign_of(world, &before)?, before, "after kill -9");
        let firewall = Firewall::start_with(world, &config.set("nftables.ipv4.chain", "wall"))?;
        assert_eq!(foreign_of(world, &before)?, before, "after a new start");
        assert!(firewall.stop()?.success());
        assert_eq!(ruleset(world)?, before, "after the stop nothing else is left");
        Ok(())
    })
}

#[test]
fn an_operators_chain_of_our_name_is_left_alone_and_named() -> Outcome {
    story(|world| {
        let taken = "table ip crowdsec { chain crowdsec-chain-input { type filter hook input priority -10; tcp dport 22 \
                     counter accept; } ; }";
        refuses_and_touches_nothing(world, taken, "chain 'crowdsec-chain-input'")
    })
}

#[test]
fn an_operators_ipv6_chain_of_our_name_is_left_alone_and_named() -> Outcome {
    story(|world| {
        let taken = "table ip6 crowdsec6 { chain crowdsec6-chain.deny { counter accept; } ; }";
        refuses_and_touches_nothing(world, taken, "chain 'crowdsec6-chain.deny'")
    })
}

#[test]
fn an_operators_set_of_our_name_is_left_alone_and_named() -> Outcome {
    story(|world| {
        let taken = "table ip crowdsec { set crowdsec-blacklists-cscli { type ipv4_addr; elements = { 192.0.2.200 } ; } ; \
                     chain mine { type filter hook input priority 0; ip saddr @crowdsec-blacklists-cscli accept; } ; }";
        refuses_and_touches_nothing(world, taken, "set 'crowdsec-blacklists-cscli'")
    })
}

#[test]
fn a_reload_into_a_taken_name_keeps_the_bans() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let taken = "table ip filter { chain crowdsec-chain-input { type filter hook input priority 10; counter accept; } ; }";
        world.router.nft(taken)?;
        let config = Config::new(world, &lapi.access())?;
        let mut firewall = Firewall::start_with(world, &config)?;
        let before = ruleset(world)?;
        let foreign: BTreeMap<_, _> =
            before.into_iter().filter(|(name, _)| name.starts_with("table ip filter")).collect();
        let (probe, probe_v6) = (
            UdpProbe::start(&world.visitor, &world.router)?,
            UdpProbe::start_v6(&world.visitor, &world.router)?,
        );
        let mut arrived_v6 = 0;
        let arrived = probe.during(|| {
            arrived_v6 = probe_v6.during(|| {
                config.clone().set("nftables.ipv4.table", "filter").write_to(firewall.config_file())?;
                firewall.reload()?;
                firewall.wait_for_log("holds a chain 'crowdsec-chain-input' that is not ours")?;
                lapi.ban("2001:db8:b::9");
                eventually("the other family goes on", || Ok(world.router.ruleset()?.bans("2001:db8:b::9")))?;
                assert_eq!(foreign_of(world, &foreign)?, foreign, "after the reload");
                lapi.pulled(2)
            })?;
            // The name is free again.
            world.router.nft(
                "flush chain ip filter crowdsec-chain-input; delete chain ip filter crowdsec-chain-input",
            )?;
            eventually("the new table is filled and the old one gone", || {
                let chains = world.router.ruleset()?.chains("ip", "filter");
                let tables = world.router.ruleset()?.tables();
                Ok(chains.len() == 4 && !tables.iter().any(|(_, name)| name == "crowdsec"))
            })
            .map(drop)
        })?;
        assert_eq!((arrived, arrived_v6), (0, 0), "datagrams through the gap");
        assert_eq!(firewall.log().matches("that is not ours").count(), 1, "said once");
        Ok(())
    })
}

#[test]
fn what_others_refer_to_does_not_keep_our_rules_after_the_stop() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let config = Config::new(world, &lapi.access())?;
        let firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        eventually("both doors shut", || is_blocked(world))?;
        // A rule of the operator counts what our set matches.
        world.router.nft(
            "table ip crowdsec { chain watch { type filter hook input priority 5; ip saddr @crowdsec-blacklists-cscli \
             counter; } ; }",
        )?;
        assert!(firewall.stop()?.success());
        eventually("both doors are open", || {
            world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80)
        })?;
        assert_eq!(world.router.ruleset()?.chains("ip", "crowdsec"), ["watch"], "his chain stays, ours go");
        // And the next start finds its way.
        let firewall = Firewall::start_with(world, &config)?;
        eventually("both doors shut again", || is_blocked(world))?;
        assert!(firewall.stop()?.success());
        Ok(())
    })
}

#[test]
fn new_bans_do_not_wait_while_another_program_keeps_undoing_old_ones() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        lapi.ban(Ban::of("192.0.2.1").from_origin("CAPI"));
        let _firewall = Firewall::start(world, &lapi.access())?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let undoing = scope.spawn(|| {
                let mut times = 0;
                while !stop.load(Ordering::Relaxed) {
                    world.router.nft("flush set ip crowdsec crowdsec-blacklists-cscli")?;
                    times += 1;
                    pace(Duration::from_millis(50));
                }
                Ok::<_, palisade_e2e::Failure>(times)
            });
            let mut told = Ok(());
            for n in 2..30 {
                pace(Duration::from_millis(150));
                let address = format!("192.0.2.{n}");
                lapi.ban(Ban::of(&address).from_origin("CAPI"));
                told = told.and_then(|()| {
                    let within = Duration::from_secs(5);
                    eventually_within(within, &format!("{address} is in force"), || {
                        Ok(world.router.ruleset()?.bans(&address))
                    })
                    .map(drop)
                });
            }
            stop.store(true, Ordering::Relaxed);
            assert!(undoing.join().expect("it does not panic")? > 40, "it was at work");
            told
        })?;
        eventually("what was undone is back", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
        Ok(())
    })
}

#[test]
fn an_operators_empty_table_stays_at_the_stop() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        world.router.nft("table ip filter { }\ntable ip6 filter { }")?;
        let firewall = Firewall::start_with(world, &shared(world, &lapi)?)?;
        let _service = world.router.echoes_on(80)?;
        eventually("both doors shut", || is_blocked(world))?;
        assert!(firewall.stop()?.success());
        assert_eq!(ruleset_text(world)?, "table ip filter {\n}\ntable ip6 filter {\n}\n");
        Ok(())
    })
}

fn refuses_and_touches_nothing(world: &World, taken: &str, named: &str) -> Outcome {
    let lapi = banning_lapi(world)?;
    world.router.nft(taken)?;
    let before = ruleset_text(world)?;
    let config = Config::new(world, &lapi.access())?;
    let which = Implementation::under_test()?;
    let path = config.write(world)?.display().to_string();
    let (status, said) = which.run(world, &["-c", &path])?;
    assert_eq!(ruleset_text(world)?, before, "nothing is touched");
    assert!(!status.success(), "{status}: {said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains(named)).collect();
    assert!(lines.len() == 1 && lines[0].contains("not ours"), "one line says it: {lines:#?}");
    let (status, said) = which.run(world, &["-c", &path, "-t"])?;
    assert!(!status.success() && said.contains(named), "-t says it too: {said}");
    assert_eq!(ruleset_text(world)?, before);
    Ok(())
}

fn shared(world: &World, lapi: &ScriptedLapi) -> Outcome<Config> {
    Ok(Config::new(world, &lapi.access())?
        .set("nftables.ipv4.table", "filter")
        .set("nftables.ipv6.table", "filter"))
}

/// The ruleset as text, without counts and times.
fn ruleset_text(world: &World) -> Outcome<String> {
    world.router.tool(["nft", "-s", "list", "ruleset"])
}

/// The objects of a ruleset by `table header / object header`, each with its text as nft prints it.
fn ruleset(world: &World) -> Outcome<BTreeMap<String, String>> {
    let text = ruleset_text(world)?;
    let (mut table, mut object) = (String::new(), String::new());
    let mut objects: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("table ") {
            line.clone_into(&mut table);
            objects.insert(table.clone(), String::new());
        } else if let Some(header) = line.strip_prefix('\t').filter(|rest| !rest.starts_with(['\t', '}'])) {
            object = format!("{table} / {header}");
            objects.insert(object.clone(), String::new());
        } else if line != "}" {
            let text = objects.get_mut(&object).doing("a line belongs to an object")?;
            // Elements that end carry how long they have left.
            let settled = line.split(" expires ").next().unwrap_or(line);
            *text += &format!("{settled}\n");
        }
    }
    Ok(objects)
}

/// Of the objects there are now, those of the same names as these.
fn foreign_of(world: &World, these: &BTreeMap<String, String>) -> Outcome<BTreeMap<String, String>> {
    let mut now = ruleset(world)?;
    now.retain(|name, _| these.contains_key(name));
    Ok(now)
}
