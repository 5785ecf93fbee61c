//! What the access log says, and what a log processor makes of it.

use std::path::Path;

use palisade_e2e::{
    Ban, HttpClient, Lapi, LogProcessor, Make, Outcome, Proxy, ProxyConfig, ScriptedLapi, World,
    default_timeout, eventually, eventually_within, story,
};
use serde_json::{Value, json};

use crate::decisions::behind_visitor;

#[test]
fn the_access_log_marks_what_a_decision_refused() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban(Ban::of(world.visitor.v4().to_string()).from_origin("lists:tor"));
        let app = world.application(&world.router)?;
        let log = world.fresh_path("access.log");
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("access_log", json!({ "file": log, "format": "json" }));
        let mut proxy = Proxy::start(world, &config)?;
        assert_eq!(proxy.get(&world.visitor, "/a?b=c", &[("User-Agent", "x\"y")])?.status, 403);
        assert_eq!(proxy.get(&world.neighbour, "/ok", &[])?.status, 200);
        let lines = |path: &std::path::Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Outcome<Vec<Value>>>()
        };
        eventually_within(default_timeout(), "both are written", || Ok(lines(&log)?.len() == 2))?;
        let written = lines(&log)?;
        let of =
            |target: &str| written.iter().find(|line| line["target"] == target).cloned().unwrap_or_default();
        let banned = of("/a?b=c");
        for (field, value) in [
            ("blocked", json!(true)),
            ("status", json!(403)),
            ("remediation", json!("ban")),
            ("origin", json!("lists:tor")),
            ("client", json!(world.visitor.v4())),
            ("user_agent", json!("x\"y")),
        ] {
            assert_eq!(banned[field], value, "{field}: {banned}");
        }
        let passed = of("/ok");
        assert_eq!((&passed["blocked"], &passed["upstream"]), (&json!(false), &json!(app.url())), "{passed}");
        assert!(passed["bytes_out"].as_u64().is_some_and(|bytes| bytes > 0));
        // Moved aside as by a rotation, and opened anew.
        std::fs::rename(&log, log.with_extension("1"))?;
        proxy.reload()?;
        let mut client = HttpClient::new(proxy.address());
        world.neighbour.run(|| client.ask("GET", "/later", &[], None))?;
        eventually("the new file is written", || Ok(lines(&log)?.len() == 1))?;
        Ok(())
    })
}

#[test]
fn crowdsecs_own_parser_of_nginx_logs_counts_no_ban_again() -> Outcome {
    story(|world| bans_are_not_counted_again(world, "combined", "nginx", None))
}

#[test]
fn the_parser_of_json_logs_counts_no_ban_again() -> Outcome {
    let parser = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/crowdsec/palisade-proxy-logs.yaml");
    let parser = parser.canonicalize()?;
    story(|world| bans_are_not_counted_again(world, "json", "palisade-proxy", Some(&parser)))
}

/// A banned client goes on, and another one looks for files that are not there: only the latter is a scan.
fn bans_are_not_counted_again(world: &World, format: &str, kind: &str, parser: Option<&Path>) -> Outcome {
    let lapi = Lapi::start(world, Make::Ours)?;
    let app = world.application(&world.router)?;
    let log = world.fresh_path("access.log");
    let config = behind_visitor(world, &lapi, &app.url())?
        .set("routes.0.path_prefix", "/app")
        .set("access_log", json!({ "file": log, "format": format }));
    let proxy = Proxy::start(world, &config)?;
    let mut processor = LogProcessor::prepare(world, &world.router)?;
    lapi.add_machine("web", "password")?;
    let credentials = json!({ "url": lapi.access().url, "login": "web", "password": "password" });
    processor.write_credentials(&credentials)?;
    processor.watch_web_log(&log, kind, parser)?;
    processor.start(world)?;
    lapi.ban("192.0.2.7")?;
    eventually("the client is banned", || {
        let reply = proxy.get(&world.visitor, "/app", &[("X-Forwarded-For", "192.0.2.7")])?;
        Ok(reply.status == 403)
    })?;
    for number in 0..40 {
        for (client, path, expected) in [("192.0.2.7", "/app/", 403), ("192.0.2.8", "/nothing/", 404)] {
            let reply =
                proxy.get(&world.visitor, &format!("{path}{number}"), &[("X-Forwarded-For", client)])?;
            // The scanner is banned in the middle, perhaps.
            assert!(reply.status == expected || client == "192.0.2.8", "{}", reply.status);
        }
    }
    // Whom the log processor has found scanning.
    let scanners = || {
        let alerts: Option<Vec<Value>> =
            serde_json::from_str(&lapi.as_machine("GET", "/v1/alerts", None)?)?;
        let scans = alerts
            .unwrap_or_default()
            .into_iter()
            .filter(|alert| alert["scenario"] == "crowdsecurity/http-probing");
        let sources = scans.map(|alert| alert["source"]["ip"].as_str().unwrap_or_default().to_owned());
        Ok::<_, palisade_e2e::Failure>(sources.collect::<Vec<_>>())
    };
    eventually("the scan is noticed", || Ok(scanners()?.iter().any(|source| source == "192.0.2.8")))?;
    // The lines about the banned client were written and read before.
    assert_eq!(scanners()?, ["192.0.2.8"]);
    Ok(())
}
