//! What decisions do to requests: severity, places, filters, failures of the LAPI, and what is open already.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Host, Lapi, Make, Outcome, Place, Proxy, ProxyConfig, ScriptedLapi, World, against_either_lapi,
    default_timeout, eventually, pace, story, throughout, write_mmdb,
};
use serde_json::{Value, json};

against_either_lapi!(
    the_most_severe_of_address_and_range_applies,
    countries_and_systems_are_enforced_and_databases_reloaded,
    a_captcha_is_shown_until_it_is_lifted,
    a_throttled_visitor_is_told_when_to_come_back,
    bans_end_and_hold_while_the_lapi_is_away,
    routes_have_policies_of_their_own,
    in_live_mode_each_client_is_looked_up_and_an_unban_takes_effect,
    a_ban_ends_what_its_client_has_open,
    commands_and_metrics_tell_what_is_done,
);

/// A proxy that believes `X-Forwarded-For` of the visitor, so that a test has as many clients as it likes.
pub(crate) fn behind_visitor(world: &World, lapi: &Lapi, upstream: &str) -> Outcome<ProxyConfig> {
    Ok(ProxyConfig::new(world, &lapi.access(), upstream)?.set("trusted_proxies", json!(["198.51.100.0/24"])))
}

/// The status that a client receives.
fn status(world: &World, proxy: &Proxy, client: &str) -> Outcome<u16> {
    Ok(proxy.get(&world.visitor, "/", &[("X-Forwarded-For", client)])?.status)
}

fn becomes(world: &World, proxy: &Proxy, client: &str, expected: u16) -> Outcome {
    eventually(&format!("{client} receives {expected}"), || Ok(status(world, proxy, client)? == expected))
        .map(drop)
}

fn the_most_severe_of_address_and_range_applies(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let proxy = Proxy::start(world, &behind_visitor(world, &lapi, &app.url())?)?;
    lapi.ban(Ban::of("192.0.2.7").kind("captcha"))?;
    let range = lapi.ban("192.0.2.0/24")?;
    lapi.ban("2001:db8:1::/48")?;
    becomes(world, &proxy, "192.0.2.7", 403)?;
    becomes(world, &proxy, "2001:db8:1::9", 403)?;
    assert_eq!(status(world, &proxy, "::ffff:192.0.2.200")?, 403, "mapped addresses are IPv4");
    assert_eq!((status(world, &proxy, "203.0.113.1")?, status(world, &proxy, "2001:db8:2::9")?), (200, 200));
    lapi.lift(range)?;
    becomes(world, &proxy, "192.0.2.8", 200)?;
    // The captcha, which the ban of the range hid, applies again.
    let page =
        proxy.get(&world.visitor, "/", &[("X-Forwarded-For", "192.0.2.7"), ("Accept", "text/html")])?;
    assert_eq!((page.status, page.text().contains("GET /")), (200, false), "{}", page.text());
    // What is unknown falls back to a ban and is never let through.
    lapi.ban(Ban::of("192.0.2.9").kind("mfa"))?;
    becomes(world, &proxy, "192.0.2.9", 403)
}

fn countries_and_systems_are_enforced_and_databases_reloaded(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let (countries, systems) = (world.fresh_path("country.mmdb"), world.fresh_path("asn.mmdb"));
    write_mmdb(
        &countries,
        &[
            ("192.0.2.0/25", Place::Country("FR")),
            ("192.0.2.128/25", Place::RegisteredCountry("FR")),
            ("2001:db8:7::/48", Place::Country("FR")),
            ("203.0.113.0/24", Place::Country("DE")),
        ],
    )?;
    write_mmdb(&systems, &[("203.0.113.0/25", Place::System(64500))])?;
    let config = behind_visitor(world, &lapi, &app.url())?
        .set("geo", json!({ "country": countries, "asn": systems }))
        .set("decisions", json!({ "scopes": ["ip", "range", "country", "as"] }));
    let mut proxy = Proxy::start(world, &config)?;
    lapi.ban(Ban::of("fr").scope("Country"))?;
    lapi.ban(Ban::of("AS64500").scope("AS"))?;
    for (client, expected) in [
        ("192.0.2.7", 403),
        ("192.0.2.200", 403),
        ("2001:db8:7::1", 403),
        ("203.0.113.7", 403),
        ("203.0.113.200", 200),
        ("10.9.8.7", 200),
    ] {
        becomes(world, &proxy, client, expected)?;
    }
    // Another database, and one that is none: that keeps the one in use.
    write_mmdb(&countries, &[("192.0.2.0/24", Place::Country("DE"))])?;
    std::fs::write(&systems, "junk")?;
    assert!(proxy.reload().is_err() || status(world, &proxy, "203.0.113.7")? == 403);
    write_mmdb(&systems, &[("203.0.113.0/25", Place::System(64500))])?;
    proxy.reload()?;
    becomes(world, &proxy, "192.0.2.7", 200)?;
    assert_eq!(status(world, &proxy, "203.0.113.7")?, 403);
    Ok(())
}

