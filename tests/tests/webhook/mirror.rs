//! Lists over HTTP, from an unchanged file of crowdsec-blocklist-mirror.

use palisade_e2e::{
    Access, Ban, Lapi, Make, Outcome, ScriptedLapi, Webhook, World, against_either_lapi, eventually, story,
};

fn stock_file(lapi: &Access, port: u16) -> String {
    format!(
        "config_version: v1.0\ncrowdsec_config:\n  lapi_key: {}\n  lapi_url: {}\n  update_frequency: 100ms\n  \
         include_scenarios_containing: []\n  exclude_scenarios_containing: []\n  only_include_decisions_from: []\n  \
         insecure_skip_verify: false\nblocklists:\n  - format: plain_text\n    endpoint: /security/blocklist\n    \
         authentication:\n      type: none\n      user:\n      password:\n      trusted_ips:\n        - 127.0.0.1\n  \
         - format: mikrotik\n    endpoint: /mikrotik\n    authentication:\n      type: basic\n      user: router\n      \
         password: hush\nlisten_uri: 127.0.0.1:{port}\ntls:\n  cert_file:\n  key_file:\nmetrics:\n  enabled: true\n  \
         endpoint: /metrics\nlog_media: stdout\nlog_dir: /var/log/\nlog_level: info\n",
        lapi.key, lapi.url
    )
}

against_either_lapi!(an_unchanged_stock_file_serves_what_is_decided);

fn an_unchanged_stock_file_serves_what_is_decided(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let port = world.router.free_port()?;
    let webhook = Webhook::start(world, &stock_file(&lapi.access(), port), &world.fresh_path("state"))?;
    let list = || webhook.get(world, port, "/security/blocklist", &[]);
    let ban = lapi.ban(world.visitor.v4())?;
    let line = format!("{}\n", world.visitor.v4());
    eventually("the ban is listed", || Ok(list()?.text() == line))?;
    let reply = list()?;
    let tag = reply.header("etag").unwrap_or_default().to_owned();
    let again = webhook.get(world, port, "/security/blocklist", &[("If-None-Match", &tag)])?;
    assert_eq!((again.status, again.text().as_str()), (304, ""));
    assert_eq!(webhook.get(world, port, "/mikrotik", &[])?.status, 401);
    let authorised = [("Authorization", "Basic cm91dGVyOmh1c2g=")];
    let script = webhook.get(world, port, "/mikrotik?listname=door", &authorised)?.text();
    assert!(script.contains("list=door") && script.contains(&world.visitor.v4().to_string()), "{script}");
    let metrics = webhook.get(world, port, "/metrics", &[])?.text();
    assert!(metrics.contains("blocklist_requests_total{route=\"/security/blocklist\"}"), "{metrics}");
    let (_, status) = webhook.command(world, &["status"])?;
    assert!(status.contains("/security/blocklist"), "{status}");
    lapi.lift(ban)?;
    eventually("it is listed no more", || {
        let reply = list()?;
        Ok((reply.status, reply.text().trim()) == (404, "no decisions available"))
    })?;
    assert!(!webhook.log().contains("hush"));
    assert!(webhook.stop()?.success());
    Ok(())
}

#[test]
fn a_restart_without_the_lapi_serves_what_is_remembered_and_a_first_start_serves_nothing() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban(Ban::of("192.0.2.7".to_owned()));
        let access = lapi.access();
        let port = world.router.free_port()?;
        let state = world.fresh_path("state");
        let webhook = Webhook::start(world, &stock_file(&access, port), &state)?;
        let list = |webhook: &Webhook| webhook.get(world, port, "/security/blocklist", &[]);
        eventually("the ban is listed", || Ok(list(&webhook)?.text() == "192.0.2.7\n"))?;
        assert!(webhook.stop()?.success());
        drop(lapi);
        let webhook = Webhook::start(world, &stock_file(&access, port), &state)?;
        assert_eq!(list(&webhook)?.text(), "192.0.2.7\n");
        assert!(webhook.stop()?.success());
        std::fs::remove_dir_all(&state)?;
        let webhook = Webhook::start(world, &stock_file(&access, port), &state)?;
        let reply = list(&webhook)?;
        assert_eq!(reply.status, 503, "an empty list would open every door: {}", reply.text());
        assert!(webhook.stop()?.success());
        Ok(())
    })
}
