//! The state directory is full or lost, or the clock is stepped.

use std::time::Duration;

use palisade_e2e::{
    Ban, Outcome, Reaction, Receiver, ScriptedLapi, Truth, Webhook, eventually, eventually_within, fill_disk,
    many_addresses, story, throughout, tools, webhook_file,
};
use serde_json::json;

#[test]
fn a_full_disk_is_shown_and_loses_nothing() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let (truth, state) = (Truth::default(), world.small_disk("12m")?);
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::start(world, &config, &state)?;
        truth.ban(&lapi, "192.0.2.1")?;
        eventually("a ban arrives", || truth.is_held_by(&receiver))?;
        let ballast = state.join("ballast");
        fill_disk(&ballast)?;
        // More than what the file has room for.
        for address in many_addresses(4000) {
            truth.ban(&lapi, &address)?;
        }
        truth.lift(&lapi, "192.0.2.1")?;
        eventually("it is shown", || {
            let (_, status) = webhook.command(world, &["status"])?;
            Ok(status.contains("no space left on device"))
        })?;
        truth.explains(&receiver)?;
        assert!(webhook.process().exited().is_none());
        std::fs::remove_file(&ballast)?;
        eventually("all arrives once there is space", || truth.is_held_by(&receiver))?;
        truth.explains(&receiver)?;
        let before = receiver.request_count();
        webhook.restart(world)?;
        lapi.pulled(2)?;
        throughout(Duration::from_millis(300), "nothing is sent again", || receiver.request_count() == before)
    })
}

#[test]
fn a_disk_that_is_full_at_the_start_is_shown_and_waited_out() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let (truth, state) = (Truth::default(), world.small_disk("12m")?);
        truth.ban(&lapi, "192.0.2.1")?;
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let ballast = state.join("ballast");
        fill_disk(&ballast)?;
        let mut webhook = Webhook::launch(world, &config, &state)?;
        webhook.process().wait_for_log("cannot open the store")?;
        std::fs::remove_file(&ballast)?;
        if webhook.process().exited().is_some() {
            // As the service manager does.
            webhook.launch_again(world)?;
        }
        eventually("all arrives once there is space", || truth.is_held_by(&receiver))?;
        truth.explains(&receiver)
    })
}

#[test]
fn a_lost_store_is_begun_anew_with_a_snapshot() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let (truth, state) = (Truth::default(), world.fresh_path("state"));
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::start(world, &config, &state)?;
        for address in many_addresses(20) {
            truth.ban(&lapi, &address)?;
        }
        eventually("the bans arrive", || truth.is_held_by(&receiver))?;
        webhook.process().kill()?;
        // Its records are lost with the store, so only the next snapshot shows what is no longer in force.
        receiver.sender_was_killed();
        // The first one may have been cut short by the kill, after its last decision and before its end.
        let before = receiver.snapshots();
        std::fs::write(state.join("endpoints/soar.redb"), "not a store")?;
        truth.lift(&lapi, "10.0.0.1")?;
        webhook.launch_again(world)?;
        eventually("a snapshot corrects it", || {
            Ok(receiver.snapshots() > before && truth.is_held_by(&receiver)?)
        })?;
        assert!(webhook.log().contains("set an unusable store aside"));
        truth.explains(&receiver)
    })
}

#[test]
fn a_jump_of_the_clock_makes_no_event() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let (truth, offset) = (Truth::default(), world.fresh_path("offset"));
        std::fs::write(&offset, "+0")?;
        let clock = tools::Time::WallClockOff(&offset);
        let command = tools::command_in(clock, tools::ours("palisade-webhook")?)?;
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::launch_as(world, command, &config, &world.fresh_path("state"))?;
        webhook.ready()?;
        for address in many_addresses(20) {
            truth.ban(&lapi, &address)?;
        }
        eventually("the bans arrive", || truth.is_held_by(&receiver))?;
        let day = 86_400;
        let jumps = [("+2d", 2 * day, "192.0.2.1"), ("-2d", -2 * day, "192.0.2.2"), ("+0", 0, "192.0.2.3")];
        for (jump, seconds, mark) in jumps {
            let before = receiver.event_count();
            std::fs::write(&offset, jump)?;
            lapi.pulled(3)?;
            throughout(Duration::from_millis(300), "the jump makes no event", || {
                receiver.event_count() == before
            })?;
            truth.ban(&lapi, mark)?;
            eventually("changes arrive", || truth.is_held_by(&receiver))?;
            truth.explains(&receiver)?;
            assert_eq!(receiver.event_count(), before + 1, "{:?}", receiver.events().split_off(before));
            // The receiver's clock is right, and it refuses other times.
            let last = receiver.requests().pop();
            let sent = last.and_then(|last| last.header("webhook-timestamp")?.parse::<i64>().ok());
            let off = sent.unwrap_or_default() - jiff::Timestamp::now().as_second() - seconds;
            assert!(off.abs() < 60, "a time {off} s off after {jump}");
        }
        // Neither is a repetition put off.
        receiver.next(Reaction::Status(503));
        std::fs::write(&offset, "-2d")?;
        truth.ban(&lapi, "192.0.2.4")?;
        eventually("a repetition arrives", || truth.is_held_by(&receiver))?;
        // What ends meanwhile ends on time.
        std::fs::write(&offset, "+3h")?;
        lapi.ban(Ban::of("192.0.2.9").lasting(Duration::from_secs(4)));
        eventually("a short ban arrives", || receiver.holds().contains_key("192.0.2.9"))?;
        eventually_within(Duration::from_secs(12), "it ends on time", || {
            !receiver.holds().contains_key("192.0.2.9")
        })?;
        receiver.is_content()
    })
}
