//! What a receiver that works is sent.

use std::time::Duration;

use palisade_e2e::{
    Ban, Entries, Failure, Fault, Lapi, Make, Outcome, Reaction, Receiver, Truth, Webhook, World,
    against_either_lapi, eventually, many_addresses, story, throughout, webhook_file,
};
use serde_json::json;

use super::Delivery;

#[test]
fn a_first_start_delivers_a_full_snapshot_and_then_changes() -> Outcome {
    story(|world| {
        let delivery = Delivery::start_with(world, json!({}), 250)?;
        delivery.begins()?;
        let events = delivery.receiver.events();
        assert_eq!(events.len(), 250);
        assert!(events.iter().all(|event| event.kind == "decision.present"));
        assert!(
            delivery.receiver.request_count() <= 8,
            "two marks and a few batches: {}",
            delivery.receiver.request_count()
        );
        delivery.ban("192.0.2.1")?;
        delivery.settles()?;
        delivery.ban("192.0.2.1")?;
        delivery.settles()?;
        delivery.lift("192.0.2.1")?;
        delivery.settles()?;
        let kinds: Vec<String> = delivery
            .receiver
            .events()
            .drain(250..)
            .map(|event| format!("{} {}", event.kind, event.value))
            .collect();
        let expected = ["added", "changed", "lifted"].map(|kind| format!("decision.{kind} 192.0.2.1"));
        assert_eq!(kinds, expected);
        Ok(())
    })
}

#[test]
fn a_restart_delivers_what_has_changed_and_nothing_again() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start_with(world, json!({}), 150)?;
        delivery.begins()?;
        let before = delivery.receiver.request_count();
        delivery.webhook.restart(world)?;
        delivery.lapi.pulled(2)?;
        let same = || delivery.receiver.request_count() == before;
        throughout(Duration::from_millis(500), "a restart delivers nothing", same)?;
        let delivered = delivery.receiver.event_count();
        delivery.webhook.process().signal(palisade_e2e::Signal::TERM)?;
        delivery.webhook.process().end()?;
        delivery.ban("192.0.2.1")?;
        delivery.lift("10.0.0.1")?;
        delivery.webhook.launch_again(world)?;
        delivery.settles()?;
        let mut changes = delivery.receiver.events().split_off(delivered);
        changes.sort_by(|a, b| a.value.cmp(&b.value));
        let changes: Vec<_> = changes.iter().map(|event| (&*event.kind, &*event.value)).collect();
        assert_eq!(changes, [("decision.lifted", "10.0.0.1"), ("decision.added", "192.0.2.1")]);
        Ok(())
    })
}

#[test]
fn batches_sent_in_parallel_keep_the_order_of_each_value() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "parallel": 8, "batch": { "events": 5 } }))?;
        delivery.receiver.script(3, |rng| Reaction::Late(Duration::from_millis(rng.u64(..40))));
        delivery.change(1, 600)?;
        delivery.settles()?;
        assert!(delivery.receiver.connections() > 1, "several at once");
        assert!(delivery.receiver.event_count() > 60);
        Ok(())
    })
}

#[test]
fn a_wait_for_more_events_makes_batches() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "batch": { "wait": "1s" } }))?;
        delivery.begins()?;
        let before = delivery.receiver.request_count();
        for address in many_addresses(60) {
            delivery.ban(&address)?;
        }
        delivery.settles()?;
        let messages = delivery.receiver.request_count() - before;
        assert!((1..=4).contains(&messages), "60 changes of a moment in {messages} messages");
        Ok(())
    })
}

against_either_lapi!(
    changes_of_a_real_lapi_arrive,
    a_decision_beside_another_one_makes_no_false_event,
    a_killed_lapi_makes_no_false_event,
    each_remediation_on_a_value_is_followed_by_itself,
);

/// An endpoint that is sent what a real LAPI decides.
fn connected(world: &World, make: Make) -> Outcome<(Lapi, Receiver, Truth, Webhook)> {
    let (lapi, receiver) = (Lapi::start(world, make)?, Receiver::start(&world.router)?);
    let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
    let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
    eventually("the first snapshot is complete", || receiver.snapshots() > 0)?;
    Ok((lapi, receiver, Truth::default(), webhook))
}

fn settles(truth: &Truth, receiver: &Receiver) -> Outcome {
    eventually("the receiver holds what is decided", || truth.is_held_by(receiver))?;
    truth.explains(receiver)
}

fn changes_of_a_real_lapi_arrive(world: &World, make: Make) -> Outcome {
    let (lapi, receiver, truth, _webhook) = connected(world, make)?;
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..60 {
        truth.change(&lapi, &mut rng, 12)?;
    }
    settles(&truth, &receiver)
}

