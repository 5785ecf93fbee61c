//! Lines that lose, delay and break between hosts and their LAPI: late is possible, skipped is not.

use std::time::{Duration, Instant};

use palisade_e2e::{
    FirewallHost, Lapi, LinkConditions, Make, Outcome, agree, all_have_banned, default_timeout, eventually,
    pace, story, story_within,
};
use serde_json::json;

/// One way; both ways alike.
const BAD: LinkConditions = LinkConditions::Bad { delay: Duration::from_millis(50), loss: 0.1 };

#[test]
fn a_line_is_as_bad_as_the_story_makes_it() -> Outcome {
    story(|world| {
        let (far, line) =
            world.host_over_a_line("far", "198.18.1.10".parse()?, "2001:db8:11::10".parse()?)?;
        let _service = world.router.echoes_on(80)?;
        let at = (world.router.v4(), 80).into();
        far.connects(None, at, default_timeout())?;
        line.set(LinkConditions::Bad { delay: Duration::from_millis(50), loss: 0.0 });
        let slow = far.connects(None, at, default_timeout())?;
        assert!(
            slow >= Duration::from_millis(200),
            "a handshake and an echo cross the line four times: {slow:?}"
        );
        line.set(BAD);
        eventually("packets are lost, and yet all is carried", || {
            far.connects(None, at, default_timeout())?;
            let (passed, lost) = line.counts();
            Ok(lost >= 3 && lost * 4 < passed)
        })?;
        line.set(LinkConditions::Cut);
        let cut = far.connects(None, at, Duration::from_millis(300));
        assert!(cut.is_err(), "{cut:?}");
        line.set(LinkConditions::Fair);
        eventually("it is healed", || far.connects(None, at, Duration::from_millis(400)).is_ok())?;
        Ok(())
    })
}

#[test]
fn a_lossy_line_that_is_cut_longer_than_a_request_takes_costs_no_change() -> Outcome {
    story_within(Duration::from_secs(300), |world| {
        let lapi = Lapi::start_open(world, Make::Ours, &json!({}))?;
        let site = world.site(2)?;
        let firewall_hosts = FirewallHost::all(world, &site.hosts, &lapi.access_from_afar(), |config, _| {
            Ok(config.set("push_wait", "2s"))
        })?;
        site.line.set(BAD);
        let mut told = Vec::new();
        let mut held = Vec::new();
        // Each has to arrive before it is lifted, so that a host that skips it is seen to.
        for n in 0..12 {
            let value = format!("192.0.2.{n}");
            held.push((value.clone(), lapi.ban(value.as_str())?));
            told.push((value.clone(), true));
            all_have_banned(&firewall_hosts, &value)?;
            if n % 3 == 2 {
                let (value, ban) = held.remove(0);
                lapi.lift(ban)?;
                told.push((value, false));
            }
        }
        site.line.set(LinkConditions::Cut);
        // Longer than a request may take: the long poll's two seconds and the 30 s for the head.
        let healed = Instant::now() + Duration::from_secs(35);
        let mut n = 0;
        while Instant::now() < healed {
            let value = format!("198.51.101.{}", n % 250);
            let ban = lapi.ban(value.as_str())?;
            match n % 3 {
                // Added and lifted while no host is connected.
                0 => lapi.lift(ban)?,
                // Lifted while they enforce it and are not connected.
                1 if !held.is_empty() => {
                    let (value, ban) = held.remove(0);
                    lapi.lift(ban)?;
                    told.push((value, false));
                    told.push((format!("198.51.101.{}", n % 250), true));
                }
                _ => told.push((value, true)),
            }
            n += 1;
            pace(Duration::from_millis(500));
        }
        site.line.set(BAD);
        agree(&firewall_hosts, &lapi, default_timeout() * 2)?;
        for firewall_host in &firewall_hosts {
            firewall_host.history.holds_all(&told)?;
        }
        Ok(())
    })
}
