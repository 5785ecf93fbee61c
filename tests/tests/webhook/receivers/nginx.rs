//! nginx as the receiver, and before it.

use std::time::Duration;

use palisade_e2e::{
    NginxFront, Outcome, Receiver, ScriptedLapi, Truth, Webhook, eventually, many_addresses, story,
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
