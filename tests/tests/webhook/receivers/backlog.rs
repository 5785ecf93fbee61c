//! Receivers that are away while much changes.

use palisade_e2e::{Outcome, Reaction, eventually, many_addresses, story};
use serde_json::json;

use super::Delivery;

#[test]
fn a_backlog_collapses_to_the_values_that_changed() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start_with(world, json!({}), 20)?;
        delivery.begins()?;
        delivery.receiver.close();
        let before = delivery.receiver.event_count();
        for round in 0..15 {
            delivery.change(round, 40)?;
            delivery.lapi.pulled(2)?;
        }
        delivery.receiver.open()?;
        delivery.settles()?;
        let events = delivery.receiver.event_count() - before;
        // One each, and few that were under way in the moment of the return.
        assert!(events <= 60, "600 changes of 40 values made {events} events");
        Ok(())
    })
}

#[test]
fn a_backlog_survives_a_restart() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start_with(world, json!({}), 20)?;
        delivery.begins()?;
        delivery.receiver.close();
        delivery.change(1, 100)?;
        delivery.lapi.pulled(2)?;
        delivery.webhook.restart(world)?;
        delivery.change(2, 100)?;
        delivery.lapi.pulled(2)?;
        delivery.receiver.open()?;
        delivery.settles()
    })
}

#[test]
fn a_kept_history_delivers_every_change() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start(world, json!({ "keep_history": true }))?;
        delivery.begins()?;
        delivery.receiver.close();
        for _ in 0..8 {
            delivery.ban("192.0.2.1")?;
            delivery.lapi.pulled(3)?;
            delivery.lift("192.0.2.1")?;
            delivery.lapi.pulled(3)?;
        }
        delivery.webhook.restart(world)?;
        delivery.receiver.open()?;
        delivery.ban("192.0.2.2")?;
        delivery.settles()?;
        let kinds: Vec<String> = delivery
            .receiver
            .events()
            .iter()
            .filter(|event| event.value == "192.0.2.1")
            .map(|event| event.kind.clone())
            .collect();
        assert_eq!(kinds, ["decision.added", "decision.lifted"].repeat(8));
        Ok(())
    })
}

#[test]
fn a_kept_history_arrives_in_order_at_a_receiver_that_fails() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "keep_history": true, "batch": { "events": 5 } }))?;
        delivery.receiver.script(17, |rng| match rng.f32() {
            0.0..0.2 => Reaction::Status(500),
            0.2..0.3 => Reaction::ResetAfter { taken: true },
            _ => Reaction::Accept,
        });
        delivery.change(6, 300)?;
        delivery.settles()
    })
}

#[test]
fn a_receiver_that_is_away_at_the_first_start_gets_its_snapshot() -> Outcome {
    story(|world| {
        let mut delivery = Delivery::start(world, json!({}))?;
        delivery.begins()?;
        delivery.receiver.close();
        // A new endpoint, as its store is missing.
        delivery.webhook.process().signal(palisade_e2e::Signal::TERM)?;
        delivery.webhook.process().end()?;
        std::fs::remove_dir_all(&delivery.state)?;
        delivery.ban("192.0.2.1")?;
        delivery.webhook.launch_again(world)?;
        delivery.lapi.pulled(2)?;
        delivery.receiver.open()?;
        eventually("it gets a snapshot", || delivery.receiver.snapshots() == 2)?;
        delivery.settles()
    })
}

#[test]
fn more_changes_than_are_kept_in_memory_arrive() -> Outcome {
    story(|world| {
        // More than the values that may wait in memory.
        const VALUES: u32 = 90_000;
        let mut delivery = Delivery::start(world, json!({ "batch": { "events": 1000 } }))?;
        delivery.begins()?;
        delivery.receiver.close();
        for address in many_addresses(VALUES) {
            delivery.ban(&address)?;
        }
        delivery.lapi.pulled(2)?;
        delivery.shows(world, "at least")?;
        delivery.receiver.open()?;
        eventually("every other value is there", || delivery.receiver.event_count() > VALUES as usize / 2)?;
        for address in many_addresses(VALUES).step_by(4000) {
            delivery.lift(&address)?;
        }
        delivery.settles()?;
        let events = delivery.receiver.event_count();
        assert!(events < VALUES as usize + 2000, "{events} events about {VALUES} values");
        Ok(())
    })
}
