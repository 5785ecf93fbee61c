//! A ban in a real LAPI closes the door in a real kernel, to exactly whom it names, for exactly as long.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Config, CrowdSec, Firewall, Host, Outcome, ScriptedLapi, World, connect, eventually,
    eventually_within, still_answers, story, throughout,
};

/// A packet on an idle link takes microseconds; this is for a loaded machine.
const SOON: Duration = Duration::from_millis(400);

#[test]
fn a_banned_host_is_cut_off_and_let_back_in() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(world.visitor.reaches(&world.router, 80) && world.visitor.reaches_v6(&world.router, 80));
        let v4 = lapi.ban(world.visitor.v4())?;
        eventually("the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
        assert!(world.visitor.reaches_v6(&world.router, 80), "its IPv6 address is not banned");
        let v6 = lapi.ban(world.visitor.v6())?;
        eventually("the visitor is cut off over IPv6", || !world.visitor.reaches_v6(&world.router, 80))?;
        assert!(world.neighbour.reaches(&world.router, 80) && world.neighbour.reaches_v6(&world.router, 80));
        lapi.lift(v4)?;
        eventually("the visitor is let back in", || world.visitor.reaches(&world.router, 80))?;
        assert!(!world.visitor.reaches_v6(&world.router, 80), "only one ban was lifted");
        lapi.lift(v6)?;
        eventually("the visitor is let back in over IPv6", || world.visitor.reaches_v6(&world.router, 80))?;
        assert!(firewall.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_banned_range_cuts_off_every_address_in_it_and_none_beside_it() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        for address in ["198.51.100.64", "198.51.100.95", "198.51.100.63", "198.51.100.96", "2001:db8:a::1:0"]
        {
            world.visitor.add_address(address)?;
        }
        let reaches = |from: &str| reaches_from(world, from);
        let range = lapi.ban("198.51.100.64/27")?;
        eventually("the visitor is cut off by its range", || !reaches("198.51.100.77"))?;
        assert!(!reaches("198.51.100.64"), "the first address of the range");
        assert!(!reaches("198.51.100.95"), "the last address of the range");
        assert!(reaches("198.51.100.63"), "the address before the range");
        assert!(reaches("198.51.100.96"), "the address after the range");
        let range_v6 = lapi.ban("2001:db8:a::/112")?;
        eventually("the visitor is cut off by its IPv6 range", || !reaches("2001:db8:a::77"))?;
        assert!(reaches("2001:db8:a::1:0"), "the address after the IPv6 range");
        lapi.lift(range)?;
        lapi.lift(range_v6)?;
        eventually("the range is open again", || reaches("198.51.100.77") && reaches("2001:db8:a::77"))?;
        Ok(())
    })
}

#[test]
fn lifting_a_range_leaves_a_host_inside_it_banned() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        world.visitor.add_address("198.51.100.64")?;
        let reaches = |from: &str| reaches_from(world, from);
        // The range has the same first address as the host has: a bouncer that cuts at the slash mixes them up.
        let host = lapi.ban("198.51.100.64")?;
        let range = lapi.ban("198.51.100.64/27")?;
        eventually("both are cut off", || !reaches("198.51.100.64") && !reaches("198.51.100.77"))?;
        lapi.lift(range)?;
        eventually("who was banned by the range alone is let in", || reaches("198.51.100.77"))?;
        assert!(!reaches("198.51.100.64"), "the host's own ban still holds");
        lapi.lift(host)?;
        eventually("the host is let in", || reaches("198.51.100.64"))?;
        Ok(())
    })
}

#[test]
fn nested_ranges_each_hold_as_long_as_they_are_banned() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        world.visitor.add_address("198.51.100.200")?;
        let reaches = |from: &str| reaches_from(world, from);
        let outer = lapi.ban("198.51.100.0/24")?;
        eventually("all are cut off", || !reaches("198.51.100.77") && !reaches("198.51.100.200"))?;
        let inner = lapi.ban(Ban::of("198.51.100.64/26").lasting(Duration::from_secs(7200)))?;
        let innermost = lapi.ban(Ban::of("198.51.100.72/29").from_origin("lists:nested"))?;
        eventually("the innermost range is in force", || is_range(world, "198.51.100.72", "198.51.100.79"))?;
        lapi.lift(outer)?;
        eventually("who is only in the outer range is let in", || reaches("198.51.100.200"))?;
        assert!(!reaches("198.51.100.77"), "two inner ranges still hold");
        lapi.lift(innermost)?;
        throughout(Duration::from_millis(500), "the middle range still holds", || !reaches("198.51.100.77"))?;
        lapi.lift(inner)?;
        eventually("the last range is open", || reaches("198.51.100.77"))?;
        Ok(())
    })
}

