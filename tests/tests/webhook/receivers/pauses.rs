//! Receivers that refuse, and ones that may not be connected to.

use std::time::Duration;

use palisade_e2e::{
    Outcome, Reaction, Receiver, ScriptedLapi, Webhook, eventually, story, throughout, webhook_file,
};
use serde_json::json;

use super::Delivery;

#[test]
fn a_receiver_that_is_gone_is_left_alone_until_it_is_resumed() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start(world, json!({}))?;
        delivery.begins()?;
        delivery.receiver.always(Reaction::Status(410));
        delivery.ban("192.0.2.1")?;
        delivery.shows(world, "STOPPED")?;
        delivery.shows(world, "410")?;
        delivery.receiver.heal();
        let tried = delivery.receiver.request_count();
        delivery.ban("192.0.2.2")?;
        let quiet = |delivery: &Delivery| delivery.receiver.request_count() == tried;
        throughout(Duration::from_secs(1), "nothing is sent", || quiet(&delivery))?;
        delivery.webhook.restart(world)?;
        delivery.shows(world, "STOPPED")?;
        throughout(Duration::from_millis(500), "not after a restart either", || quiet(&delivery))?;
        delivery.command(world, &["resume", "soar"])?;
        delivery.settles()
    })
}

#[test]
fn a_refusing_receiver_is_tried_rarely_and_at_once_when_resumed() -> Outcome {
    story(|world| {
        for status in [401, 403, 404, 405] {
            let delivery = Delivery::start(world, json!({}))?;
            delivery.begins()?;
            delivery.receiver.always(Reaction::Status(status));
            delivery.ban("192.0.2.1")?;
            delivery.shows(world, "PAUSED")?;
            delivery.shows(world, &status.to_string())?;
            delivery.receiver.heal();
            let tried = delivery.receiver.request_count();
            let quiet = || delivery.receiver.request_count() == tried;
            throughout(Duration::from_secs(1), "nothing is sent", quiet)?;
            delivery.command(world, &["resume", "soar"])?;
            delivery.settles()?;
            assert!(delivery.webhook.stop()?.success());
        }
        Ok(())
    })
}

#[test]
fn a_refusing_receiver_that_takes_messages_again_is_noticed() -> Outcome {
    story(|world| {
        let retry = json!({ "first": "50ms", "max": "400ms", "refused": "1s" });
        let delivery = Delivery::start(world, json!({ "retry": retry }))?;
        delivery.begins()?;
        delivery.receiver.always(Reaction::Status(401));
        delivery.ban("192.0.2.1")?;
        delivery.shows(world, "PAUSED")?;
        delivery.receiver.heal();
        delivery.settles()
    })
}

#[test]
fn a_private_destination_is_not_connected_to() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        lapi.ban("192.0.2.1");
        let url = receiver.url();
        let named = url.replace("127.0.0.1", "localhost");
        let endpoints = [json!({ "name": "address", "url": url }), json!({ "name": "named", "url": named })];
        let config = webhook_file(&lapi.access(), &endpoints);
        let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        eventually("both are refused", || {
            let (_, status) = webhook.command(world, &["status"])?;
            Ok(status.matches("allow_addresses").count() >= 2)
        })?;
        assert!(webhook.log().contains("a loopback address"), "{}", webhook.log());
        assert_eq!(receiver.connections(), 0);
        Ok(())
    })
}

#[test]
fn a_redirect_is_not_followed() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({}))?;
        delivery.begins()?;
        let elsewhere = Receiver::start(&world.router)?;
        delivery.receiver.always(Reaction::Redirect(elsewhere.url()));
        delivery.ban("192.0.2.1")?;
        delivery.shows(world, "redirects are not followed")?;
        delivery.receiver.heal();
        delivery.command(world, &["resume", "soar"])?;
        delivery.settles()?;
        assert_eq!(elsewhere.connections(), 0);
        Ok(())
    })
}