fn a_decision_beside_another_one_makes_no_false_event(world: &World, make: Make) -> Outcome {
    let (lapi, receiver, _, _webhook) = connected(world, make)?;
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    let longer_goes = "192.0.2.1";
    let shorter_goes = "192.0.2.2";
    let holds = |value: &str| receiver.holds().contains_key(value);
    let mut marks = 0;
    // What comes before it has been delivered.
    let mut mark = || {
        marks += 1;
        let value = format!("198.51.100.{marks}");
        lapi.ban(value.as_str())?;
        eventually("the mark arrives", || holds(&value)).map(drop)
    };
    let shorter = lapi.ban(Ban::of(longer_goes).lasting(hour))?;
    let kept = lapi.ban(Ban::of(shorter_goes).lasting(day).from_origin("crowdsec"))?;
    mark()?;
    let longer = lapi.ban(Ban::of(longer_goes).lasting(day).from_origin("crowdsec"))?;
    let other = lapi.ban(Ban::of(shorter_goes).lasting(hour))?;
    mark()?;
    lapi.lift(longer)?;
    lapi.lift(other)?;
    mark()?;
    mark()?;
    let lifted = || receiver.events().iter().filter(|event| event.kind == "decision.lifted").count();
    assert_eq!(lifted(), 0, "{:?}", receiver.events());
    assert!(holds(longer_goes) && holds(shorter_goes));
    lapi.lift(shorter)?;
    lapi.lift(kept)?;
    eventually("both are lifted", || !holds(longer_goes) && !holds(shorter_goes))?;
    assert_eq!(lifted(), 2);
    receiver.is_content()
}

fn a_killed_lapi_makes_no_false_event(world: &World, make: Make) -> Outcome {
    let (mut lapi, receiver, truth, mut webhook) = connected(world, make)?;
    for address in many_addresses(30) {
        truth.ban(&lapi, &address)?;
    }
    settles(&truth, &receiver)?;
    let before = receiver.event_count();
    lapi.down();
    webhook.process().wait_for_log("no answer from the LAPI")?;
    lapi.up(world)?;
    truth.ban(&lapi, "192.0.2.1")?;
    truth.lift(&lapi, "10.0.0.1")?;
    settles(&truth, &receiver)?;
    throughout(Duration::from_millis(500), "there are two changes", || receiver.event_count() == before + 2)
}

fn each_remediation_on_a_value_is_followed_by_itself(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let receiver = Receiver::start(&world.router)?.holding(Entries::Remediation);
    let endpoint = receiver.endpoint("soar", json!({ "events": "remediation" }));
    let _webhook =
        Webhook::start(world, &webhook_file(&lapi.access(), &[endpoint]), &world.fresh_path("state"))?;
    let named = |kind: &str| {
        let mut ban = Ban::of("192.0.2.1").kind(kind);
        ban.scenario = kind.to_owned();
        ban
    };
    let holds = |kinds: &[&str]| {
        eventually(&format!("{kinds:?} are held"), || {
            let held = receiver.holds().remove("192.0.2.1").unwrap_or_default();
            if held == kinds { Ok(true) } else { Err(Failure::new(format!("{held:?}"))) }
        })
    };
    let ban = lapi.ban(named("ban"))?;
    holds(&["ban"])?;
    let captcha = lapi.ban(named("captcha"))?;
    holds(&["ban", "captcha"])?;
    lapi.lift(ban)?;
    holds(&["captcha"])?;
    lapi.lift(captcha)?;
    holds(&[])?;
    assert_eq!(receiver.event_count(), 4, "{:?}", receiver.events());
    receiver.is_content()
}

#[test]
fn faults_of_the_lapi_make_no_false_event() -> Outcome {
    story(|world| {
        let delivery = Delivery::start_with(world, json!({}), 100)?;
        delivery.begins()?;
        let faults = [
            Fault::Empty,
            Fault::Status(500),
            Fault::HangUp,
            Fault::CutAfter(30),
            Fault::Body("{}".to_owned()),
            Fault::Status(403),
            Fault::Late(Duration::from_millis(300)),
        ];
        for (count, fault) in (1u8..).zip(faults) {
            let before = delivery.receiver.event_count();
            delivery.lapi.next(fault.clone());
            delivery.lapi.next(fault);
            delivery.lapi.pulled(2)?;
            delivery.ban(&format!("192.0.2.{count}"))?;
            delivery.settles()?;
            assert_eq!(delivery.receiver.event_count(), before + 1);
        }
        Ok(())
    })
}
