//! Five hosts behind one address with one key: each has a place of its own in the stream, and none skips a change.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use palisade_e2e::{
    FirewallHost, Lapi, Make, Moment, Outcome, agree, default_timeout, eventually, pace, story_within,
};
use serde_json::{Value, json};

/// Enough for each host to send dozens of requests meanwhile.
const BANS: usize = 160;

#[test]
fn five_hosts_behind_one_address_with_one_key_skip_no_change() -> Outcome {
    story_within(Duration::from_secs(240), |world| {
        let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let site = world.site(5)?;
        let firewall_hosts =
            FirewallHost::all(world, &site.hosts, &lapi.access_from_afar(), |config, host| {
                Ok(config.set("instance", host.name()))
            })?;
        let mut told = Vec::new();
        let mut banned = Vec::new();
        let mut held = VecDeque::new();
        while banned.len() < BANS {
            let value = format!("10.7.{}.{}", banned.len() / 250, banned.len() % 250);
            held.push_back((value.clone(), lapi.ban(value.as_str())?));
            told.push((value.clone(), true));
            banned.push(value);
            // A ban that is lifted before a host's request never reaches that host.
            if held.len() > 6 && all_have(&firewall_hosts, &held[0].0)? {
                let (value, ban) = held.pop_front().expect("it has more than six");
                lapi.lift(ban)?;
                told.push((value, false));
            }
            pace(Duration::from_millis(50));
        }
        assert!(told.len() > banned.len(), "some were lifted again");
        agree(&firewall_hosts, &lapi, default_timeout())?;
        for firewall_host in &firewall_hosts {
            firewall_host.history.holds_all(&told)?;
            Moment::in_order(&firewall_host.history.moments()?, &banned)?;
            let log = firewall_host.firewall.log();
            assert_eq!(
                log.matches("every decision in force was pulled").count(),
                1,
                "once at the start: {log}"
            );
        }
        let wanted: BTreeSet<String> = site.hosts.iter().map(|host| host.name().to_owned()).collect();
        eventually("the five are listed one by one", || {
            let rows = lapi.bouncers()?;
            let listed: BTreeSet<String> = rows.iter().flat_map(instances).collect();
            Ok(listed == wanted && rows.iter().all(|row| row["ip_address"] == "198.18.1.10"))
        })?;
        Ok(())
    })
}

fn all_have(firewall_hosts: &[FirewallHost], value: &str) -> Outcome<bool> {
    for firewall_host in firewall_hosts {
        if !firewall_host.has_banned(value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The user of the key according to a row of the list, in whichever column.
fn instances(row: &Value) -> Vec<String> {
    match row {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_str() {
                Some(name) if key == "instance" => vec![name.to_owned()],
                _ => instances(value),
            })
            .collect(),
        Value::Array(rows) => rows.iter().flat_map(instances).collect(),
        _ => Vec::new(),
    }
}
