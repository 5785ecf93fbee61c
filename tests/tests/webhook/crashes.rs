//! `kill -9` at any point: in the end the receiver holds what is decided.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use palisade_e2e::{
    Doing, Fault, Outcome, Reaction, Receiver, ScriptedLapi, Truth, Webhook, World, eventually,
    many_addresses, pace, story, story_within, throughout, webhook_file,
};
use serde_json::{Value, json};

/// How often all daemons together are killed; `PALISADE_KILLS` sets another number.
const KILLS: usize = 500;
/// Daemons at once, each with a LAPI, a receiver and a store of its own.
const DAEMONS: usize = 6;
/// The longest a daemon lives, in milliseconds.
const MAX_LIFE: u64 = 400;

/// Kills one daemon after another on the same store, while decisions change and the receiver fails now and then.
fn kill_again_and_again(world: &World, keys: Value, seed: u64, left: &AtomicUsize) -> Outcome {
    let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
    let (truth, mut rng) = (Truth::default(), Rng::with_seed(seed));
    receiver.script(seed, |rng| match rng.f32() {
        0.0..0.05 => Reaction::Status(500),
        0.05..0.1 => Reaction::ResetAfter { taken: true },
        0.1..0.15 => Reaction::ResetBefore,
        _ => Reaction::Late(Duration::from_millis(rng.u64(..25))),
    });
    let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", keys)]);
    let mut webhook = Webhook::launch(world, &config, &world.fresh_path("state"))?;
    let take = |left: usize| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let end = Instant::now() + Duration::from_millis(rng.u64(..MAX_LIFE));
        while Instant::now() < end {
            truth.change(&lapi, &mut rng, 30)?;
            pace(Duration::from_millis(rng.u64(..20)));
        }
        receiver.sender_was_killed();
        webhook.process().kill()?;
        // Some changes are made while none runs.
        for _ in 0..rng.usize(..4) {
            truth.change(&lapi, &mut rng, 30)?;
        }
        webhook.launch_again(world)?;
    }
    webhook.ready()?;
    receiver.heal();
    truth.ban(&lapi, "192.0.2.1")?;
    eventually("the receiver holds what is decided", || truth.is_held_by(&receiver))?;
    truth.explains(&receiver)?;
    assert!(!webhook.log().contains("set an unusable store aside"), "{}", webhook.log());
    Ok(())
}

#[test]
fn kills_at_random_points_lose_nothing_and_invent_nothing() -> Outcome {
    story_within(Duration::from_secs(600), |world| {
        let kills = std::env::var("PALISADE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
        let left = AtomicUsize::new(kills);
        let left = &left;
        std::thread::scope(|scope| {
            let daemons: Vec<_> = (0..DAEMONS)
                .map(|daemon| {
                    // Some with several messages at once, some that queue each event.
                    let keys = match daemon % 3 {
                        0 => json!({ "batch": { "events": 3 } }),
                        1 => json!({ "parallel": 1 }),
                        _ => json!({ "keep_history": true, "batch": { "events": 5 } }),
                    };
                    scope.spawn(move || kill_again_and_again(world, keys, daemon as u64, left))
                })
                .collect();
            for daemon in daemons {
                daemon.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(())
        })
    })
}

#[test]
fn a_value_lifted_while_the_sender_was_dead_is_lifted_at_the_receiver() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let truth = Truth::default();
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        eventually("the snapshot is complete", || receiver.snapshots() > 0)?;
        // Ended in order it has stored that, so that it begins no other one.
        webhook.restart(world)?;
        // It is taken, and the sender dies before it learns that.
        receiver.always(Reaction::Late(Duration::from_secs(20)));
        truth.ban(&lapi, "192.0.2.1")?;
        eventually("the ban is taken", || truth.is_held_by(&receiver))?;
        receiver.sender_was_killed();
        webhook.process().kill()?;
        truth.lift(&lapi, "192.0.2.1")?;
        receiver.heal();
        webhook.launch_again(world)?;
        eventually("the ban is lifted", || truth.is_held_by(&receiver))?;
        truth.explains(&receiver)
    })
}

#[test]
fn a_snapshot_that_is_begun_again_is_complete_for_one_that_drops_repeats() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let truth = Truth::default();
        truth.ban(&lapi, "192.0.2.1")?;
        receiver.always(Reaction::Late(Duration::from_secs(20)));
        receiver.next(Reaction::Accept);
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        eventually("the first part is taken", || truth.is_held_by(&receiver))?;
        receiver.sender_was_killed();
        webhook.process().kill()?;
        receiver.heal();
        webhook.launch_again(world)?;
        eventually("the snapshot is complete", || receiver.snapshots() > 0)?;
        eventually("the ban is held", || truth.is_held_by(&receiver))?;
        truth.explains(&receiver)
    })
}

