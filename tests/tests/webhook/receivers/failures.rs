//! Receivers that fail for a while.

use std::time::Duration;

use palisade_e2e::{Outcome, Reaction, eventually, many_addresses, story};
use serde_json::json;

use super::Delivery;

#[test]
fn every_third_delivery_may_fail_and_nothing_is_lost() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "batch": { "events": 3 } }))?;
        delivery.receiver.script(7, |rng| match rng.f32() {
            0.0..0.3 => Reaction::Status(500),
            _ => Reaction::Accept,
        });
        delivery.change(2, 400)?;
        delivery.settles()
    })
}

#[test]
fn every_status_that_may_pass_is_waited_out() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({}))?;
        delivery.begins()?;
        for (count, status) in (1u8..).zip([408, 425, 429, 500, 502, 503, 504, 599]) {
            delivery.receiver.next(Reaction::Status(status));
            delivery.ban(&format!("192.0.2.{count}"))?;
            delivery.settles()?;
        }
        Ok(())
    })
}

#[test]
fn a_slow_receiver_is_sent_the_same_message_again() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "timeout": "300ms" }))?;
        delivery.begins()?;
        let before = delivery.receiver.request_count();
        delivery.receiver.next(Reaction::Late(Duration::from_secs(2)));
        delivery.ban("192.0.2.1")?;
        eventually("it is sent again", || delivery.receiver.request_count() > before + 1)?;
        let requests = delivery.receiver.requests().split_off(before);
        let ids: Vec<_> = requests.iter().map(|request| request.header("webhook-id")).collect();
        assert!(ids.iter().all(|id| id.is_some() && *id == ids[0]), "{ids:?}");
        delivery.settles()?;
        assert_eq!(delivery.receiver.events().iter().filter(|event| event.value == "192.0.2.1").count(), 1);
        Ok(())
    })
}

#[test]
fn a_receiver_that_is_slower_than_the_changes_receives_all_of_them() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "parallel": 2, "batch": { "events": 4 } }))?;
        delivery.receiver.always(Reaction::Late(Duration::from_millis(150)));
        delivery.change(3, 300)?;
        delivery.settles()
    })
}

#[test]
fn retry_after_is_honoured_in_seconds_and_as_a_date() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "parallel": 1 }))?;
        delivery.begins()?;
        // A date has whole seconds: of two at least one is left.
        let date = || {
            let time = jiff::Timestamp::now() + Duration::from_secs(3);
            time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        };
        for (count, (status, after, least)) in
            (1u8..).zip([(429, Some("2"), 2.0), (503, Some("1"), 1.0), (429, None, 1.0)])
        {
            let at = delivery.receiver.request_count();
            let after = after.map_or_else(date, str::to_owned);
            delivery.receiver.next(Reaction::RetryAfter(status, after));
            delivery.ban(&format!("192.0.2.{count}"))?;
            delivery.settles()?;
            let requests = delivery.receiver.requests();
            let refused = requests[at].answered.expect("it was responded to");
            let waited = requests[at + 1].at.duration_since(refused).as_secs_f64();
            assert!(waited >= least - 0.01, "{status}: repeated after {waited} s, not {least} s");
        }
        Ok(())
    })
}

#[test]
fn connections_that_are_reset_lose_nothing() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({ "batch": { "events": 3 } }))?;
        delivery.receiver.script(11, |rng| match rng.f32() {
            0.0..0.1 => Reaction::ResetBefore,
            0.1..0.2 => Reaction::ResetAfter { taken: true },
            0.2..0.3 => Reaction::ResetAfter { taken: false },
            _ => Reaction::Accept,
        });
        delivery.change(4, 400)?;
        delivery.settles()
    })
}

#[test]
fn a_reset_after_the_body_repeats_the_same_message() -> Outcome {
    story(|world| {
        let delivery = Delivery::start(world, json!({}))?;
        delivery.begins()?;
        for (count, taken) in [(1, true), (2, false)] {
            let before = delivery.receiver.request_count();
            delivery.receiver.next(Reaction::ResetAfter { taken });
            let address = format!("192.0.2.{count}");
            delivery.ban(&address)?;
            delivery.settles()?;
            eventually("it is sent again", || delivery.receiver.request_count() == before + 2)?;
            let requests = delivery.receiver.requests();
            assert_eq!(requests[before].header("webhook-id"), requests[before + 1].header("webhook-id"));
        }
        Ok(())
    })
}

#[test]
fn a_failing_snapshot_is_completed_afterwards() -> Outcome {
    story(|world| {
        let delivery = Delivery::start_with(world, json!({ "batch": { "events": 10 } }), 5)?;
        delivery.receiver.script(13, |rng| match rng.f32() {
            0.0..0.4 => Reaction::Status(503),
            _ => Reaction::Accept,
        });
        for address in many_addresses(300) {
            delivery.ban(&address)?;
        }
        delivery.begins()
    })
}