fn a_captcha_is_shown_until_it_is_lifted(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &app.url())?)?;
    let captcha = lapi.ban(Ban::of(world.visitor.v4().to_string()).kind("captcha"))?;
    let browser = [("Accept", "text/html,application/xhtml+xml")];
    eventually("the captcha is shown", || {
        let reply = proxy.get(&world.visitor, "/", &browser)?;
        Ok(reply.status == 200 && !reply.text().contains("GET /"))
    })?;
    proxy.get(&world.visitor, "/private?x=1", &browser)?;
    // A program cannot solve it and gets a status that says so.
    let program = proxy.get(&world.visitor, "/api", &[("Accept", "application/json")])?;
    assert_eq!(program.status, 403, "{}", program.text());
    assert!(app.requests().iter().all(|request| !request.contains("/private?x=1")));
    lapi.lift(captcha)?;
    eventually("the application is back", || {
        Ok(proxy.get(&world.visitor, "/private", &browser)?.text().contains("GET /private"))
    })?;
    Ok(())
}

fn a_throttled_visitor_is_told_when_to_come_back(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let limit = json!({ "throttle": { "requests": 1, "period": "1m", "burst": 3 } });
    let config = behind_visitor(world, &lapi, &app.url())?.set("decisions", limit);
    let proxy = Proxy::start(world, &config)?;
    lapi.ban(Ban::of("192.0.2.7").kind("throttle"))?;
    let mut last = None;
    eventually("the burst is used up", || {
        let reply = proxy.get(&world.visitor, "/", &[("X-Forwarded-For", "192.0.2.7")])?;
        let is_limited = reply.status == 429;
        last = Some(reply);
        Ok(is_limited)
    })?;
    let retry_after = last.as_ref().and_then(|reply| reply.header("retry-after")?.parse::<u64>().ok());
    assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{last:?}");
    for _ in 0..10 {
        assert_eq!(status(world, &proxy, "192.0.2.8")?, 200, "another client is not limited");
    }
    Ok(())
}

fn bans_end_and_hold_while_the_lapi_is_away(world: &World, make: Make) -> Outcome {
    let mut lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let config = behind_visitor(world, &lapi, &app.url())?;
    let proxy = Proxy::start(world, &config)?;
    lapi.ban(Ban::of("192.0.2.7").lasting(Duration::from_secs(15)))?;
    lapi.ban("192.0.2.8")?;
    becomes(world, &proxy, "192.0.2.7", 403)?;
    becomes(world, &proxy, "192.0.2.8", 403)?;
    lapi.down();
    becomes(world, &proxy, "192.0.2.7", 200)?;
    assert_eq!(status(world, &proxy, "192.0.2.8")?, 403);
    // Decisions outlive the process. They are written a moment after they have arrived.
    assert!(proxy.stop()?.success());
    let proxy = Proxy::start(world, &config)?;
    assert_eq!((status(world, &proxy, "192.0.2.8")?, status(world, &proxy, "192.0.2.9")?), (403, 200));
    let (_, text) = proxy.command(world, &["lookup", "192.0.2.8"])?;
    assert!(text.contains("denied (ban on every route)"), "{text}");
    Ok(())
}

#[test]
fn without_a_lapi_at_the_start_each_route_does_what_it_says() -> Outcome {
    story(|world| {
        let mut lapi = ScriptedLapi::start(&world.router)?;
        lapi.close();
        let app = world.application(&world.router)?;
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("routes.0.path_prefix", "/open")
            .set("routes.0.decisions", json!({ "on_start": "open" }))
            .push("routes", json!({ "upstream": app.url(), "path_prefix": "/closed", "decisions": { "on_start": "closed" } }));
        let proxy = Proxy::start(world, &config)?;
        let status =
            |path: &str| Ok::<_, palisade_e2e::Failure>(proxy.get(&world.visitor, path, &[])?.status);
        assert_eq!((status("/open")?, status("/closed")?), (200, 503));
        // `wait` accepts no connection.
        let waiting = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("decisions", json!({ "on_start": "wait" }));
        let mut waits = Proxy::launch(world, &waiting)?;
        throughout(Duration::from_secs(1), "it does not accept", || Ok(!waits.is_ready()?))?;
        lapi.open()?;
        waits.ready()?;
        assert_eq!(waits.get(&world.visitor, "/", &[])?.status, 200);
        eventually("decisions are known", || Ok(status("/closed")? == 200))?;
        Ok(())
    })
}

