//! What a stop and a start cost: nothing with `keep_on_stop`, without it the time between.

use std::time::{Duration, Instant};

use palisade_e2e::{Config, Firewall, Outcome, ScriptedLapi, UdpProbe, eventually, story};

#[test]
fn a_restart_with_keep_on_stop_lets_no_datagram_through() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8:a::/64");
        let config = Config::new(world, &lapi.access())?.set("keep_on_stop", true);
        let mut running = Some(Firewall::start_with(world, &config)?);
        let (probe, probe_v6) = (
            UdpProbe::start(&world.visitor, &world.router)?,
            UdpProbe::start_v6(&world.visitor, &world.router)?,
        );
        let mut arrived_v6 = 0;
        let arrived = probe.during(|| {
            arrived_v6 = probe_v6.during(|| {
                for _ in 0..3 {
                    if let Some(firewall) = running.take() {
                        assert!(firewall.stop()?.success());
                    }
                    running = Some(Firewall::start_with(world, &config)?);
                }
                Ok(())
            })?;
            Ok(())
        })?;
        assert_eq!((arrived, arrived_v6), (0, 0), "datagrams through the gap");
        Ok(())
    })
}

/// As in the README: without `keep_on_stop` bans go at the stop, and are back when the next start is ready.
#[test]
fn a_restart_without_it_is_open_from_the_stop_until_it_is_ready() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?;
        let firewall = Firewall::start_with(world, &config)?;
        let probe = UdpProbe::start(&world.visitor, &world.router)?;
        assert_eq!(probe.during(|| lapi.pulled(2))?, 0, "before the stop");
        let started = Instant::now();
        let mut next = None;
        let sent = probe.sent();
        let arrived = probe.during(|| {
            assert!(firewall.stop()?.success());
            next = Some(Firewall::start_with(world, &config)?);
            Ok(())
        })?;
        let (took, sent) = (started.elapsed(), probe.sent() - sent);
        println!("a stop and a start took {took:?}; {arrived} of {sent} datagrams came through");
        assert!(arrived > 0, "bans are removed at the stop");
        assert!(took < Duration::from_secs(10), "the next start is quick");
        eventually("nothing comes through any more", || Ok(probe.during(|| lapi.pulled(1))? == 0))?;
        Ok(())
    })
}
