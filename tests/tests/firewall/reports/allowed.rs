//! What is allowed or protected is never in an operator's set, whatever covers it.

use palisade_e2e::{Firewall, Outcome, ScriptedLapi, World, eventually, story};

use super::{operators_tables, set_only};

#[test]
fn an_operators_hash_set_holds_neither_allowed_addresses_nor_the_lapi() -> Outcome {
    story(|world| carves_out(world, "timeout"))
}

#[test]
fn an_operators_interval_set_holds_neither_allowed_addresses_nor_the_lapi() -> Outcome {
    story(|world| carves_out(world, "interval,timeout"))
}

fn carves_out(world: &World, flags: &str) -> Outcome {
    let interval = flags.contains("interval");
    // The LAPI is on a host of its own, so that its address is protected as the LAPI's and not as our own.
    let server = world.server()?;
    let lapi = ScriptedLapi::start_at(&server, server.v4())?;
    operators_tables(world, flags)?;
    let config = set_only(world, &lapi)?
        .set("allow.addresses", vec!["192.0.2.77", "192.0.2.128/28", "2001:db8:c::77"])
        .set("protect_lapi", true);
    lapi.ban_all(["192.0.2.0/24", "2001:db8:c::/64"].map(palisade_e2e::Ban::of));
    let hosts = ["192.0.2.77", "192.0.2.10", "192.0.2.9", "192.0.2.76", "192.0.2.78", "192.0.2.130"];
    lapi.ban_all(hosts.map(palisade_e2e::Ban::of));
    lapi.ban_all(["2001:db8:c::77", "2001:db8:c::78"].map(palisade_e2e::Ban::of));
    let mut firewall = Firewall::start_with(world, &config)?;
    let holds = |address: &str| is_held(world, address);
    let exact = |when: &str| {
        for address in ["192.0.2.77", "192.0.2.10", "192.0.2.130", "2001:db8:c::77"] {
            assert!(!holds(address), "{address} is exempt, {when}");
        }
        for address in ["192.0.2.9", "192.0.2.76", "192.0.2.78", "2001:db8:c::78"] {
            assert!(holds(address), "{address} is banned, {when}");
        }
        for address in
            ["192.0.2.0", "192.0.2.11", "192.0.2.127", "192.0.2.144", "192.0.2.255", "2001:db8:c::"]
        {
            assert_eq!(holds(address), interval, "{address} lies in a range only, {when}");
        }
        for address in ["192.0.1.255", "192.0.3.0", "255.255.255.254", "2001:db8:c:1::"] {
            assert!(!holds(address), "{address} is not banned, {when}");
        }
    };
    exact("after the start");
    lapi.ban("192.0.0.0/16");
    lapi.ban("192.0.2.129");
    lapi.pulled(2)?;
    lapi.lift("192.0.0.0/16");
    lapi.ban("198.51.100.200");
    eventually("both changes are in force", || holds("198.51.100.200") && !holds("192.0.4.1"))?;
    exact("after a wider range came and went");
    // The LAPI answers through all of it.
    lapi.pulled(3)?;
    // What is allowed no more is banned, and what is allowed now goes.
    config.set("allow.addresses", vec!["192.0.2.78"]).write_to(firewall.config_file())?;
    firewall.reload()?;
    eventually("the reload is in force", || holds("192.0.2.77") && !holds("192.0.2.78"))?;
    assert!(!holds("192.0.2.10") && holds("192.0.2.130"));
    firewall.process().kill()?;
    Ok(())
}

/// Whether the operator's set holds this very address, as the kernel itself sees it.
fn is_held(world: &World, address: &str) -> bool {
    let (family, set) =
        if address.contains(':') { ("ip6", "crowdsec6-blacklists") } else { ("ip", "crowdsec-blacklists") };
    let element = format!("{{ {address} }}");
    world.router.tool(["nft", "get", "element", family, "mine", set, &element]).is_ok()
}
