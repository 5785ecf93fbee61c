//! Values of every scope, and decisions that end by themselves.

use std::time::{Duration, Instant};

use palisade_e2e::{
    Ban, Outcome, Receiver, ScriptedLapi, Webhook, eventually, many_addresses, story, webhook_file,
};
use serde_json::{Value, json};

use super::Delivery;

#[test]
fn values_of_every_scope_arrive() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let endpoint = receiver.endpoint("soar", json!({}));
        let mut config: Value = serde_json::from_str(&webhook_file(&lapi.access(), &[endpoint]))?;
        config["scopes"] = json!(["Ip", "Range", "Country", "AS"]);
        let _webhook = Webhook::start(world, &config.to_string(), &world.fresh_path("state"))?;
        eventually("the first snapshot is complete", || receiver.snapshots() > 0)?;
        let values = [
            ("Ip", "192.0.2.1"),
            ("Ip", "2001:db8::1"),
            ("Range", "198.51.100.0/24"),
            ("Range", "2001:db8:1::/48"),
            ("Country", "FR"),
            ("AS", "64496"),
        ];
        for (scope, value) in values {
            lapi.ban(Ban::of(value).scope(scope));
        }
        eventually("all are held", || receiver.holds().len() == values.len())?;
        for request in receiver.requests() {
            let body: Value = serde_json::from_str(&request.body)?;
            for event in body["data"]["events"].as_array().into_iter().flatten().chain([&body["data"]]) {
                let Some(value) = event["value"].as_str() else { continue };
                let scope = event["scope"].as_str().unwrap_or_default();
                assert!(values.contains(&(scope, value)), "{event}");
            }
        }
        for (_, value) in values {
            lapi.lift(value);
        }
        eventually("all are lifted", || receiver.holds().is_empty())?;
        receiver.is_content()
    })
}

#[test]
fn an_end_is_delivered_on_time_and_with_its_cause() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start(world, json!({}))?;
        delivery.begins()?;
        let short = |seconds| Duration::from_secs(seconds);
        let end = Instant::now() + short(4);
        delivery.lapi.ban(Ban::of("192.0.2.1").lasting(short(4)));
        delivery.lapi.ban(Ban::of("192.0.2.2"));
        eventually("both are held", || delivery.receiver.holds().len() == 2)?;
        delivery.lapi.lift("192.0.2.2");
        eventually("one is lifted", || delivery.receiver.holds().len() == 1)?;
        eventually("the other one ends", || delivery.receiver.holds().is_empty())?;
        let now = Instant::now();
        assert!(now + short(2) > end && now < end + short(6), "it ended {:?} late", now.duration_since(end));
        let cause = |value: &str| {
            let events = delivery.receiver.events();
            let lifted = events.iter().find(|event| event.value == value && event.kind == "decision.lifted");
            lifted.and_then(|event| event.cause.clone())
        };
        assert_eq!(cause("192.0.2.1").as_deref(), Some("expired"));
        assert_eq!(cause("192.0.2.2").as_deref(), Some("deleted"));
        delivery.receiver.is_content()?;
        // While neither sender nor receiver could see it.
        delivery.lapi.ban(Ban::of("192.0.2.3").lasting(short(3)));
        eventually("it is held", || delivery.receiver.holds().len() == 1)?;
        delivery.receiver.close();
        delivery.webhook.process().kill()?;
        std::thread::sleep(short(4));
        delivery.receiver.open()?;
        delivery.webhook.launch_again(world)?;
        eventually("it ends", || delivery.receiver.holds().is_empty()).map(drop)
    })
}

#[test]
fn an_endpoint_that_skips_its_first_snapshot_receives_changes_alone() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        lapi.ban_all(many_addresses(50).map(Ban::of));
        let endpoint = receiver.endpoint("soar", json!({ "initial": "skip" }));
        let config = webhook_file(&lapi.access(), &[endpoint]);
        let mut webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        lapi.pulled(2)?;
        lapi.ban("192.0.2.1");
        eventually("a ban arrives", || receiver.holds().contains_key("192.0.2.1"))?;
        lapi.lift("10.0.0.1");
        eventually("an end arrives", || receiver.events().iter().any(|event| event.value == "10.0.0.1"))?;
        webhook.restart(world)?;
        lapi.ban("192.0.2.2");
        eventually("another ban arrives", || receiver.holds().contains_key("192.0.2.2"))?;
        assert_eq!(receiver.event_count(), 3, "{:?}", receiver.events());
        assert_eq!(receiver.snapshots(), 0);
        Ok(())
    })
}

#[test]
fn a_filter_hides_what_it_does_not_take() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let filter = json!({ "origins": ["crowdsec"], "types": ["ban"] });
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({ "filter": filter }))]);
        let _webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        eventually("the first snapshot is complete", || receiver.snapshots() > 0)?;
        let taken = |value: &str| Ban::of(value).from_origin("crowdsec");
        lapi.ban("192.0.2.1");
        lapi.ban(taken("192.0.2.2").kind("captcha"));
        lapi.ban(taken("192.0.2.3"));
        eventually("what it takes arrives", || receiver.holds().contains_key("192.0.2.3"))?;
        // Another decision on the same value, which it does not take, changes nothing.
        lapi.ban(Ban::of("192.0.2.3").kind("captcha"));
        lapi.lift("192.0.2.1");
        lapi.pulled(2)?;
        lapi.lift("192.0.2.2");
        lapi.ban(taken("192.0.2.4"));
        eventually("what it takes arrives", || receiver.holds().contains_key("192.0.2.4"))?;
        assert_eq!(receiver.event_count(), 2, "{:?}", receiver.events());
        receiver.is_content()
    })
}
