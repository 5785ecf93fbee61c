//! Several LAPIs on one PostgreSQL are one LAPI, and go on being one when some of them die.

use std::time::Duration;

use palisade_e2e::{
    FirewallHost, Host, Lapi, Make, Outcome, Postgres, World, agree, all_have_banned, default_timeout,
    story_within,
};
use serde_json::json;

/// Three LAPIs, each on a host of its own, and three hosts with firewalls.
struct Three {
    lapis: Vec<Lapi>,
    hosts: Vec<Host>,
    _database: Postgres,
}

fn raise(world: &World) -> Outcome<Three> {
    let database = Postgres::start(world)?;
    let config = json!({ "db_config": database.remote_config() });
    let first = Lapi::start_open(world, Make::Ours, &config)?;
    let mut lapis = Vec::new();
    let mut hosts = Vec::new();
    for n in 1..=3 {
        hosts.push(world.host(
            &format!("gate-{n}"),
            format!("198.18.{n}.10").parse()?,
            format!("2001:db8:1{n}::10").parse()?,
        )?);
    }
    for n in 4..=5 {
        let host = world.host(
            &format!("lapi-{n}"),
            format!("198.18.{n}.10").parse()?,
            format!("2001:db8:1{n}::10").parse()?,
        )?;
        lapis.push(first.beside(world, &host, &config)?);
    }
    lapis.insert(0, first);
    Ok(Three { lapis, hosts, _database: database })
}

impl Three {
    /// Starts a firewall on each host, all with one key: each uses another LAPI first, and has the others as fallbacks.
    fn follow(&self, world: &World) -> Outcome<Vec<FirewallHost>> {
        let mut firewall_hosts = Vec::new();
        for (n, host) in self.hosts.iter().enumerate() {
            let mut urls: Vec<String> = self.lapis.iter().map(|lapi| lapi.url_from_afar()).collect();
            urls.rotate_left(n);
            let access = self.lapis[n].access_from_afar();
            firewall_hosts.extend(FirewallHost::all(
                world,
                std::slice::from_ref(host),
                &access,
                |config, _| Ok(config.set("api_urls", urls.clone())),
            )?);
        }
        Ok(firewall_hosts)
    }
}

#[test]
fn any_of_three_lapis_accepts_bans_and_may_be_killed() -> Outcome {
    story_within(Duration::from_secs(240), |world| {
        let mut three = raise(world)?;
        let firewall_hosts = three.follow(world)?;
        let mut told = Vec::new();
        for n in 0..9 {
            let value = format!("192.0.2.{n}");
            let ban = three.lapis[n % 3].ban(value.as_str())?;
            told.push((value.clone(), true));
            all_have_banned(&firewall_hosts, &value)?;
            if n % 2 == 0 {
                // Another one lifts it.
                three.lapis[(n + 1) % 3].lift(ban)?;
                told.push((value, false));
            }
        }
        agree(&firewall_hosts, &three.lapis[0], default_timeout())?;
        // Each in turn: its clients switch to another one, and it returns while the next is down.
        let mut n = 9;
        for away in 0..3 {
            three.lapis[away].down();
            for _ in 0..4 {
                let value = format!("192.0.2.{n}");
                three.lapis[(away + 1 + n % 2) % 3].ban(value.as_str())?;
                told.push((value.clone(), true));
                all_have_banned(&firewall_hosts, &value)?;
                n += 1;
            }
            three.lapis[away].up(world)?;
            let value = format!("192.0.2.{n}");
            three.lapis[away].ban(value.as_str())?;
            told.push((value.clone(), true));
            all_have_banned(&firewall_hosts, &value)?;
            n += 1;
        }
        for lapi in &three.lapis {
            agree(&firewall_hosts, lapi, default_timeout())?;
        }
        for firewall_host in &firewall_hosts {
            firewall_host.history.holds_all(&told)?;
        }
        Ok(())
    })
}
