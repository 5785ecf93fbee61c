//! Decisions that would cut the host off: its own addresses, its network, its gateway and name server, everything.

use std::net::SocketAddr;
use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Firewall, Outcome, ScriptedLapi, World, connect, eventually, story, throughout,
};

use super::{operators_tables, set_only};

const ODD: [&str; 15] = [
    "0.0.0.0/0",
    "::/0",
    "198.51.100.1",
    "2001:db8:a::1",
    "198.51.100.0/24",
    "2001:db8:a::/64",
    "203.0.113.9",
    "192.0.2.53",
    "127.0.0.0/8",
    "127.0.0.1",
    "::1",
    "169.254.0.0/16",
    "fe80::/10",
    "224.0.0.0/4",
    "128.0.0.0/1",
];

#[test]
fn bans_of_the_host_itself_leave_it_reachable_and_are_warned_of() -> Outcome {
    story(|world| stays_reachable(world, false))
}

#[test]
fn bans_of_the_host_itself_leave_it_reachable_through_an_operators_set() -> Outcome {
    story(|world| stays_reachable(world, true))
}

fn stays_reachable(world: &World, operators_set: bool) -> Outcome {
    // The gateway, and a name server on another host.
    world.router.feed(["ip", "-batch", "-"], "route add default via 203.0.113.9\n")?;
    let resolv = world.fresh_path("resolv.conf");
    std::fs::write(&resolv, "nameserver 192.0.2.53\n")?;
    world.router.tool(["mount", "--bind", &resolv.display().to_string(), "/etc/resolv.conf"])?;
    world.visitor.add_address("169.254.7.7/16")?;
    world.visitor.add_address("fe80::7/64")?;
    let addresses =
        "address add 169.254.7.1/16 dev to-visitor\naddress add fe80::1/64 dev to-visitor nodad\n";
    world.router.feed(["ip", "-batch", "-"], addresses)?;

    let lapi = ScriptedLapi::start(&world.router)?;
    let config = if operators_set {
        operators_tables(world, "interval,timeout")?;
        set_only(world, &lapi)?
    } else {
        Config::new(world, &lapi.access())?.set("nftables_hooks", vec!["input", "forward", "output"])
    };
    let _service = world.router.echoes_on(80)?;
    let mut firewall = Firewall::start_with(world, &config)?;
    assert!(world.visitor.reaches(&world.router, 80) && world.neighbour.reaches_v6(&world.router, 80));
    lapi.ban_all(ODD.map(|value| Ban::of(value).from_origin("CAPI")));
    eventually("the host's own subnet is banned", || {
        !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
    })?;
    eventually("its gateway too", || !world.neighbour.reaches(&world.router, 80))?;
    let at = |text: &str| -> SocketAddr { text.parse().expect("an address with a port") };
    let here = world.visitor.tool(["ip", "-j", "link", "show", "dev", "eth0"])?;
    let here: serde_json::Value = serde_json::from_str(&here)?;
    let link_local = format!("[fe80::1%{}]:80", here[0]["ifindex"]);
    throughout(Duration::from_secs(1), "the host reaches itself, and link-local addresses reach it", || {
        let itself = ["127.0.0.1:80", "198.51.100.1:80", "203.0.113.1:80", "[::1]:80", "[2001:db8:a::1]:80"];
        let itself = itself.iter().all(|to| world.router.reaches_at(at(to)));
        let by_link = world.visitor.reaches_from("169.254.7.7", at("169.254.7.1:80"));
        let to = at(&link_local);
        let by_link_v6 = world.visitor.run(|| connect(None, to, Duration::from_millis(400)).is_ok());
        // Neither of the ranges that cover all addresses is in force.
        let others = world.neighbour.reaches_v6(&world.router, 80);
        assert_eq!((itself, by_link, by_link_v6, others), (true, true, true, true));
        true
    })?;

    let log = firewall.process().log();
    let said = |parts: &[&str]| -> Vec<String> {
        let lines = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.map(str::to_owned).collect()
    };
    for (range, key) in [
        ("0.0.0.0/0", "shortest_prefix.ipv4"),
        ("::/0", "shortest_prefix.ipv6"),
        ("224.0.0.0/4", "shortest_prefix.ipv4"),
        ("128.0.0.0/1", "shortest_prefix.ipv4"),
    ] {
        let lines = said(&["level=warning", range, key]);
        assert_eq!(lines.len(), 1, "one warning about {range}:\n{log}");
    }
    for (decision, what) in [
        ("198.51.100.1", "own address"),
        ("198.51.100.0/24", "own network"),
        ("2001:db8:a::/64", "own network"),
        ("203.0.113.9", "gateway"),
        ("192.0.2.53", "name server"),
    ] {
        let lines = said(&["level=warning", decision, what]);
        assert_eq!(lines.len(), 1, "one warning about {decision}:\n{log}");
    }
    // Logged once, however often everything is compared.
    let lines = log.lines().filter(|line| line.contains("level=warning")).count();
    firewall.reload()?;
    lapi.pulled(3)?;
    firewall.wait_for_log("configuration reloaded")?;
    let again = firewall.log();
    let again: Vec<_> = again.lines().filter(|line| line.contains("level=warning")).collect();
    assert_eq!(again.len(), lines, "{again:#?}");
    // The LAPI counts what is enforced, and so does the log.
    assert!(firewall.process().exited().is_none());
    Ok(())
}