#[test]
fn decisions_that_are_too_old_follow_the_policy() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban(world.visitor.v4());
        let app = world.application(&world.router)?;
        let route = |prefix: &str, policy: &str| {
            let decisions = json!({ "max_staleness": "2s", "on_failure": policy });
            json!({ "upstream": app.url(), "path_prefix": prefix, "decisions": decisions })
        };
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .push("routes", route("/keep", "keep"))
            .push("routes", route("/open", "open"))
            .push("routes", route("/closed", "closed"));
        let proxy = Proxy::start(world, &config)?;
        let all = |host: &Host| {
            let status = |path: &str| Ok::<_, palisade_e2e::Failure>(proxy.get(host, path, &[])?.status);
            Ok::<_, palisade_e2e::Failure>([status("/keep")?, status("/open")?, status("/closed")?])
        };
        eventually("the visitor is banned", || Ok(all(&world.visitor)? == [403; 3]))?;
        assert_eq!(all(&world.neighbour)?, [200; 3]);
        lapi.close();
        eventually("decisions are too old", || Ok(all(&world.visitor)? == [403, 200, 503]))?;
        assert_eq!(all(&world.neighbour)?, [200, 200, 503]);
        Ok(())
    })
}

fn routes_have_policies_of_their_own(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let route = |prefix: &str, decisions: Value| json!({ "upstream": app.url(), "path_prefix": prefix, "decisions": decisions, "name": prefix });
    let config = behind_visitor(world, &lapi, &app.url())?
        .push("routes", route("/logged", json!({ "log_only": true })))
        .push("routes", route("/off", json!({ "mode": "off" })))
        .push("routes", route("/exempt", json!({ "exempt": ["192.0.2.0/28"] })))
        .push("routes", route("/lists", json!({ "origins": ["lists:tor"] })))
        .push("routes", route("/addresses", json!({ "scopes": ["ip"] })))
        .push("routes", route("/teapot", json!({ "ban_status": 418 })));
    let proxy = Proxy::start(world, &config)?;
    lapi.ban(Ban::of("192.0.2.0/24"))?;
    becomes(world, &proxy, "192.0.2.7", 403)?;
    for (path, client, expected) in [
        ("/logged", "192.0.2.7", 200),
        ("/off", "192.0.2.7", 200),
        ("/exempt", "192.0.2.7", 200),
        ("/exempt", "192.0.2.77", 403),
        ("/lists", "192.0.2.7", 200),
        ("/addresses", "192.0.2.7", 200),
        ("/teapot", "192.0.2.7", 418),
    ] {
        let reply = proxy.get(&world.visitor, path, &[("X-Forwarded-For", client)])?;
        assert_eq!(reply.status, expected, "{path} for {client}");
    }
    let metrics = proxy.metrics()?;
    let logged = metrics.iter().find(|(name, _)| name.contains("log_only=\"true\""));
    assert!(
        logged.is_some_and(|(name, count)| name.contains("route=\"/logged\"") && *count >= 1.0),
        "{metrics:#?}"
    );
    Ok(())
}

fn in_live_mode_each_client_is_looked_up_and_an_unban_takes_effect(world: &World, make: Make) -> Outcome {
    let mut lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let policies = json!({ "mode": "live", "on_failure": "closed" });
    let config = behind_visitor(world, &lapi, &app.url())?
        // Of the stream it hears nothing after the first response.
        .set("update_frequency", "1h")
        .set("live", json!({ "timeout": "10s", "hit_ttl": "1s", "miss_ttl": "1s" }))
        .set("decisions", policies);
    let proxy = Proxy::start(world, &config)?;
    assert_eq!(status(world, &proxy, "192.0.2.7")?, 200);
    let ban = lapi.ban("192.0.2.0/24")?;
    becomes(world, &proxy, "192.0.2.7", 403)?;
    lapi.lift(ban)?;
    becomes(world, &proxy, "192.0.2.7", 200)?;
    lapi.down();
    becomes(world, &proxy, "192.0.2.7", 503)?;
    lapi.up(world)?;
    becomes(world, &proxy, "192.0.2.7", 200)
}

