//! Receivers that reject single events.

use palisade_e2e::{Outcome, World, eventually, many_addresses, story};
use serde_json::json;

use super::Delivery;

/// The address whose events are rejected.
const REJECTED: &str = "192.0.2.99";

/// Sixty bans in a few messages, one of which is rejected.
fn with_a_dead_letter(world: &World) -> Outcome<Delivery> {
    let delivery = Delivery::start(world, json!({ "batch": { "wait": "200ms" } }))?;
    delivery.begins()?;
    delivery.receiver.reject(REJECTED);
    for address in many_addresses(30) {
        delivery.ban(&address)?;
    }
    delivery.ban(REJECTED)?;
    for address in many_addresses(60).skip(30) {
        delivery.ban(&address)?;
    }
    eventually("all but one arrive", || delivery.receiver.holds().len() == 60)?;
    delivery.truth.explains(&delivery.receiver)?;
    eventually("the one is kept", || {
        Ok(delivery.command(world, &["deadletter", "list", "soar"])?.contains(REJECTED))
    })?;
    Ok(delivery)
}

#[test]
fn a_rejected_event_becomes_a_dead_letter_and_stops_no_other() -> Outcome {
    story(|world| {
        let delivery = with_a_dead_letter(world)?;
        let list = delivery.command(world, &["deadletter", "list", "soar"])?;
        assert!(list.contains("400") && !list.contains("10.0.0.1"), "{list}");
        delivery.lift("10.0.0.1")?;
        eventually("changes arrive", || !delivery.receiver.holds().contains_key("10.0.0.1"))?;
        Ok(())
    })
}

#[test]
fn a_replayed_dead_letter_arrives_and_is_kept_no_longer() -> Outcome {
    story(|world| {
        let mut delivery = with_a_dead_letter(world)?;
        delivery.webhook.restart(world)?;
        delivery.command(world, &["deadletter", "replay", "soar"])?;
        eventually("it is rejected again", || {
            Ok(delivery.command(world, &["deadletter", "list", "soar"])?.contains(REJECTED))
        })?;
        delivery.receiver.heal();
        delivery.command(world, &["deadletter", "replay", "soar"])?;
        delivery.settles()?;
        assert!(!delivery.command(world, &["deadletter", "list", "soar"])?.contains(REJECTED));
        Ok(())
    })
}

#[test]
fn a_dropped_dead_letter_is_not_sent() -> Outcome {
    story(|world| {
        let delivery = with_a_dead_letter(world)?;
        delivery.receiver.heal();
        delivery.command(world, &["deadletter", "drop", "soar", "all"])?;
        assert!(!delivery.command(world, &["deadletter", "list", "soar"])?.contains(REJECTED));
        delivery.ban("192.0.2.1")?;
        eventually("changes arrive", || delivery.receiver.holds().contains_key("192.0.2.1"))?;
        assert!(!delivery.receiver.holds().contains_key(REJECTED));
        Ok(())
    })
}

#[test]
fn a_replayed_dead_letter_does_not_bring_back_what_has_ended() -> Outcome {
    story(|world| {
        let delivery = with_a_dead_letter(world)?;
        delivery.lift(REJECTED)?;
        delivery.lapi.pulled(2)?;
        delivery.receiver.heal();
        delivery.command(world, &["deadletter", "replay", "soar"])?;
        delivery.ban("192.0.2.1")?;
        delivery.settles()?;
        let about = |kind: &str| {
            let events = delivery.receiver.events();
            events.iter().any(|event| event.value == REJECTED && event.kind == kind)
        };
        assert!(!about("decision.added") && !about("decision.present") && !about("decision.changed"));
        Ok(())
    })
}

#[test]
fn a_dead_letter_of_a_newer_version_is_replayed_as_what_is_in_force() -> Outcome {
    story(|world| {
        let delivery = with_a_dead_letter(world)?;
        // Rejected as well, so that there are two letters about one value.
        delivery.ban(REJECTED)?;
        eventually("both are kept", || {
            let list = delivery.command(world, &["deadletter", "list", "soar"])?;
            Ok(list.matches(REJECTED).count() >= 2)
        })?;
        delivery.receiver.heal();
        delivery.command(world, &["deadletter", "replay", "soar"])?;
        delivery.settles()
    })
}
