//! The LAPI on a real PostgreSQL: the same as on SQLite, and the database may be away for a while.

use palisade_e2e::{
    Config, CustomBouncer, Doing as _, Firewall, HttpClient, Lapi, Make, Outcome, Postgres, World,
    against_either_lapi, eventually, story, throughout,
};
use serde_json::{Value, json};
use std::time::Duration;

against_either_lapi!(bans_stored_in_postgres_are_enforced);

fn central(world: &World, make: Make, database: &Postgres) -> Outcome<Lapi> {
    Lapi::start_with(world, make, &json!({ "db_config": database.config() }))
}

fn bans_stored_in_postgres_are_enforced(world: &World, make: Make) -> Outcome {
    let database = Postgres::start(world)?;
    let mut lapi = central(world, make, &database)?;
    let firewall = Firewall::start(world, &lapi.access())?;
    let _service = world.router.echoes_on(80)?;
    let ban = lapi.ban(world.visitor.v4())?;
    let range = lapi.ban("203.0.113.0/24")?;
    eventually("both are shut out", || {
        !world.visitor.reaches(&world.router, 80) && !world.neighbour.reaches(&world.router, 80)
    })?;
    lapi.lift(ban)?;
    eventually("the visitor is let in", || world.visitor.reaches(&world.router, 80))?;
    assert!(!world.neighbour.reaches(&world.router, 80));

    lapi.restart(world)?;
    lapi.ban(world.visitor.v4())?;
    eventually("a ban after the restart is in force", || !world.visitor.reaches(&world.router, 80))?;
    assert!(!world.neighbour.reaches(&world.router, 80), "what was banned before still is");
    lapi.lift(range)?;
    eventually("what was banned before can be lifted", || world.neighbour.reaches(&world.router, 80))?;

    let listed: Vec<Value> = serde_json::from_str(&lapi.admin(&["decisions", "list", "-o", "json"])?)?;
    assert_eq!(listed.len(), 1, "{listed:#?}");
    assert_eq!(database.query("SELECT count(*) FROM decisions")?, "3");
    assert_eq!(lapi.bouncers()?.len(), 1);
    assert!(firewall.stop()?.success());
    Ok(())
}

#[test]
fn while_postgres_is_away_bouncers_are_served_and_writes_are_refused() -> Outcome {
    story(|world| {
        let mut database = Postgres::start(world)?;
        let lapi = central(world, Make::Ours, &database)?;
        // A key for each: stock bouncers that share one on one host share one position in the stream.
        let asker = lapi.add_bouncer("asker", "key-of-asker")?;
        let custom = lapi.add_bouncer("custom", "key-of-custom")?;
        let held = lapi.ban(world.visitor.v4())?;
        let mut firewall = Firewall::start_with(world, &Config::new(world, &lapi.access())?)?;
        let _service = world.router.echoes_on(80)?;
        eventually("the visitor is shut out", || !world.visitor.reaches(&world.router, 80))?;

        database.stop()?;
        let refused = eventually_refused(&lapi)?;
        assert_eq!(refused, 503, "who posts is told to come again");
        // Streams continue from memory: for known clients, and for new ones.
        let key = [("X-Api-Key", asker.key.as_str())];
        throughout(Duration::from_millis(500), "streams are answered", || {
            for path in [
                "/v1/decisions/stream",
                "/v1/decisions/stream?startup=true",
                "/v1/decisions?ip=198.51.100.77",
            ] {
                let reply = HttpClient::new(lapi.address()).ask("GET", path, &key, None)?;
                if reply.status != 200 {
                    return Err(palisade_e2e::Failure::new(format!(
                        "{path}: {} {}",
                        reply.status,
                        reply.text()
                    )));
                }
            }
            Ok(true)
        })?;
        let bouncer = CustomBouncer::start(world, &world.router, &custom)?;
        eventually("a bouncer that starts now gets everything", || {
            Ok(bouncer.calls()?.iter().any(|call| call.value == "198.51.100.77"))
        })?;
        assert!(!world.visitor.reaches(&world.router, 80));
        assert!(!firewall.log_contains("no answer from the LAPI"), "{}", firewall.process().log());

        database.up(world)?;
        eventually("writes are taken again", || Ok(lapi.ban("203.0.113.9").is_ok()))?;
        eventually("and enforced", || !world.neighbour.reaches(&world.router, 80))?;
        lapi.lift(held)?;
        eventually("who is lifted is let in", || world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}

/// The status with which an alert is refused.
fn eventually_refused(lapi: &Lapi) -> Outcome<u16> {
    let mut status = None;
    eventually("an alert is refused", || {
        let refusal = match lapi.ban("203.0.113.9") {
            Ok(_) => return Ok(false),
            Err(failure) => failure.to_string(),
        };
        status = refusal.split_once("status ").and_then(|(_, rest)| rest.split(':').next()?.parse().ok());
        Ok(status.is_some())
    })?;
    status.doing("the LAPI answers something")
}