#[test]
fn a_configured_ban_of_everything_spares_the_host_itself() -> Outcome {
    story(|world| everything_is_banned(world, false))
}

#[test]
fn a_configured_ban_of_everything_spares_the_host_itself_in_an_operators_set() -> Outcome {
    story(|world| everything_is_banned(world, true))
}

/// `shortest_prefix` 0: everything may be banned, and the host's own addresses stay let through.
fn everything_is_banned(world: &World, operators_set: bool) -> Outcome {
    let lapi = ScriptedLapi::start(&world.router)?;
    lapi.ban_all(["0.0.0.0/0", "::/0"].map(Ban::of));
    let config = if operators_set {
        operators_tables(world, "interval,timeout")?;
        set_only(world, &lapi)?
    } else {
        Config::new(world, &lapi.access())?
    };
    let config = config.set("allow.addresses", vec!["203.0.113.9"]);
    let mut firewall = Firewall::start_with(world, &config)?;
    let _service = world.router.echoes_on(80)?;
    assert!(world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80));
    let wide = config.clone().set("shortest_prefix.ipv4", 0).set("shortest_prefix.ipv6", 0);
    wide.write_to(firewall.config_file())?;
    firewall.reload()?;
    eventually("everything is banned", || {
        !world.visitor.reaches(&world.router, 80)
            && !world.visitor.reaches_v6(&world.router, 80)
            && !world.neighbour.reaches_v6(&world.router, 80)
    })?;
    let at = |text: &str| -> SocketAddr { text.parse().expect("an address with a port") };
    for own in ["127.0.0.1:80", "198.51.100.1:80", "[::1]:80", "[2001:db8:a::1]:80"] {
        assert!(world.router.reaches_at(at(own)), "{own}");
    }
    assert!(world.neighbour.reaches(&world.router, 80), "what is allowed");
    lapi.lift("0.0.0.0/0");
    eventually("half of it is lifted", || world.visitor.reaches(&world.router, 80))?;
    assert!(!world.visitor.reaches_v6(&world.router, 80));
    lapi.ban("0.0.0.0/0");
    eventually("and banned again", || !world.visitor.reaches(&world.router, 80))?;
    config.write_to(firewall.config_file())?;
    firewall.reload()?;
    eventually("the default refuses both", || {
        world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80)
    })?;
    assert!(firewall.stop()?.success());
    Ok(())
}
