//! The suite's clock: starts at the wall clock's time and never jumps.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_cache::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock's time at the first call in this process, plus the time elapsed since, including suspension
/// (`CLOCK_BOOTTIME`). A step of the wall clock neither ends nor prolongs a ban.
pub fn now() -> Timestamp {
    static START: OnceLock<(i64, i64)> = OnceLock::new();
    // Read before the wall clock and outside the closure, so that the first call returns exactly the wall clock's
    // time.
    let boot = boot_millis();
    let (wall, then) = *START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        (i64::try_from(wall.as_millis()).unwrap_or(i64::MAX), boot)
    });
    Timestamp::from_millis(wall.saturating_add(boot - then))
}

fn boot_millis() -> i64 {
    // Not `Instant`, which is CLOCK_MONOTONIC and stands still while the machine is suspended: bans would last longer
    // by that.
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}