#[test]
fn a_ban_ends_when_it_said_it_would() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        let lasting = Duration::from_secs(3);
        let banned = Instant::now();
        lapi.ban_all([
            Ban::of("198.51.100.77").lasting(lasting),
            Ban::of("2001:db8:a::/64").lasting(lasting),
        ])?;
        eventually("the visitor is cut off", || {
            !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
        })?;
        eventually("the visitor is let back in", || world.visitor.reaches(&world.router, 80))?;
        let lasted = banned.elapsed();
        assert!(lasted + Duration::from_millis(50) >= lasting, "it ended early, after {lasted:?}");
        eventually("its IPv6 range too", || world.visitor.reaches_v6(&world.router, 80))?;
        let lasted = banned.elapsed();
        assert!(lasted < lasting + Duration::from_secs(3), "it ended late, after {lasted:?}");
        Ok(())
    })
}

#[test]
fn other_decisions_than_bans_close_no_door_unless_asked_for() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        lapi.ban(Ban::of("198.51.100.77").kind("captcha"))?;
        lapi.ban("192.0.2.66")?;
        eventually("the ban that came later is in force", || Ok(world.router.ruleset()?.bans("192.0.2.66")))?;
        assert!(world.visitor.reaches(&world.router, 80), "a captcha is for somebody else to show");
        assert!(firewall.stop()?.success());
        let asked =
            Config::new(world, &lapi.access())?.set("supported_decisions_types", vec!["ban", "captcha"]);
        let _firewall = Firewall::start_with(world, &asked)?;
        eventually("the captcha counts as a ban", || !world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn the_forward_hook_protects_hosts_behind_the_router() -> Outcome {
    story(|world| {
        let lapi = CrowdSec::start(world)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let server = world.server()?;
        let _service = server.echoes_on(443)?;
        assert!(world.visitor.reaches(&server, 443) && world.visitor.reaches_v6(&server, 443));
        let v4 = lapi.ban(world.visitor.v4())?;
        lapi.ban(world.visitor.v6())?;
        eventually("the visitor is cut off from the server", || !world.visitor.reaches(&server, 443))?;
        eventually("over IPv6 too", || !world.visitor.reaches_v6(&server, 443))?;
        assert!(world.neighbour.reaches(&server, 443) && world.neighbour.reaches_v6(&server, 443));
        lapi.lift(v4)?;
        eventually("the visitor reaches the server again", || world.visitor.reaches(&server, 443))?;
        Ok(())
    })
}

#[test]
fn without_a_forward_hook_only_the_host_itself_is_protected() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("nftables_hooks", vec!["input"]);
        let _firewall = Firewall::start_with(world, &config)?;
        let server = world.server()?;
        let (_service, _local) = (server.echoes_on(443)?, world.router.echoes_on(80)?);
        lapi.ban("198.51.100.77");
        eventually("the visitor is cut off from the router", || !world.visitor.reaches(&world.router, 80))?;
        assert!(world.visitor.reaches(&server, 443), "nobody asked to look at forwarded packets");
        Ok(())
    })
}

#[test]
fn drop_is_silent_and_reject_answers() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8:a::77");
        let _service = world.router.echoes_on(80)?;
        // An answer that comes while the first packet is still being sent is not looked at; the second packet,
        // a second later, gets the one that counts.
        let asks = |to: IpAddr, with: ErrorKind| {
            let deadline = if with == ErrorKind::TimedOut { SOON } else { Duration::from_secs(4) };
            world.visitor.connects(None, SocketAddr::new(to, 80), deadline).err().map(|error| error.kind())
        };
        let (v4, v6) = (world.router.v4(), world.router.v6());
        for (action, with, of_v4, of_v6) in [
            ("DROP", None, ErrorKind::TimedOut, ErrorKind::TimedOut),
            // As the stock bouncer has it: code 3 in both families.
            ("reject", None, ErrorKind::ConnectionRefused, ErrorKind::HostUnreachable),
            ("REJECT", Some("port-unreachable"), ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused),
            ("REJECT", Some("tcp-reset"), ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused),
            ("REJECT", Some("admin-prohibited"), ErrorKind::HostUnreachable, ErrorKind::PermissionDenied),
        ] {
            let mut config = Config::new(world, &lapi.access())?.set("deny_action", action);
            if let Some(with) = with {
                config = config.set("reject_with", with);
            }
            let firewall = Firewall::start_with(world, &config)?;
            eventually(&format!("{action} {with:?} over IPv4 looks like {of_v4:?}"), || {
                asks(v4, of_v4) == Some(of_v4)
            })?;
            eventually(&format!("{action} {with:?} over IPv6 looks like {of_v6:?}"), || {
                asks(v6, of_v6) == Some(of_v6)
            })?;
            assert!(firewall.stop()?.success());
            assert_eq!(asks(v4, ErrorKind::TimedOut), None, "open again when it is gone");
        }
        Ok(())
    })
}

