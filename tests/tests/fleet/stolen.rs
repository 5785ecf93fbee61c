//! Two of our firewalls with one key behind one address, at CrowdSec's own LAPI, which keeps one place for both: each
//! takes changes from the other.

use std::time::Duration;

use palisade_e2e::{
    Failure, FirewallHost, Lapi, Make, Outcome, agree, default_timeout, eventually, eventually_within, pace,
    story_within,
};
use serde_json::json;

/// Between full pulls, less up to a quarter.
const RESYNC: Duration = Duration::from_secs(24);
/// In seconds: a quarter of that, and as much again for a busy machine; the usual time is 18 to 24 seconds. The schedule's
/// own tests show the exact interval.
const SHORTENED: i64 = 12;
const WARNING: &str = "another bouncer uses this API key";

#[test]
fn stolen_changes_are_repaired_within_the_bound_and_logged_once() -> Outcome {
    story_within(Duration::from_secs(240), |world| {
        let lapi = Lapi::start_open(world, Make::Stock, &json!({}))?;
        let site = world.site(2)?;
        let firewall_hosts = FirewallHost::all(world, &site.hosts, &lapi.access_from_afar(), |config, _| {
            Ok(config.set("resync_interval", format!("{}s", RESYNC.as_secs())))
        })?;
        let mut number = 0;
        // The first request takes it; the other host has not received it when the next one is added.
        let mut ban_and_see_who_has_it = || {
            number += 1;
            let value = format!("10.0.{}.{}", number / 250, number % 250);
            lapi.ban(value.as_str())?;
            eventually("one of them has it", || Ok(holders(&firewall_hosts, &value)?.contains(&true)))?;
            holders(&firewall_hosts, &value)
        };
        let mut missed = [false; 2];
        eventually("each has taken a change from the other", || {
            let has = ban_and_see_who_has_it()?;
            for (missed, has) in missed.iter_mut().zip(has) {
                *missed |= !has;
            }
            Ok(missed == [true; 2])
        })?;
        agree(&firewall_hosts, &lapi, RESYNC + default_timeout())?;

        // Once may be chance. The second time each logs it with the remedy; from the first time on, full pulls are made
        // more often.
        // (A first full pull that came because a response was lost or late compares nothing, and a third is needed.)
        let mut bans = 0;
        eventually_within(2 * RESYNC + default_timeout(), "both say so", || {
            ban_and_see_who_has_it()?;
            // Of a different length each time: bans in step with the requests would all go to the same firewall.
            bans += 1;
            pace(Duration::from_millis(400 + bans * 37 % 200));
            Ok(firewall_hosts.iter().all(|firewall_host| firewall_host.firewall.log_contains(WARNING)))
        })?;
        // Any gap but the first: a pull that finds nothing stolen doubles the time again, so changes go on being stolen.
        eventually_within(3 * RESYNC + default_timeout(), "full pulls come more often", || {
            ban_and_see_who_has_it()?;
            bans += 1;
            pace(Duration::from_millis(400 + bans * 37 % 200));
            let mut shortened = true;
            for firewall_host in &firewall_hosts {
                let pulls = full_pulls(firewall_host)?;
                shortened &= pulls.windows(2).skip(1).any(|pair| pair[1] - pair[0] < SHORTENED);
            }
            Ok(shortened)
        })?;
        for firewall_host in &firewall_hosts {
            let log = firewall_host.firewall.log();
            assert_eq!(log.matches(WARNING).count(), 1, "told once: {log}");
            assert!(log.contains("its own key"), "with the remedy: {log}");
        }
        Ok(())
    })
}

/// The hosts that have banned this address.
fn holders(firewall_hosts: &[FirewallHost], value: &str) -> Outcome<Vec<bool>> {
    firewall_hosts.iter().map(|firewall_host| firewall_host.has_banned(value)).collect()
}

/// When everything was pulled, in seconds.
fn full_pulls(firewall_host: &FirewallHost) -> Outcome<Vec<i64>> {
    let log = firewall_host.firewall.log();
    let lines = log.lines().filter(|line| line.contains("every decision in force was pulled"));
    lines
        .map(|line| {
            let time = line.split('"').nth(1).ok_or_else(|| Failure::new(format!("no time in {line}")))?;
            Ok(time.parse::<jiff::Timestamp>()?.as_second())
        })
        .collect()
}
