//! nginx as the receiver, and before it.

use std::time::Duration;

use palisade_e2e::{
    NginxFront, Outcome, Receiver, ScriptedLapi, Truth, Webhook, eventually, many_addresses, pace, story,
    webhook_file,
};
use serde_json::json;

#[test]
fn nginx_takes_messages_with_200_and_with_204() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all(many_addresses(50).map(Into::into));
        let log = world.fresh_path("access.log");
        let server = format!(
            "access_log {} combined; location /ok {{ return 200 'thank you'; }} location /empty {{ return 204; }}",
            log.display()
        );
        let nginx = NginxFront::start_server(world, &world.router, "", &server)?;
        let endpoints = ["ok", "empty"].map(|path| {
            json!({
                "name": path, "url": format!("http://127.0.0.1:{}/{path}", nginx.port()),
                "allow_addresses": ["127.0.0.1"],
            })
        });
        let config = webhook_file(&lapi.access(), &endpoints);
        let _webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        // Two marks and one part each.
        eventually("both take the snapshot", || {
            let log = std::fs::read_to_string(&log)?;
            let taken = |line: &str| log.lines().filter(|one| one.contains(line)).count();
            Ok(taken("\"POST /ok HTTP/1.1\" 200") == 3 && taken("\"POST /empty HTTP/1.1\" 204") == 3)
        })?;
        Ok(())
    })
}

#[test]
fn a_bad_gateway_is_waited_out() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let mut receiver = Receiver::start(&world.router)?;
        let truth = Truth::default();
        let address = format!("http://{}", receiver.address());
        let nginx = NginxFront::start(world, &world.router, &address, Duration::from_secs(5))?;
        let url = format!("http://127.0.0.1:{}/hook", nginx.port());
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({ "url": url }))]);
        let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        truth.ban(&lapi, "192.0.2.1")?;
        eventually("it arrives", || truth.is_held_by(&receiver))?;
        receiver.close();
        truth.ban(&lapi, "192.0.2.2")?;
        truth.lift(&lapi, "192.0.2.1")?;
        eventually("the gateway's refusal is shown", || {
            Ok(webhook.command(world, &["status"])?.1.contains("502"))
        })?;
        receiver.open()?;
        eventually("all arrives", || truth.is_held_by(&receiver))?;
        truth.explains(&receiver)
    })
}

#[test]
fn connections_that_nginx_ends_are_no_failures() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let truth = Truth::default();
        let server = format!(
            "keepalive_requests 2; keepalive_timeout 1s; location / {{ proxy_pass http://{}; }}",
            receiver.address()
        );
        let nginx = NginxFront::start_server(world, &world.router, "", &server)?;
        let url = format!("http://127.0.0.1:{}/hook", nginx.port());
        let keys = json!({ "url": url, "batch": { "events": 1 } });
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", keys)]);
        let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        for round in 1..=3 {
            for address in many_addresses(30 * round).skip(30 * (round as usize - 1)) {
                truth.ban(&lapi, &address)?;
            }
            eventually("all arrives", || truth.is_held_by(&receiver))?;
            // Longer than connections are kept.
            pace(Duration::from_millis(1200));
        }
        truth.explains(&receiver)?;
        let messages = receiver.request_count();
        assert!(messages >= 90, "{messages}");
        assert!(!webhook.log().contains("deliveries fail"), "{}", webhook.log());
        Ok(())
    })
}
