//! A reverse proxy between the hosts and the LAPI, configured as plainly as can be.

use std::time::Duration;

use palisade_e2e::{Gate, Lapi, Make, Outcome, Proxy, World, agree, all_have_banned, patience, story};
use serde_json::json;

#[test]
fn what_is_banned_comes_through_a_reverse_proxy() -> Outcome {
    story(|world| through_a_proxy_that_waits(world, Duration::from_secs(60)))
}

#[test]
fn what_is_banned_comes_through_a_proxy_that_gives_up_soon() -> Outcome {
    story(|world| through_a_proxy_that_waits(world, Duration::from_secs(3)))
}

fn through_a_proxy_that_waits(world: &World, proxy_waits: Duration) -> Outcome {
    let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
    let proxy = Proxy::start(world, &world.router, &lapi.url(), proxy_waits)?;
    let host = world.host("gate", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?;
    let gates = Gate::all(world, &[host], &lapi.access_from_afar(), |config, _| {
        // Whatever arrives was pushed.
        Ok(config.set("api_url", proxy.url()).set("update_frequency", "1h").set("push_wait", "25s"))
    })?;
    let mut told = Vec::new();
    for n in 0..8 {
        let value = format!("192.0.2.{n}");
        let ban = lapi.ban(value.as_str())?;
        told.push((value.clone(), true));
        all_have_banned(&gates, &value)?;
        if n % 2 == 0 {
            lapi.lift(ban)?;
            told.push((value, false));
        }
    }
    agree(&gates, &lapi, patience())?;
    gates[0].history.holds_all(&told)
}
