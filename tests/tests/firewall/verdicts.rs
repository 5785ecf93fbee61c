//! The verdict on packets from and to a banned address, and on those that no ban concerns.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use palisade_e2e::{
    Config, Firewall, Host, Outcome, ScriptedLapi, connect, eventually, still_answers, story,
};

use crate::shared::reaches_from;

/// A packet on an idle link takes microseconds; this is for a loaded machine.
const SOON: Duration = Duration::from_millis(400);

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
        // A datagram to a banned address and one to a free address of the same host: datagrams arrive in this order, so
        // the first to arrive is decisive.
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
fn an_allowed_address_gets_through_under_any_ban() -> Outcome {
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
        // The usual set-up: flows are tracked. A flow that is no longer known starts as a new one.
        world.router.nft(
            "table inet filter { counter known { }; counter fresh { }; chain forward { type filter hook forward \
             priority -100; ip saddr 198.51.100.77 ct state established counter name known; ip saddr \
             198.51.100.77 ct state new counter name fresh; }; }",
        )?;
        let config = Config::new(world, &lapi.access())?.set("drop_established", true);
        let _firewall = Firewall::start_with(world, &config)?;
        let to = SocketAddr::new(server.v4(), 443);
        let open = |from: &Host| from.run(|| connect(None, to, SOON));
        let (mut banned, mut other) = (open(&world.visitor)?, open(&world.neighbour)?);
        assert!(still_answers(&mut banned, SOON) && still_answers(&mut other, SOON));
        let packets = |counter: &str| -> Outcome<u64> {
            Ok(world.router.ruleset()?.counters().get(counter).map_or(0, |(packets, _)| *packets))
        };
        let fresh = packets("filter/fresh")?;
        assert!(fresh > 0 && packets("filter/known")? > 0, "the flow is known");
        lapi.ban("198.51.100.77");
        eventually("the kernel knows the flow no more", || {
            let answers = still_answers(&mut banned, Duration::from_millis(50));
            Ok(!answers && packets("filter/fresh")? > fresh)
        })?;
        assert!(!still_answers(&mut banned, SOON), "the flow is cut");
        assert!(still_answers(&mut other, SOON), "somebody else's flow goes on");
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
            world.router.tool(["nft", "-nn", "list", "chain", "ip", "crowdsec", "crowdsec-chain.deny"])?;
        let log = rules.lines().find(|line| line.contains("log ")).unwrap_or_default();
        assert!(log.contains("prefix \"story: \"") && log.contains("group 7"), "{rules}");
        assert!(log.contains("limit rate 1/hour"), "{rules}");
        assert!(!log.contains("drop"), "the limit would decide the verdict: {rules}");
        for attempt in 1..=8 {
            assert!(!world.visitor.reaches(&world.router, 80), "attempt {attempt}");
        }
        Ok(())
    })
}
