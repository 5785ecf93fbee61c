//! Plays seeded schedules of decisions, deliveries, failures and crashes on the engine with its store, and compares what
//! the receiver holds with what is in force.

mod receiver;
mod world;

use self::world::World;

/// Schedules of a normal run; `PALISADE_SCHEDULES` sets another number.
const SCHEDULES: u64 = 10_000;

fn schedules() -> u64 {
    std::env::var("PALISADE_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(SCHEDULES)
}

#[test]
fn a_receiver_ends_with_the_state_in_force_after_every_schedule() {
    let first = std::env::var("PALISADE_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..schedules(), |seed: u64| seed..seed + 1);
    for seed in seeds {
        let played = std::panic::catch_unwind(|| World::new(seed).play());
        assert!(played.is_ok(), "schedule {seed} failed; PALISADE_SEED={seed} plays it alone");
    }
}
