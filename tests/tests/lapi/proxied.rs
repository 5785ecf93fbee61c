//! A reverse proxy between the hosts and the LAPI, configured as plainly as can be.

use std::time::Duration;

use palisade_e2e::{
    FirewallHost, Lapi, Make, NginxFront, Outcome, World, agree, all_have_banned, default_timeout,
    eventually_within, pace, story,
};
use serde_json::json;

#[test]
fn what_is_banned_comes_through_a_reverse_proxy() -> Outcome {
    story(|world| {
        let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let (proxy, firewall_hosts) = behind_a_proxy(world, &lapi, Duration::from_secs(60))?;
        bans_come_through(&lapi, &firewall_hosts)?;
        assert_eq!(proxy.timeouts(), 0);
        Ok(())
    })
}

#[test]
fn a_proxy_with_a_short_timeout_shortens_the_long_poll() -> Outcome {
    story(|world| {
        let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let (proxy, firewall_hosts) = behind_a_proxy(world, &lapi, Duration::from_secs(3))?;
        let mut seen = 0;
        eventually_within(
            default_timeout() * 4,
            "the firewall asks for no more than the proxy bears",
            || {
                seen = proxy.timeouts();
                pace(Duration::from_secs(8));
                Ok(seen > 0 && proxy.timeouts() == seen)
            },
        )?;
        bans_come_through(&lapi, &firewall_hosts)
    })
}

/// A host that follows the LAPI through a proxy. It polls so rarely that whatever arrives was pushed.
fn behind_a_proxy(
    world: &World,
    lapi: &Lapi,
    proxy_waits: Duration,
) -> Outcome<(NginxFront, Vec<FirewallHost>)> {
    let proxy = NginxFront::start(world, &world.router, &lapi.url(), proxy_waits)?;
    let host = world.host("gate", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?;
    let firewall_hosts = FirewallHost::all(world, &[host], &lapi.access_from_afar(), |config, _| {
        Ok(config.set("api_url", proxy.url()).set("update_frequency", "1h").set("push_wait", "25s"))
    })?;
    Ok((proxy, firewall_hosts))
}

fn bans_come_through(lapi: &Lapi, firewall_hosts: &[FirewallHost]) -> Outcome {
    let mut told = Vec::new();
    for n in 0..8 {
        let value = format!("192.0.2.{n}");
        let ban = lapi.ban(value.as_str())?;
        told.push((value.clone(), true));
        all_have_banned(firewall_hosts, &value)?;
        if n % 2 == 0 {
            lapi.lift(ban)?;
            told.push((value, false));
        }
    }
    agree(firewall_hosts, lapi, default_timeout())?;
    firewall_hosts[0].history.holds_all(&told)
}