#[test]
fn banned_destinations_are_out_of_reach_when_outbound_is_blocked() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8:a::/64");
        world.visitor.add_address("198.51.100.78")?;
        let server = world.server()?;
        let ear = world.visitor.run(|| UdpSocket::bind("[::]:5353"))?;
        ear.set_read_timeout(Some(Duration::from_secs(10)))?;
        // A datagram to a banned address and one to a free address of the same host: what is let through arrives
        // in this order, so the first to arrive tells.
        let first_heard = |from: &Host| -> Outcome<String> {
            from.run(|| -> std::io::Result<()> {
                let mouth = UdpSocket::bind("0.0.0.0:0")?;
                // Refused by a local rule is as good as silently dropped.
                let _ = mouth.send_to(b"to the banned address", "198.51.100.77:5353");
                mouth.send_to(b"to the free address", "198.51.100.78:5353")?;
                Ok(())
            })?;
            let mut buffer = [0; 64];
            let mut heard = String::new();
            while heard != "to the free address" {
                let (length, _) = ear.recv_from(&mut buffer)?;
                heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
                if heard.contains("to the free address") {
                    break;
                }
            }
            Ok(heard)
        };
        let open = "to the banned addressto the free address";
        let firewall = Firewall::start(world, &lapi.access())?;
        assert_eq!(first_heard(&world.router)?, open, "outbound is not blocked unless asked for");
        assert_eq!(first_heard(&server)?, open);
        assert!(firewall.stop()?.success());
        let config = Config::new(world, &lapi.access())?.set("block_outbound", true);
        let _firewall = Firewall::start_with(world, &config)?;
        assert_eq!(first_heard(&world.router)?, "to the free address", "from the host itself");
        assert_eq!(first_heard(&server)?, "to the free address", "from behind it");
        Ok(())
    })
}

#[test]
fn who_is_allowed_is_let_in_whatever_is_banned() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        world.visitor.add_address("198.51.100.5")?;
        lapi.ban("198.51.100.0/24");
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8::/32");
        lapi.ban("203.0.113.9");
        let _service = world.router.echoes_on(80)?;
        let config = Config::new(world, &lapi.access())?
            .set("allow.addresses", vec!["198.51.100.77", "2001:db8:a::/112"])
            .set("allow.interfaces", vec!["to-neigh*"]);
        let mut firewall = Firewall::start_with(world, &config)?;
        assert!(!reaches_from(world, "198.51.100.5"), "the bans are in force");
        assert!(world.visitor.reaches(&world.router, 80), "an allowed address");
        assert!(world.visitor.reaches_v6(&world.router, 80), "an allowed prefix");
        assert!(world.neighbour.reaches(&world.router, 80), "an allowed interface");
        assert!(world.neighbour.reaches_v6(&world.router, 80), "an allowed interface, IPv6");
        // The list of the allowed follows the file.
        let path = firewall.config_file().to_owned();
        config.set("allow.addresses", vec!["198.51.100.5"]).write_to(&path)?;
        firewall.reload()?;
        eventually("who is no longer allowed is cut off", || !world.visitor.reaches(&world.router, 80))?;
        eventually("who is allowed now is let in", || reaches_from(world, "198.51.100.5"))?;
        Ok(())
    })
}

#[test]
fn the_lapi_and_loopback_are_never_cut_off() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start_at(&world.neighbour, world.neighbour.v4())?;
        world.neighbour.add_address("203.0.113.10")?;
        let (_service, _same) = (world.router.echoes_on(80)?, world.neighbour.echoes_on(81)?);
        let _firewall = Firewall::start(world, &lapi.access())?;
        for banned in ["203.0.113.9", "203.0.113.0/24", "127.0.0.1", "127.0.0.0/8", "::1", "192.0.2.66"] {
            lapi.ban(banned);
        }
        eventually("the bans are in force", || Ok(world.router.ruleset()?.bans("192.0.2.66")))?;
        let router = SocketAddr::new(world.router.v4(), 80);
        assert!(!world.neighbour.reaches_from("203.0.113.10", router), "another host of the banned range");
        assert!(world.router.reaches_at("127.0.0.1:80".parse()?), "loopback");
        assert!(world.router.reaches_at("[::1]:80".parse()?), "loopback, IPv6");
        lapi.pulled(3)?;
        lapi.lift("192.0.2.66");
        eventually("news still come from the banned LAPI", || {
            Ok(!world.router.ruleset()?.bans("192.0.2.66"))
        })?;
        Ok(())
    })
}

