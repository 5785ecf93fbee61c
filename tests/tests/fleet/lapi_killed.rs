//! The LAPI is killed during writes and streams: every acknowledged ban arrives on every host.

use std::sync::Mutex;
use std::time::Duration;

use palisade_e2e::{
    FirewallHost, Lapi, Machine, Make, Outcome, agree, default_timeout, eventually, many_addresses,
    story_within,
};
use serde_json::json;

const BANS: u32 = 400;

#[test]
fn a_lapi_killed_in_the_middle_of_a_burst_loses_nothing_it_has_acknowledged() -> Outcome {
    story_within(Duration::from_secs(300), |world| {
        let mut lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let site = world.site(2)?;
        let firewall_hosts =
            FirewallHost::all(world, &site.hosts, &lapi.access_from_afar(), |config, _| Ok(config))?;
        let machine = lapi.machine();
        let acknowledged = Mutex::new(Vec::new());
        let count = || acknowledged.lock().expect("nothing panics with it").len();
        std::thread::scope(|scope| -> Outcome {
            let burst = scope.spawn(|| post(&machine, &acknowledged));
            for part in [BANS / 4, BANS / 2] {
                eventually("a part of the burst is acknowledged", || count() >= part as usize)?;
                lapi.down();
                lapi.up(world)?;
            }
            burst.join().expect("it does not panic")
        })?;
        let acknowledged = acknowledged.into_inner().expect("nothing panics with it");
        assert_eq!(acknowledged.len(), BANS as usize);
        agree(&firewall_hosts, &lapi, default_timeout())?;
        let told: Vec<_> = acknowledged.into_iter().map(|value| (value, true)).collect();
        for firewall_host in &firewall_hosts {
            firewall_host.history.holds_all(&told)?;
        }
        Ok(())
    })
}

/// Bans one address after the other, each until it is acknowledged.
fn post(machine: &Machine, acknowledged: &Mutex<Vec<String>>) -> Outcome {
    for value in many_addresses(BANS) {
        eventually(&format!("the ban of {value} is acknowledged"), || {
            machine.ban(value.as_str()).map(|_| true)
        })?;
        acknowledged.lock().expect("nothing panics with it").push(value);
    }
    Ok(())
}
