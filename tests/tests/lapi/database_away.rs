//! PostgreSQL is restarted or stuck under two LAPIs: streams are served meanwhile, writes are refused with the
//! time to come again, and everything resumes by itself.

use std::time::Duration;

use palisade_e2e::{
    Access, Failure, FirewallHost, HttpClient, Lapi, Make, Outcome, Postgres, Reply, World, agree,
    all_have_banned, default_timeout, eventually, eventually_within, story_within,
};
use serde_json::json;

/// How the database goes away.
#[derive(Clone, Copy)]
enum Away {
    /// Connections are closed, new ones refused.
    Stopped,
    /// Connections stay open, and nothing is answered.
    Suspended,
}

#[test]
fn a_database_that_is_restarted_costs_no_change() -> Outcome {
    story_within(Duration::from_secs(300), |world| play(world, Away::Stopped))
}

#[test]
fn a_database_that_hangs_for_a_while_costs_no_change() -> Outcome {
    story_within(Duration::from_secs(300), |world| play(world, Away::Suspended))
}

fn play(world: &World, away: Away) -> Outcome {
    let mut database = Postgres::start(world)?;
    let config = json!({ "db_config": database.remote_config() });
    let first = Lapi::start_open(world, Make::Ours, &config)?;
    let place = world.host("lapi-2", "198.18.4.10".parse()?, "2001:db8:14::10".parse()?)?;
    let lapis = [first.beside(world, &place, &config)?, first];
    let hosts = [
        world.host("gate-1", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?,
        world.host("gate-2", "198.18.2.10".parse()?, "2001:db8:12::10".parse()?)?,
    ];
    let mut firewall_hosts = Vec::new();
    for (host, lapi) in hosts.iter().zip(&lapis) {
        let access = lapi.access_from_afar();
        firewall_hosts
            .extend(FirewallHost::all(world, std::slice::from_ref(host), &access, |config, _| Ok(config))?);
    }
    let asker = lapis[0].add_bouncer("asker", "key-of-asker")?;
    let mut told = Vec::new();
    let held = lapis[0].ban("192.0.2.1")?;
    told.push(("192.0.2.1".to_owned(), true));
    all_have_banned(&firewall_hosts, "192.0.2.1")?;

    // A key that a LAPI has never seen it must look up.
    for lapi in &lapis {
        assert_eq!(everything(lapi, &asker)?.status, 200);
    }

    match away {
        Away::Stopped => database.stop()?,
        Away::Suspended => database.suspend()?,
    }
    for lapi in &lapis {
        refused_with_the_time_to_come_again(lapi)?;
        let reply = everything(lapi, &asker)?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.text().contains("192.0.2.1"), "{}", reply.text());
    }
    for firewall_host in &firewall_hosts {
        assert!(
            !firewall_host.firewall.log_contains("no answer from the LAPI"),
            "on {}",
            firewall_host.host.name()
        );
    }

    match away {
        Away::Stopped => database.up(world)?,
        Away::Suspended => database.resume()?,
    }
    for (lapi, value) in lapis.iter().zip(["192.0.2.2", "192.0.2.3"]) {
        eventually_within(default_timeout() * 2, "writes are taken again", || lapi.ban(value).map(|_| true))?;
        told.push((value.to_owned(), true));
        all_have_banned(&firewall_hosts, value)?;
    }
    eventually("bans are lifted again", || lapis[1].lift(held).map(|()| true))?;
    told.push(("192.0.2.1".to_owned(), false));
    agree(&firewall_hosts, &lapis[0], default_timeout())?;
    for firewall_host in &firewall_hosts {
        firewall_host.history.holds_all(&told)?;
    }
    Ok(())
}

/// Requests every decision in force from a LAPI.
fn everything(lapi: &Lapi, asker: &Access) -> Outcome<Reply> {
    let key = [("X-Api-Key", asker.key.as_str())];
    let mut caller = HttpClient::new(lapi.address()).with_timeout(default_timeout());
    Ok(lapi.host().run(|| caller.ask("GET", "/v1/decisions/stream?startup=true", &key, None))?)
}

/// Posts until an alert is refused as it should be. What was taken just before the database went is no refusal.
fn refused_with_the_time_to_come_again(lapi: &Lapi) -> Outcome {
    eventually_within(default_timeout() * 2, "writes are refused", || {
        let reply = lapi.machine().try_to_ban("203.0.113.9")?;
        let after = reply.header("retry-after").and_then(|text| text.parse::<u32>().ok());
        match (reply.status, after) {
            (503, Some(seconds)) if seconds > 0 => Ok(true),
            (status, after) => {
                Err(Failure::new(format!("{status}, Retry-After {after:?}: {}", reply.text())))
            }
        }
    })
    .map(drop)
}
