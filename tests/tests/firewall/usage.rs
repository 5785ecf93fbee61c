//! What was dropped is reported to the LAPI: in the form it takes, nothing twice, nothing lost.

use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, default_timeout, eventually_within, story,
    tools,
};
use serde_json::Value;

#[test]
fn usage_is_reported_at_the_end_in_the_form_the_lapi_takes() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban(Ban::of("2001:db8:a::/64").from_origin("lists:tor"));
        lapi.ban("2001:db8::1");
        let firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        assert!(!world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80));
        assert!(world.neighbour.reaches(&world.router, 80));
        assert!(firewall.stop()?.success());
        let reports = lapi.usage_metrics();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let components = reports[0]["remediation_components"].as_array().cloned().unwrap_or_default();
        assert_eq!(components.len(), 1);
        let component = &components[0];
        assert_eq!(component["type"], "palisade-firewall");
        assert!(component["version"].as_str().is_some_and(|version| version.starts_with('v')), "{component}");
        assert!(component["feature_flags"].is_array(), "an object is refused");
        assert!(component["utc_startup_timestamp"].as_i64().is_some_and(|at| at > 1_600_000_000));
        assert!(component["os"]["name"].is_string() && component["os"]["version"].is_string());
        let windows = component["metrics"].as_array().cloned().unwrap_or_default();
        assert_eq!(windows.len(), 1, "an array, whatever the guide says");
        assert!(windows[0]["meta"]["window_size_seconds"].is_i64());
        assert!(windows[0]["meta"]["utc_now_timestamp"].is_i64());
        let items = windows[0]["items"].as_array().cloned().unwrap_or_default();
        let value = |name: &str, unit: &str, labels: &[(&str, &str)]| {
            let fits = |item: &&Value| {
                item["name"] == name
                    && item["unit"] == unit
                    && labels.iter().all(|(label, text)| item["labels"][label] == *text)
            };
            items.iter().find(fits).and_then(|item| item["value"].as_f64()).unwrap_or(-1.0)
        };
        let cscli = [("origin", "cscli"), ("ip_type", "ipv4")];
        let listed = [("origin", "lists:tor"), ("ip_type", "ipv6")];
        assert_eq!(value("active_decisions", "ip", &cscli), 1.0, "{items:#?}");
        assert_eq!(value("active_decisions", "ip", &listed), 1.0, "{items:#?}");
        assert!(value("dropped", "packet", &cscli) > 0.0, "{items:#?}");
        assert!(value("dropped", "byte", &cscli) > value("dropped", "packet", &cscli), "{items:#?}");
        assert!(value("dropped", "packet", &listed) > 0.0, "{items:#?}");
        assert!(value("processed", "packet", &[("ip_type", "ipv4")]) > 0.0, "{items:#?}");
        assert!(value("processed", "byte", &[("ip_type", "ipv6")]) > 0.0, "{items:#?}");
        // The same key as the stream's, or the LAPI takes it for another bouncer.
        let seen = lapi.seen();
        let pushed = seen.iter().find(|seen| seen.path == "/v1/usage-metrics");
        let headers = pushed.map(|seen| (seen.header("x-api-key"), seen.header("user-agent")));
        let agent = headers.and_then(|(_, agent)| agent).unwrap_or_default();
        assert_eq!(headers.and_then(|(key, _)| key), Some("key-of-the-story"));
        assert_eq!(agent.matches('/').count(), 1, "type/version: {agent}");
        Ok(())
    })
}

#[test]
fn a_lapi_that_accepts_no_report_does_not_delay_the_shutdown() -> Outcome {
    story(|world| {
        for status in [404, 500] {
            let lapi = ScriptedLapi::start(&world.router)?;
            lapi.answer_usage_metrics_with(status);
            let firewall = Firewall::start(world, &lapi.access())?;
            let told = Instant::now();
            assert!(firewall.stop()?.success());
            assert!(told.elapsed() < Duration::from_secs(8), "{status}: {:?}", told.elapsed());
            assert!(world.router.ruleset()?.tables().is_empty());
        }
        let lapi = ScriptedLapi::start(&world.router)?;
        let firewall = Firewall::start(world, &lapi.access())?;
        lapi.close();
        assert!(firewall.stop()?.success());
        assert!(world.router.ruleset()?.tables().is_empty());
        Ok(())
    })
}

#[test]
fn what_could_not_be_delivered_is_in_the_next_report() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.answer_usage_metrics_with(500);
        // A quarter of an hour takes five seconds.
        let config = Config::new(world, &lapi.access())?.set("update_frequency", "60s");
        let path = config.write(world)?;
        let program = tools::command_in(tools::Time::Faster(180), Implementation::under_test()?.program())?;
        let mut firewall = Firewall::launch_prepared(world, &world.router, program, &path, &config)?;
        firewall.ready()?;
        let _service = world.router.echoes_on(80)?;
        let knock = || assert!(!world.visitor.reaches(&world.router, 80));
        let reported = |count: usize| {
            eventually_within(default_timeout() * 2, "a report", || lapi.usage_metrics().len() >= count)?;
            Ok::<_, palisade_e2e::Failure>(dropped(&lapi.usage_metrics()[count - 1]))
        };
        knock();
        let first = reported(1)?;
        assert!(first > 0.0);
        knock();
        let second = reported(2)?;
        assert!(second > first, "what was refused is told again: {first}, {second}");
        lapi.answer_usage_metrics_with(201);
        let third = reported(3)?;
        assert!(third >= second, "{second}, {third}");
        let fourth = reported(4)?;
        assert!(fourth.abs() < 0.5, "what was taken is not told again: {fourth}");
        knock();
        assert!(firewall.stop()?.success());
        let last = lapi.usage_metrics().last().map(dropped);
        assert!(last.is_some_and(|last| last > 0.0 && last <= third), "{last:?}");
        Ok(())
    })
}

/// Packets reported as dropped.
fn dropped(report: &Value) -> f64 {
    let items = &report["remediation_components"][0]["metrics"][0]["items"];
    let items = items.as_array().into_iter().flatten();
    let packets = items.filter(|item| item["name"] == "dropped" && item["unit"] == "packet");
    packets.filter_map(|item| item["value"].as_f64()).sum()
}
