//! A firewall that is held still, or dead, for a while: what came meanwhile is made good by its place in the stream.

use std::time::Duration;

use palisade_e2e::{
    FirewallHost, Lapi, Make, Outcome, Signal, World, agree, all_have_banned, default_timeout, pace,
    story_within,
};
use serde_json::json;

#[test]
fn a_suspended_firewall_receives_the_missed_changes_and_no_others() -> Outcome {
    story_within(Duration::from_secs(240), |world| {
        let mut lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let mut firewall_hosts = firewall_hosts(world, &lapi)?;
        let first = lapi.ban("192.0.2.1")?;
        all_have_banned(&firewall_hosts, "192.0.2.1")?;
        firewall_hosts[0].firewall.process().signal(Signal::STOP)?;
        // What was on its way to it, and the connection it waits on, are lost too.
        let mut told = vec![("192.0.2.1".to_owned(), true)];
        for n in 0..50 {
            let value = format!("198.51.100.{n}");
            lapi.ban(value.as_str())?;
            told.push((value, true));
        }
        lapi.down();
        pace(Duration::from_secs(5));
        lapi.up(world)?;
        lapi.lift(first)?;
        told.push(("192.0.2.1".to_owned(), false));
        firewall_hosts[0].firewall.process().signal(Signal::CONT)?;
        agree(&firewall_hosts, &lapi, default_timeout())?;
        firewall_hosts[0].history.holds_all(&told)?;
        let pulls = firewall_hosts[0].firewall.log().matches("every decision in force was pulled").count();
        assert_eq!(pulls, 1, "everything was told once, at the start: {}", firewall_hosts[0].firewall.log());
        Ok(())
    })
}

#[test]
fn what_was_lifted_while_the_firewall_was_dead_does_not_stay() -> Outcome {
    story_within(Duration::from_secs(240), |world| {
        let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let mut firewall_hosts = firewall_hosts(world, &lapi)?;
        lapi.ban("192.0.2.1")?;
        all_have_banned(&firewall_hosts, "192.0.2.1")?;
        // The firewall is killed right after a ban, before it has persisted it.
        let lifted = lapi.ban("192.0.2.2")?;
        all_have_banned(&firewall_hosts, "192.0.2.2")?;
        firewall_hosts[0].firewall.process().kill()?;
        lapi.lift(lifted)?;
        firewall_hosts[0].start_again(world)?;
        agree(&firewall_hosts, &lapi, default_timeout())?;
        firewall_hosts[0]
            .history
            .holds_all(&[("192.0.2.2".to_owned(), true), ("192.0.2.2".to_owned(), false)])?;
        Ok(())
    })
}

/// One host that follows the LAPI and polls so rarely that whatever arrives was pushed.
fn firewall_hosts(world: &World, lapi: &Lapi) -> Outcome<Vec<FirewallHost>> {
    let host = world.host("gate", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?;
    FirewallHost::all(world, &[host], &lapi.access_from_afar(), |config, _| {
        Ok(config.set("update_frequency", "1h").set("push_wait", "25s"))
    })
}