#[test]
fn a_ban_that_was_perhaps_taken_is_sent_again_with_the_same_id() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let truth = Truth::default();
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        eventually("the snapshot is complete", || receiver.snapshots() > 0)?;
        let before = receiver.request_count();
        receiver.always(Reaction::Late(Duration::from_secs(20)));
        truth.ban(&lapi, "192.0.2.1")?;
        eventually("the ban is taken", || truth.is_held_by(&receiver))?;
        webhook.process().kill()?;
        receiver.heal();
        webhook.launch_again(world)?;
        eventually("it is sent again", || receiver.request_count() > before + 1)?;
        let requests = receiver.requests().split_off(before);
        assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
        truth.explains(&receiver)
    })
}

#[test]
fn decisions_remembered_from_before_a_crash_make_no_false_event() -> Outcome {
    story(|world| {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let (truth, state) = (Truth::default(), world.fresh_path("state"));
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", json!({}))]);
        let mut webhook = Webhook::start(world, &config, &state)?;
        for address in many_addresses(20) {
            truth.ban(&lapi, &address)?;
        }
        eventually("the bans arrive", || truth.is_held_by(&receiver))?;
        let (remembered, older) = (state.join("decisions"), world.fresh_path("decisions"));
        // Ended in order, it has written all of them.
        webhook.restart(world)?;
        std::fs::copy(&remembered, &older)?;
        truth.lift(&lapi, "10.0.0.1")?;
        truth.ban(&lapi, "192.0.2.1")?;
        eventually("the changes arrive", || truth.is_held_by(&receiver))?;
        let before = receiver.event_count();
        receiver.sender_was_killed();
        webhook.process().kill()?;
        std::fs::copy(&older, &remembered)?;
        lapi.meanwhile(Fault::Status(500));
        webhook.launch_again(world)?;
        webhook.process().wait_for_log("remembered decisions are in force")?;
        let same = || receiver.event_count() == before;
        throughout(Duration::from_secs(1), "nothing is sent before the LAPI answers", same)?;
        lapi.heal();
        truth.ban(&lapi, "192.0.2.2")?;
        eventually("what is new arrives", || truth.is_held_by(&receiver))?;
        throughout(Duration::from_millis(300), "and nothing else", || receiver.event_count() == before + 1)?;
        truth.explains(&receiver)
    })
}

/// Any trouble in any order, with changes all the time.
fn everything_goes_wrong(world: &World, keys: Value, seed: u64) -> Outcome {
    let mut lapi = ScriptedLapi::start(&world.router)?;
    let mut receiver = Receiver::start(&world.router)?;
    let (truth, mut rng) = (Truth::default(), Rng::with_seed(seed));
    let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", keys)]);
    let mut webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
    for _ in 0..40 {
        match rng.u8(..9) {
            0 => receiver.close(),
            1 => receiver.open()?,
            2 => receiver.script(rng.u64(..), |rng| match rng.u8(..8) {
                0 => Reaction::Status(500),
                1 => Reaction::RetryAfter(429, "1".to_owned()),
                2 => Reaction::ResetAfter { taken: true },
                3 => Reaction::ResetBefore,
                _ => Reaction::Late(Duration::from_millis(rng.u64(..50))),
            }),
            3 => receiver.always(Reaction::Status([401, 410, 503][rng.usize(..3)])),
            4 => receiver.heal(),
            5 => {
                receiver.sender_was_killed();
                webhook.process().kill()?;
                webhook.launch_again(world)?;
            }
            6 => {
                // It gives messages under way a few seconds, and what is abandoned then is perhaps taken.
                receiver.sender_was_killed();
                webhook.ready()?;
                webhook.restart(world)?;
            }
            7 => lapi.close(),
            // It may not have come up yet.
            _ => _ = webhook.tool(world, &[["snapshot", "resume"][rng.usize(..2)], "soar"])?,
        }
        if rng.bool() {
            lapi.close();
            lapi.open()?;
        }
        for _ in 0..rng.usize(..20) {
            truth.change(&lapi, &mut rng, 30)?;
            pace(Duration::from_millis(rng.u64(..15)));
        }
    }
    lapi.close();
    lapi.open()?;
    receiver.open()?;
    receiver.heal();
    truth.ban(&lapi, "192.0.2.1")?;
    eventually("the endpoint is resumed", || Ok(webhook.tool(world, &["resume", "soar"])?.code == 0))?;
    eventually("the receiver holds what is decided", || truth.is_held_by(&receiver))?;
    truth.explains(&receiver)
}

#[test]
fn troubles_of_every_kind_together_lose_nothing_and_invent_nothing() -> Outcome {
    story(|world| {
        std::thread::scope(|scope| {
            let endpoints = [json!({ "batch": { "events": 4 } }), json!({ "keep_history": true })];
            let all: Vec<_> = endpoints
                .into_iter()
                .map(|keys| {
                    let seed = fastrand::u64(..);
                    (seed, scope.spawn(move || everything_goes_wrong(world, keys, seed)))
                })
                .collect();
            for (seed, one) in all {
                let outcome = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome.doing(format_args!("with seed {seed}"))?;
            }
            Ok(())
        })
    })
}