#[test]
fn usage_is_shown_by_the_admin_tool() -> Outcome {
    story(|world| {
        let port = world.router.free_port()?;
        let served =
            json!({ "prometheus": { "enabled": true, "listen_addr": "127.0.0.1", "listen_port": port } });
        let lapi = Lapi::start_with(world, Make::Ours, &served)?;
        let app = world.application(&world.router)?;
        let proxy = Proxy::start(world, &behind_visitor(world, &lapi, &app.url())?)?;
        lapi.ban("192.0.2.7")?;
        becomes(world, &proxy, "192.0.2.7", 403)?;
        assert!(proxy.stop()?.success());
        let shown = lapi.admin(&["metrics", "show", "bouncers", "-o", "json"])?;
        for part in ["cscli", "processed", "request"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        Ok(())
    })
}

/// An application that never ends its responses: a download without end, and a tunnel for upgrades.
fn endless(host: &Host) -> Outcome<SocketAddr> {
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve_endlessly(stream));
        }
    });
    Ok(address)
}

fn serve_endlessly(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let (answer, pause): (&[u8], _) = if text.contains("upgrade: websocket") {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        (answer, Duration::from_millis(50))
    } else if text.starts_with("get /fast") {
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Duration::ZERO)
    } else {
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Duration::from_millis(50))
    };
    if stream.write_all(answer).is_err() {
        return;
    }
    while stream.write_all(b"5\r\nhello\r\n").is_ok() {
        pace(pause);
    }
}

fn a_ban_ends_what_its_client_has_open(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = endless(&world.router)?;
    let config = behind_visitor(world, &lapi, &format!("http://{app}"))?;
    let proxy = Proxy::start(world, &config)?;
    let open = |host: &Host, path: &str, headers: &str| {
        host.run(|| {
            let mut stream = TcpStream::connect(proxy.address())?;
            stream.set_read_timeout(Some(default_timeout()))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: example.org\r\n{headers}\r\n")?;
            // The response, or tunnel, has begun.
            stream.read_exact(&mut [0; 12])?;
            Ok::<_, std::io::Error>(stream)
        })
    };
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    // Of the neighbour, a direct peer: a slow download, a tunnel, and a connection that is only kept.
    let neighbour = &world.neighbour;
    let mut doomed = vec![open(neighbour, "/slow", "")?, open(neighbour, "/", websocket)?];
    doomed.push(neighbour.run(|| TcpStream::connect(proxy.address()))?);
    if let Some(idle) = doomed.last_mut() {
        idle.set_read_timeout(Some(default_timeout()))?;
    }
    // Of a client behind the visitor, a trusted proxy, whose other clients keep what they have.
    let banned = "X-Forwarded-For: 192.0.2.7\r\n";
    doomed.push(open(&world.visitor, "/slow", banned)?);
    doomed.push(open(&world.visitor, "/fast", banned)?);
    doomed.push(open(&world.visitor, "/", &format!("{banned}{websocket}"))?);
    let mut spared = open(&world.visitor, "/slow", "X-Forwarded-For: 192.0.2.8\r\n")?;
    lapi.ban(neighbour.v4())?;
    lapi.ban("192.0.2.7")?;
    becomes(world, &proxy, "192.0.2.7", 403)?;
    let since = Instant::now();
    for (number, stream) in doomed.iter_mut().enumerate() {
        let mut buffer = [0; 4096];
        // Until the end or a reset.
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
            assert!(since.elapsed() < default_timeout(), "connection {number} goes on");
        }
    }
    let mut more = [0; 4096];
    for _ in 0..3 {
        assert!(spared.read(&mut more)? > 0, "the connection of another client was closed");
    }
    let metrics = proxy.metrics()?;
    assert!(metrics["palisade_proxy_ended_by_ban_total"] >= 5.0, "{metrics:#?}");
    Ok(())
}

#[test]
fn what_is_open_ends_within_a_second_of_the_ban() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.modern();
        let app = endless(&world.router)?;
        let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &format!("http://{app}"))?)?;
        let mut stream = world.visitor.run(|| TcpStream::connect(proxy.address()))?;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: example.org\r\n\r\n")?;
        stream.set_read_timeout(Some(default_timeout()))?;
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer)? > 0);
        lapi.ban(world.visitor.v4());
        let since = Instant::now();
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
            assert!(since.elapsed() < default_timeout(), "it goes on");
        }
        // A second, and the interval at which the LAPI is asked; more on a busy machine.
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
        Ok(())
    })
}

