//! What operators do while messages are delivered.

use std::time::Duration;

use palisade_e2e::{
    Outcome, Reaction, Receiver, ScriptedLapi, Truth, Webhook, eventually, many_addresses, story, throughout,
    webhook_file,
};
use serde_json::json;

use super::Delivery;

#[test]
fn a_snapshot_on_request_puts_right_a_receiver_that_lost_its_state() -> Outcome {
    story(|world| {
        let delivery = Delivery::start_with(world, json!({ "batch": { "events": 10 } }), 95)?;
        delivery.begins()?;
        delivery.receiver.forget();
        assert!(!delivery.truth.is_held_by(&delivery.receiver).unwrap_or(false));
        delivery.command(world, &["snapshot", "soar"])?;
        // Meanwhile changes go on.
        delivery.change(21, 30)?;
        eventually("a snapshot is complete", || delivery.receiver.snapshots() > 0)?;
        delivery.settles()?;
        // Once more, with nothing to put right: nothing may come or go.
        let before = delivery.receiver.event_count();
        delivery.command(world, &["snapshot", "soar"])?;
        eventually("it is complete again", || delivery.receiver.snapshots() > 1)?;
        let events = delivery.receiver.events().split_off(before);
        assert!(events.iter().all(|event| event.kind == "decision.present"), "{events:?}");
        assert_eq!(events.len(), delivery.truth.in_force().len());
        delivery.settles()
    })
}

#[test]
fn snapshots_one_upon_another_are_complete_at_a_receiver_that_fails() -> Outcome {
    story(|world| {
        let delivery = Delivery::start_with(world, json!({ "batch": { "events": 4 } }), 60)?;
        delivery.begins()?;
        delivery.receiver.script(31, |rng| match rng.f32() {
            0.0..0.2 => Reaction::Status(500),
            0.2..0.4 => Reaction::ResetAfter { taken: true },
            _ => Reaction::Late(Duration::from_millis(rng.u64(..30))),
        });
        for seed in 0..6 {
            delivery.command(world, &["snapshot", "soar"])?;
            delivery.change(seed, 20)?;
        }
        delivery.receiver.heal();
        delivery.command(world, &["snapshot", "soar"])?;
        let before = delivery.receiver.snapshots();
        eventually("the last one is complete", || delivery.receiver.snapshots() > before)?;
        delivery.settles()
    })
}

#[test]
fn a_part_taken_in_an_abandoned_snapshot_is_part_of_the_next_one_too() -> Outcome {
    story(|world| {
        let delivery = Delivery::start_with(world, json!({ "batch": { "events": 1 } }), 3)?;
        delivery.begins()?;
        // Quoted, as another address begins with it.
        delivery.receiver.never_acknowledge("\"10.0.0.1\"");
        let before = delivery.receiver.request_count();
        delivery.command(world, &["snapshot", "soar"])?;
        let parts = || {
            let requests = delivery.receiver.requests().split_off(before);
            requests.iter().filter(|request| request.body.contains("\"10.0.0.1\"")).count()
        };
        eventually("its part is taken", || parts() > 0)?;
        let begun = || {
            let requests = delivery.receiver.requests().split_off(before);
            requests.iter().filter(|request| request.body.contains("snapshot.started")).count()
        };
        delivery.command(world, &["snapshot", "soar"])?;
        eventually("the next one begins", || begun() > 1)?;
        let taken = parts();
        eventually("its part is taken again", || parts() > taken + 1)?;
        delivery.receiver.heal();
        delivery.ban("192.0.2.1")?;
        let before = delivery.receiver.snapshots();
        eventually("it is complete", || delivery.receiver.snapshots() > before)?;
        delivery.settles()
    })
}

#[test]
fn an_endpoint_that_fails_holds_up_no_other() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let receivers = [
            Receiver::start(&world.router)?,
            Receiver::start(&world.router)?,
            Receiver::start(&world.router)?,
        ];
        let [works, fails, hangs] = &receivers;
        fails.always(Reaction::Status(500));
        hangs.always(Reaction::Late(Duration::from_secs(600)));
        let truth = Truth::default();
        let endpoints = [
            works.endpoint("works", json!({})),
            fails.endpoint("fails", json!({})),
            hangs.endpoint("hangs", json!({ "timeout": "2s" })),
        ];
        let config = webhook_file(&lapi.access(), &endpoints);
        let _webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            truth.change(&lapi, &mut rng, 30)?;
        }
        eventually("the one that works is up to date", || truth.is_held_by(works))?;
        truth.explains(works)?;
        fails.heal();
        hangs.heal();
        for receiver in &receivers {
            eventually("the others follow", || truth.is_held_by(receiver))?;
            truth.explains(receiver)?;
        }
        Ok(())
    })
}

#[test]
fn a_stop_while_messages_are_under_way_loses_nothing_and_repeats_nothing() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start(world, json!({ "batch": { "events": 3 } }))?;
        delivery.begins()?;
        delivery.receiver.always(Reaction::Late(Duration::from_millis(100)));
        for seed in 0..5 {
            delivery.change(seed, 40)?;
            delivery.webhook.restart(world)?;
        }
        delivery.settles()?;
        let ids = delivery.receiver.requests();
        let mut ids: Vec<_> = ids.iter().filter_map(|request| request.header("webhook-id")).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "no message was sent twice");
        Ok(())
    })
}

#[test]
fn a_reload_adds_changes_and_ends_endpoints() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let (first, second) = (Receiver::start(&world.router)?, Receiver::start(&world.router)?);
        let truth = Truth::default();
        for address in many_addresses(10) {
            truth.ban(&lapi, &address)?;
        }
        let config = |endpoints: &[_]| webhook_file(&lapi.access(), endpoints);
        let one = first.endpoint("one", json!({ "bearer": "old" }));
        let mut webhook =
            Webhook::start(world, &config(std::slice::from_ref(&one)), &world.fresh_path("state"))?;
        eventually("the first is up to date", || Ok(first.snapshots() == 1 && truth.is_held_by(&first)?))?;
        let before = first.request_count();
        webhook.reload(&config(&[one.clone(), second.endpoint("two", json!({}))]))?;
        eventually("the second gets a snapshot", || truth.is_held_by(&second))?;
        assert_eq!(first.request_count(), before, "the first is not disturbed");
        let wrong = json!({ "name": "three", "url": "not a url" });
        webhook.reload(&config(&[one, wrong]))?;
        webhook.process().wait_for_log("endpoints[1].url")?;
        truth.ban(&lapi, "192.0.2.1")?;
        for receiver in [&first, &second] {
            eventually("a wrong file changes nothing", || truth.is_held_by(receiver))?;
        }
        webhook.reload(&config(&[first.endpoint("one", json!({ "bearer": "new" }))]))?;
        webhook.process().wait_for_log("the endpoint ends")?;
        truth.ban(&lapi, "192.0.2.2")?;
        eventually("the first goes on", || truth.is_held_by(&first))?;
        let last = first.requests().pop().and_then(|one| one.header("authorization").map(str::to_owned));
        assert_eq!(last.as_deref(), Some("Bearer new"));
        throughout(Duration::from_millis(300), "the second has ended", || {
            !second.holds().contains_key("192.0.2.2")
        })?;
        assert_eq!(first.request_count(), before + 2, "no snapshot again");
        truth.explains(&first)
    })
}
