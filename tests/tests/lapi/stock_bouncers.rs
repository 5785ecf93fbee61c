//! Stock bouncers of Debian's packages, fed by the LAPI: what was decided before they came, what comes and what goes.

use std::time::Duration;

use palisade_e2e::{
    Ban, Call, Config, CustomBouncer, Firewall, Implementation, Lapi, Make, Outcome, World,
    against_either_lapi, default_timeout, eventually, eventually_within,
};
use serde_json::Value;

against_either_lapi!(
    the_stock_firewall_bouncer_starts_up_and_follows,
    the_custom_bouncer_receives_added_and_deleted_decisions,
    stock_bouncers_survive_the_lapis_restart,
);

fn the_stock_firewall_bouncer_starts_up_and_follows(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _service = world.router.echoes_on(80)?;
    let before = lapi.ban(world.visitor.v4())?;
    // Of a range it bans the first address only; that is its own affair.
    lapi.ban(world.neighbour.v6())?;
    let mut firewall =
        Firewall::launch(world, &Implementation::stock()?, &Config::new(world, &lapi.access())?)?;
    firewall.ready()?;
    eventually("what was banned before is shut out", || {
        !world.visitor.reaches(&world.router, 80) && !world.neighbour.reaches_v6(&world.router, 80)
    })?;
    assert!(world.neighbour.reaches(&world.router, 80));
    let after = lapi.ban(world.neighbour.v4())?;
    eventually("what is banned now is shut out", || !world.neighbour.reaches(&world.router, 80))?;
    lapi.lift(before)?;
    lapi.lift(after)?;
    eventually("who is lifted is let in", || {
        world.visitor.reaches(&world.router, 80) && world.neighbour.reaches(&world.router, 80)
    })?;
    assert!(!world.neighbour.reaches_v6(&world.router, 80));
    // A ban that ends by itself is announced too.
    lapi.ban(Ban::of(world.visitor.v4().to_string()).lasting(Duration::from_secs(3)))?;
    eventually("the short ban is in force", || Ok(world.router.ruleset()?.bans("198.51.100.77")))?;
    eventually("the short ban ends", || Ok(!world.router.ruleset()?.bans("198.51.100.77")))?;
    let bouncers = lapi.bouncers()?;
    assert!(bouncers.iter().any(|row| row["type"] == "crowdsec-firewall-bouncer"), "{bouncers:#?}");
    assert!(firewall.stop()?.success());
    Ok(())
}

fn the_custom_bouncer_receives_added_and_deleted_decisions(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    lapi.ban("192.0.2.1")?;
    lapi.ban_all([
        Ban::of("192.0.2.0/24").kind("captcha").from_origin("lists:bad guests"),
        Ban::of("2001:db8::1"),
    ])?;
    let bouncer = CustomBouncer::start(world, &world.router, &lapi.access())?;
    let find = |verb: &str, value: &str| -> Outcome<Option<Call>> {
        Ok(bouncer.calls()?.into_iter().find(|call| call.verb == verb && call.value == value))
    };
    for value in ["192.0.2.1", "192.0.2.0/24", "2001:db8::1"] {
        eventually(&format!("{value} is added"), || Ok(find("add", value)?.is_some()))?;
    }
    let list = find("add", "192.0.2.0/24")?.expect("seen above");
    assert_eq!(list.reason, "bad guests");
    let seconds: u64 = list.duration.parse()?;
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    let whole: Value = serde_json::from_str(&list.json)?;
    assert_eq!(whole["origin"], "lists");
    assert_eq!(whole["type"], "captcha");
    assert_eq!(whole["scope"], "Range");

    let late = lapi.ban("198.51.100.7")?;
    eventually("what comes later is added", || Ok(find("add", "198.51.100.7")?.is_some()))?;
    lapi.lift(late)?;
    eventually("what is lifted is deleted", || Ok(find("del", "198.51.100.7")?.is_some()))?;
    let added = bouncer.calls()?.iter().filter(|call| call.verb == "add").count();
    assert_eq!(added, 4, "nothing twice: {:#?}", bouncer.calls()?);
    Ok(())
}

fn stock_bouncers_survive_the_lapis_restart(world: &World, make: Make) -> Outcome {
    let mut lapi = Lapi::start(world, make)?;
    lapi.ban("192.0.2.1")?;
    let mut bouncer = CustomBouncer::start(world, &world.router, &lapi.access())?;
    let received = |bouncer: &CustomBouncer, verb: &str, value: &str| {
        Ok(bouncer.calls()?.iter().any(|call| call.verb == verb && call.value == value))
    };
    eventually("it starts up", || received(&bouncer, "add", "192.0.2.1"))?;
    let gone = lapi.ban("192.0.2.2")?;
    eventually("it follows", || received(&bouncer, "add", "192.0.2.2"))?;
    lapi.restart(world)?;
    // The position in the stream is kept: new decisions arrive, lifted ones are removed, old ones are not repeated.
    lapi.ban("192.0.2.3")?;
    lapi.lift(gone)?;
    eventually_within(default_timeout() * 2, "it goes on", || {
        Ok(received(&bouncer, "add", "192.0.2.3")? && received(&bouncer, "del", "192.0.2.2")?)
    })?;
    assert!(bouncer.process().exited().is_none());
    let adds: Vec<String> =
        bouncer.calls()?.into_iter().filter(|call| call.verb == "add").map(|call| call.value).collect();
    assert_eq!(adds, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    Ok(())
}