#[test]
fn a_newly_banned_address_loses_its_established_flows() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let server = world.server()?;
        let _service = server.echoes_on(443)?;
        // What most hosts have: flows are tracked, and packets of known ones are waved through early.
        world.router.nft(
            "table inet filter { chain forward { type filter hook forward priority -100; policy accept; ct state \
             established accept; }; }",
        )?;
        let config = Config::new(world, &lapi.access())?.set("drop_established", true);
        let _firewall = Firewall::start_with(world, &config)?;
        let to = SocketAddr::new(server.v4(), 443);
        let open = |from: &Host| from.run(|| connect(None, to, SOON));
        let (mut banned, mut other) = (open(&world.visitor)?, open(&world.neighbour)?);
        assert!(still_answers(&mut banned, SOON) && still_answers(&mut other, SOON));
        let tracked = |address: &str| Ok(flows(world)?.iter().any(|flow| flow.contains(address)));
        assert!(tracked("src=198.51.100.77")? && tracked("src=203.0.113.9")?);
        lapi.ban("198.51.100.77");
        eventually("the kernel forgets the flow", || tracked("src=198.51.100.77").map(|tracked| !tracked))?;
        assert!(!still_answers(&mut banned, SOON), "the flow is cut");
        assert!(still_answers(&mut other, SOON), "somebody else's flow goes on");
        assert!(tracked("src=203.0.113.9")?);
        Ok(())
    })
}

#[test]
fn a_log_of_denied_packets_never_limits_the_verdict() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?
            .set("deny_log", true)
            .set("deny_log_prefix", "story: ")
            .set("deny_log_rate", "1/hour")
            .set("deny_log_group", 7);
        let _firewall = Firewall::start_with(world, &config)?;
        let _service = world.router.echoes_on(80)?;
        let rules =
            world.router.tool(["nft", "-nn", "list", "chain", "ip", "crowdsec", "crowdsec-chain-input"])?;
        let log = rules.lines().find(|line| line.contains("log ")).unwrap_or_default();
        assert!(log.contains("prefix \"story: \"") && log.contains("group 7"), "{rules}");
        assert!(log.contains("limit rate 1/hour"), "{rules}");
        assert!(!log.trim_end().ends_with("drop"), "the limit would gate the verdict: {rules}");
        for attempt in 1..=8 {
            assert!(!world.visitor.reaches(&world.router, 80), "attempt {attempt}");
        }
        Ok(())
    })
}

#[test]
fn an_address_in_any_notation_is_the_address_it_means() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _service = world.router.echoes_on(80)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        for (written, v6) in [
            ("::ffff:198.51.100.77", false),
            ("198.51.100.77/32", false),
            ("198.51.100.77/24", false),
            ("2001:0DB8:000a:0::0077", true),
            ("2001:db8:a::77/128", true),
        ] {
            let reaches = || {
                let to = if v6 { world.router.v6() } else { world.router.v4() };
                world.visitor.reaches_at(SocketAddr::new(to, 80))
            };
            assert!(reaches());
            lapi.ban(written);
            eventually(&format!("{written} is cut off"), || !reaches())?;
            lapi.lift(written);
            eventually(&format!("{written} is let in"), reaches)?;
        }
        Ok(())
    })
}

#[test]
fn one_more_ban_is_in_force_within_a_poll() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        lapi.pulled(1)?;
        lapi.ban("198.51.100.77");
        let within = Duration::from_secs(1);
        eventually_within(within, "the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}

/// Whether the visitor reaches port 80 of the router from this address of its own.
fn reaches_from(world: &World, from: &str) -> bool {
    let to = if from.contains(':') { world.router.v6() } else { world.router.v4() };
    world.visitor.reaches_from(from, SocketAddr::new(to, 80))
}

/// Whether this very range, or one that holds it all, is in the kernel.
fn is_range(world: &World, first: &str, last: &str) -> Outcome<bool> {
    let spelled = format!("{first}-{last}");
    let (first, last): (IpAddr, IpAddr) = (first.parse()?, last.parse()?);
    let holds = |value: &str| {
        value == spelled
            || value
                .parse::<ipnet::IpNet>()
                .is_ok_and(|net| net.network() == first && net.broadcast() == last)
    };
    Ok(world.router.ruleset()?.banned().keys().any(|value| holds(value)))
}

/// The flows the router's kernel tracks.
fn flows(world: &World) -> Outcome<Vec<String>> {
    let listed = world.router.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
    Ok(listed?.lines().map(str::to_owned).collect())
}
