//! Set-only mode: the operator writes the rules, and the bouncer fills the one set according to its flags and creates
//! nothing.

use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, World, eventually, story, throughout,
};

use crate::shared::{banning_lapi, is_blocked_quickly};

#[test]
fn an_element_the_kernel_refuses_does_not_lose_the_others() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        // The operator's set has room for two.
        world.router.nft(&operators_table("ip", "mine", "type ipv4_addr; flags timeout; size 2"))?;
        lapi.ban("192.0.2.1");
        lapi.ban("192.0.2.2");
        lapi.ban("2001:db8:a::77");
        let config = Config::new(world, &lapi.access())?
            .set("nftables.ipv4.set-only", true)
            .set("nftables.ipv4.table", "mine")
            .set("reconcile_interval", "1s");
        let mut firewall = Firewall::start_with(world, &config)?;
        eventually("there is room for two", || {
            let rules = world.router.ruleset()?;
            Ok(rules.set("mine", "crowdsec-blacklists")?.elements.len() == 2)
        })?;
        lapi.ban_all(["192.0.2.3", "192.0.2.4"].map(Ban::of));
        lapi.ban("2001:db8:a::78");
        eventually("the other family goes on", || Ok(world.router.ruleset()?.bans("2001:db8:a::78")))?;
        assert!(world.router.ruleset()?.bans("2001:db8:a::77"));
        eventually("it says what was refused", || {
            let log = firewall.process().log();
            Ok(log.contains("192.0.2.3") || log.contains("192.0.2.4"))
        })?;
        // Room is made: what waited goes in.
        lapi.lift("192.0.2.1");
        lapi.lift("192.0.2.2");
        eventually("what was refused is tried again", || {
            let rules = world.router.ruleset()?;
            let set = rules.set("mine", "crowdsec-blacklists")?;
            Ok(set.element("192.0.2.3").is_some() && set.element("192.0.2.4").is_some())
        })?;
        Ok(())
    })
}

#[test]
fn an_operators_hash_set_is_filled_and_nothing_else_made() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        world.router.nft(&operators_table("ip", "mine", "type ipv4_addr; flags timeout"))?;
        world.router.nft(&operators_table("ip6", "mine", "type ipv6_addr; flags timeout"))?;
        let firewall = Firewall::start_with(world, &set_only(world, &lapi)?)?;
        let _service = world.router.echoes_on(80)?;
        eventually("the operator's rule shuts the door", || !world.visitor.reaches(&world.router, 80))?;
        let rules = world.router.ruleset()?;
        assert_eq!(rules.tables().len(), 2);
        assert_eq!(rules.chains("ip", "mine"), ["guard"]);
        let set = rules.set("mine", "crowdsec-blacklists")?;
        assert!(set.elements.iter().all(|element| element.timeout.is_some()), "{set:?}");
        lapi.lift("198.51.100.77");
        eventually("the door opens", || world.visitor.reaches(&world.router, 80))?;
        lapi.ban("198.51.100.77");
        eventually("and shuts", || !world.visitor.reaches(&world.router, 80))?;
        assert!(firewall.stop()?.success());
        let rules = world.router.ruleset()?;
        assert!(rules.set("mine", "crowdsec-blacklists")?.elements.is_empty(), "emptied on stop");
        assert_eq!(rules.tables().len(), 2, "the operator's tables stay");
        Ok(())
    })
}

#[test]
fn an_operators_interval_set_is_filled_according_to_its_flags() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        world.router.nft(&operators_table("ip", "mine", "type ipv4_addr; flags interval,timeout"))?;
        world.router.nft(&operators_table("ip6", "mine", "type ipv6_addr; flags interval"))?;
        let _firewall = Firewall::start_with(world, &set_only(world, &lapi)?)?;
        let _service = world.router.echoes_on(80)?;
        eventually("both doors shut", || is_blocked_quickly(world))?;
        // If a host became an open interval, every address above it would be blocked.
        assert!(world.neighbour.reaches(&world.router, 80) && world.neighbour.reaches_v6(&world.router, 80));
        lapi.ban("198.51.100.0/24");
        lapi.lift("198.51.100.77");
        lapi.pulled(2)?;
        throughout(Duration::from_millis(300), "the range around the host still holds", || {
            !world.visitor.reaches(&world.router, 80)
        })?;
        lapi.lift("198.51.100.0/24");
        lapi.lift("2001:db8:a::/64");
        lapi.lift("2001:db8:a::77");
        eventually("both doors open", || {
            world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80)
        })?;
        Ok(())
    })
}

#[test]
fn an_operators_inet_table_is_served_with_the_right_family() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        world.router.nft(
            "table inet mine {\n\
             set crowdsec-blacklists { type ipv4_addr; flags timeout; }\n\
             set crowdsec6-blacklists { type ipv6_addr; flags interval,timeout; }\n\
             chain guard { type filter hook input priority 0;\n\
             ip saddr @crowdsec-blacklists drop\nip6 saddr @crowdsec6-blacklists drop\n}\n}\n",
        )?;
        let _firewall = Firewall::start_with(world, &set_only(world, &lapi)?)?;
        let _service = world.router.echoes_on(80)?;
        eventually("both doors shut", || is_blocked_quickly(world))?;
        assert!(world.neighbour.reaches(&world.router, 80) && world.neighbour.reaches_v6(&world.router, 80));
        Ok(())
    })
}

#[test]
fn bans_end_in_an_operators_set_without_timeouts() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        world.router.nft(&operators_table("ip", "mine", "type ipv4_addr"))?;
        let config = set_only(world, &lapi)?.set("nftables.ipv6.enabled", false);
        let _firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        lapi.ban(Ban::of("198.51.100.77").lasting(Duration::from_secs(3)));
        eventually("the door shuts", || !world.visitor.reaches(&world.router, 80))?;
        // Without a change from the LAPI.
        lapi.close();
        eventually("the door opens when the ban is over", || world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn an_operators_table_that_comes_later_is_found() -> Outcome {
    story(|world| {
        let lapi = banning_lapi(world)?;
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &set_only(world, &lapi)?)?;
        firewall.wait_for_log("mine")?;
        let _service = world.router.echoes_on(80)?;
        world.router.nft(&operators_table("ip", "mine", "type ipv4_addr; flags timeout"))?;
        world.router.nft(&operators_table("ip6", "mine", "type ipv6_addr; flags interval,timeout"))?;
        eventually("both doors shut", || is_blocked_quickly(world))?;
        firewall.ready()?;
        Ok(())
    })
}

/// An operator's own set and a rule that uses it.
fn operators_table(family: &str, table: &str, set: &str) -> String {
    let name = if family == "ip" { "crowdsec-blacklists" } else { "crowdsec6-blacklists" };
    format!(
        "table {family} {table} {{\nset {name} {{ {set}; }}\nchain guard {{ type filter hook input priority 0;\n\
         {family} saddr @{name} drop\n}}\n}}\n"
    )
}

fn set_only(world: &World, lapi: &ScriptedLapi) -> Outcome<Config> {
    Ok(Config::new(world, &lapi.access())?
        .set("nftables.ipv4.set-only", true)
        .set("nftables.ipv4.table", "mine")
        .set("nftables.ipv6.set-only", true)
        .set("nftables.ipv6.table", "mine"))
}