#[test]
fn usage_is_reported_with_origin_remediation_and_family() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban(Ban::of("192.0.2.7").from_origin("lists:tor"));
        lapi.ban(Ban::of("2001:db8::7").kind("captcha"));
        lapi.ban(Ban::of("192.0.2.9").kind("throttle"));
        let app = world.application(&world.router)?;
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("trusted_proxies", json!(["198.51.100.0/24"]))
            .push(
                "routes",
                json!({ "upstream": app.url(), "path_prefix": "/logged", "decisions": { "log_only": true } }),
            );
        let proxy = Proxy::start(world, &config)?;
        for (client, path) in [
            ("192.0.2.7", "/"),
            ("192.0.2.7", "/logged"),
            ("2001:db8::7", "/"),
            ("192.0.2.9", "/"),
            ("192.0.2.8", "/"),
        ] {
            proxy.get(&world.visitor, path, &[("X-Forwarded-For", client)])?;
        }
        assert!(proxy.stop()?.success());
        let reports = lapi.usage_metrics();
        let component = &reports.last().ok_or_else(|| palisade_e2e::Failure::new("no report"))?["remediation_components"]
            [0];
        assert_eq!(component["type"], "palisade-proxy");
        let items = component["metrics"][0]["items"].as_array().cloned().unwrap_or_default();
        let value = |name: &str, unit: &str, labels: Value| {
            let fits =
                |item: &&Value| item["name"] == name && item["unit"] == unit && item["labels"] == labels;
            items.iter().find(fits).and_then(|item| item["value"].as_f64())
        };
        let v4 = "ipv4";
        // What was only logged, and what stayed within its limit, was let through.
        assert_eq!(value("processed", "request", json!({ "ip_type": v4 })), Some(4.0), "{items:#?}");
        assert_eq!(value("processed", "request", json!({ "ip_type": "ipv6" })), Some(1.0), "{items:#?}");
        let dropped = |origin: &str, remediation: &str, ip_type: &str| {
            let labels = json!({ "origin": origin, "remediation": remediation, "ip_type": ip_type });
            value("dropped", "request", labels)
        };
        assert_eq!(dropped("lists:tor", "ban", v4), Some(1.0), "{items:#?}");
        assert_eq!(dropped("cscli", "captcha", "ipv6"), Some(1.0), "{items:#?}");
        assert_eq!(items.iter().filter(|item| item["name"] == "dropped").count(), 2, "{items:#?}");
        let active = value("active_decisions", "ip", json!({ "origin": "lists:tor", "ip_type": v4 }));
        assert_eq!(active, Some(1.0), "{items:#?}");
        Ok(())
    })
}

fn commands_and_metrics_tell_what_is_done(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let app = world.application(&world.router)?;
    let config = behind_visitor(world, &lapi, &app.url())?
        .push("routes", json!({ "upstream": app.url(), "name": "logged", "path_prefix": "/logged", "decisions": { "log_only": true } }));
    let proxy = Proxy::start(world, &config)?;
    lapi.ban(Ban::of("192.0.2.7").kind("captcha"))?;
    lapi.ban("192.0.2.0/24")?;
    becomes(world, &proxy, "192.0.2.8", 403)?;
    let base = format!("http://example.org:{}", config.port());
    let run = |words: &[&str]| {
        let (status, text) = proxy.command(world, words)?;
        assert!(status.success(), "{words:?}: {text}");
        Ok::<_, palisade_e2e::Failure>(text)
    };
    let forwarded = ["explain", &base, "-client", "198.51.100.77", "-header", "X-Forwarded-For: 192.0.2.7"];
    let text = run(&forwarded)?;
    for part in [
        "ban (403)",
        "192.0.2.7, named by the header of the trusted proxy",
        "decision applies: ban on Range 192.0.2.0/24",
        "another decision is more severe",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let logged = run(&["explain", &format!("{base}/logged/x"), "-client", "192.0.2.7", "-json"])?;
    let report: Value = serde_json::from_str(logged.lines().last().unwrap_or_default())?;
    assert_eq!(
        (&report["result"]["action"], &report["upstreams"][0]["up"]),
        (&json!("forward"), &json!(true))
    );
    let lookup = run(&["lookup", "192.0.2.7"])?;
    assert!(lookup.contains("ban, only logged") && lookup.contains("also captcha"), "{lookup}");
    let status = run(&["status"])?;
    assert!(status.contains("2 decisions") && status.contains(&format!("{}: up", app.url())), "{status}");
    let metrics = proxy.metrics()?;
    let banned = metrics.iter().find(|(name, _)| {
        name.starts_with("palisade_proxy_remediations_total")
            && name.contains("remediation=\"ban\",origin=\"cscli\"")
    });
    assert!(banned.is_some_and(|(_, count)| *count >= 1.0), "{metrics:#?}");
    assert!(metrics.keys().any(|name| name.starts_with("palisade_proxy_request_duration_seconds_bucket")));
    Ok(())
}
