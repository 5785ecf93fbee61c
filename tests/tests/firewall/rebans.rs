//! Decisions that repeat, overlap and replace each other: what is in force is always the longest of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Element, Firewall, Lapi, Make, Outcome, ScriptedLapi, World, against_either_lapi,
    eventually, eventually_within, story, throughout,
};

against_either_lapi!(a_longer_ban_prolongs_the_one_in_force,);

const HOUR: Duration = Duration::from_secs(3600);

fn a_longer_ban_prolongs_the_one_in_force(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let _firewall = Firewall::start(world, &lapi.access())?;
    lapi.ban(Ban::of("198.51.100.77").lasting(HOUR))?;
    lapi.ban(Ban::of("2001:db8:a::/64").lasting(HOUR))?;
    eventually("both are in force", || {
        Ok(ends_in(world, "198.51.100.77", HOUR)? && ends_in(world, "2001:db8:a::/64", HOUR)?)
    })?;
    lapi.ban(Ban::of("198.51.100.77").lasting(5 * HOUR))?;
    lapi.ban(Ban::of("2001:db8:a::/64").lasting(6 * HOUR))?;
    eventually("the host stays banned for longer", || ends_in(world, "198.51.100.77", 5 * HOUR))?;
    eventually("the range too", || ends_in(world, "2001:db8:a::/64", 6 * HOUR))?;
    // The LAPI announces nothing for a shorter one: the longest holds.
    lapi.ban(Ban::of("198.51.100.77").lasting(Duration::from_secs(60)))?;
    lapi.ban(Ban::of("192.0.2.66"))?;
    eventually("what came later is in force", || Ok(world.router.ruleset()?.bans("192.0.2.66")))?;
    assert!(ends_in(world, "198.51.100.77", 5 * HOUR)?);
    Ok(())
}

#[test]
fn a_ban_replaced_by_a_shorter_one_ends_sooner() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        lapi.ban(Ban::of("198.51.100.77").lasting(5 * HOUR));
        lapi.ban(Ban::of("198.51.100.0/28").lasting(5 * HOUR));
        eventually("both are in force", || {
            Ok(ends_in(world, "198.51.100.77", 5 * HOUR)? && ends_in(world, "198.51.100.0/28", 5 * HOUR)?)
        })?;
        for value in ["198.51.100.77", "198.51.100.0/28"] {
            lapi.lift(value);
            lapi.ban(Ban::of(value).lasting(HOUR));
        }
        eventually("the host's ban ends sooner", || ends_in(world, "198.51.100.77", HOUR))?;
        eventually("the range's too", || ends_in(world, "198.51.100.0/28", HOUR))?;
        Ok(())
    })
}

#[test]
fn the_longest_of_two_hundred_bans_of_one_address_wins_within_three_seconds() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        lapi.pulled(1)?;
        let bans: Vec<_> = (1..=200)
            .map(|hours| (hours, Ban::of("198.51.100.77"), format!("{hours}h0m0.000000001s")))
            .collect();
        let rows: Vec<_> = bans.iter().map(|(id, ban, text)| (*id, ban.clone(), text.as_str())).collect();
        lapi.next_is(&rows, &[]);
        eventually_within(Duration::from_secs(3), "it is banned for two hundred hours", || {
            ends_in(world, "198.51.100.77", 200 * HOUR)
        })?;
        assert_eq!(world.router.ruleset()?.banned().len(), 1);
        Ok(())
    })
}

/// The upstream suite's trap: an address announced as id 0, then twice as id 2, and deleted as id 2 alone.
#[test]
fn bans_are_identified_by_content_and_not_by_id() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let mut firewall = Firewall::start(world, &lapi.access())?;
        lapi.pulled(1)?;
        let (a, b) = (Ban::of("1.2.3.4"), Ban::of("1.2.3.5"));
        let is = |values: &[&str]| {
            Ok(world.router.ruleset()?.banned().keys().map(String::as_str).eq(values.iter().copied()))
        };
        lapi.next_is(&[(0, a.clone(), "4h0m0.1s"), (1, b.clone(), "4h0m0.1s")], &[]);
        eventually("both are banned", || is(&["1.2.3.4", "1.2.3.5"]))?;
        lapi.next_is(&[(2, a.clone(), "4h0m0.1s"), (2, a.clone(), "4h0m0.1s")], &[]);
        lapi.pulled(2)?;
        assert!(is(&["1.2.3.4", "1.2.3.5"])?, "announced again, banned once");
        lapi.next_is(&[], &[(2, a.clone(), "-1s"), (1, b.clone(), "-1s")]);
        eventually("neither is banned", || is(&[]))?;
        lapi.next_is(&[], &[(2, a, "-3s"), (1, b, "-3s")]);
        lapi.pulled(2)?;
        assert!(firewall.process().exited().is_none(), "deleting again does no harm");
        Ok(())
    })
}

#[test]
fn a_hundred_decisions_with_duplicates_make_as_many_elements_as_addresses() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        // 77 addresses from 0.0.0.0 on, and 23 of them again. Low addresses are addresses.
        let v4: Vec<IpAddr> = (0..77).map(|n| Ipv4Addr::from_bits(n).into()).collect();
        let v6: Vec<IpAddr> = (0..77).map(|n| Ipv6Addr::from_bits((1 << 32) + n).into()).collect();
        for addresses in [&v4, &v6] {
            let wanted = addresses.iter().chain(&addresses[..23]);
            lapi.ban_all(wanted.map(|address| Ban::from(*address)));
        }
        let everything: BTreeSet<IpAddr> = v4.iter().chain(&v6).copied().collect();
        eventually("each address is banned once", || Ok(held(world)? == everything))?;
        let rules = world.router.ruleset()?;
        let elements = |family: &str| {
            rules
                .sets()
                .iter()
                .filter(|set| set.family == family && set.bans())
                .map(|set| set.elements.len())
                .sum::<usize>()
        };
        assert_eq!((elements("ip"), elements("ip6")), (77, 77));
        lapi.lift(&v4[40].to_string());
        lapi.lift(&v6[3].to_string());
        let mut rest = everything;
        rest.remove(&v4[40]);
        rest.remove(&v6[3]);
        eventually("the lifted ones are gone and no other", || Ok(held(world)? == rest))?;
        Ok(())
    })
}

#[test]
fn bans_end_after_the_bouncer_was_killed() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let mut firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        let lasting = Duration::from_secs(4);
        lapi.ban(Ban::of("198.51.100.77").lasting(lasting));
        lapi.ban(Ban::of("2001:db8:a::/64").lasting(lasting));
        eventually("the visitor is cut off", || {
            !world.visitor.reaches(&world.router, 80) && !world.visitor.reaches_v6(&world.router, 80)
        })?;
        firewall.process().kill()?;
        assert!(!world.visitor.reaches(&world.router, 80), "a ban outlives the process that made it");
        eventually("the kernel ends the host's ban by itself", || world.visitor.reaches(&world.router, 80))?;
        eventually("and the range's", || world.visitor.reaches_v6(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn a_ban_of_two_origins_holds_until_both_are_gone() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        let _service = world.router.echoes_on(80)?;
        let by_hand = Ban::of("198.51.100.77");
        let listed = Ban::of("198.51.100.64/26").from_origin("lists:bad guests").lasting(2 * HOUR);
        lapi.ban(by_hand);
        lapi.ban(listed);
        let has_set = |origin: &str| -> Outcome<bool> {
            Ok(world.router.ruleset()?.sets().iter().any(|set| set.name.ends_with(origin)))
        };
        eventually("each origin has its set", || Ok(has_set("-cscli")? && has_set("lists-bad_x20_guests")?))?;
        eventually("the visitor is cut off", || !world.visitor.reaches(&world.router, 80))?;
        lapi.lift("198.51.100.77");
        lapi.pulled(3)?;
        throughout(Duration::from_millis(300), "the list still bans it", || {
            !world.visitor.reaches(&world.router, 80)
        })?;
        lapi.lift("198.51.100.64/26");
        eventually("the visitor is let in", || world.visitor.reaches(&world.router, 80))?;
        Ok(())
    })
}

#[test]
fn a_ban_and_a_captcha_on_one_address_are_two_decisions() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let _firewall = Firewall::start(world, &lapi.access())?;
        lapi.pulled(1)?;
        let (ban, captcha) = (Ban::of("198.51.100.77"), Ban::of("198.51.100.77").kind("captcha"));
        lapi.next_is(&[(1, ban.clone(), "1h"), (2, captcha.clone(), "2h")], &[]);
        eventually("it is banned for as long as the ban says", || ends_in(world, "198.51.100.77", HOUR))?;
        lapi.next_is(&[], &[(2, captcha, "-1s")]);
        lapi.pulled(2)?;
        assert!(ends_in(world, "198.51.100.77", HOUR)?, "the end of the captcha is not the end of the ban");
        lapi.next_is(&[], &[(1, ban, "-1s")]);
        eventually("it is let in", || Ok(!world.router.ruleset()?.bans("198.51.100.77")))?;
        Ok(())
    })
}

#[test]
fn a_decision_that_cannot_be_read_does_not_lose_the_others() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let config = Config::new(world, &lapi.access())?.set("scopes", vec!["ip", "range", "country"]);
        let mut firewall = Firewall::start_with(world, &config)?;
        lapi.pulled(1)?;
        let odd = [
            (1, Ban::of("not an address"), "1h"),
            (2, Ban::of("192.0.2.1"), "soon"),
            (3, Ban::of("FR").scope("Country"), "1h"),
            (4, Ban::of("192.0.2.300"), "1h"),
            (5, Ban::of("192.0.2.0/33"), "1h"),
            (6, Ban::of("192.0.2.7"), "0s"),
            (7, Ban::of("192.0.2.8"), "-5s"),
            (8, Ban::of("192.0.2.9"), "1h"),
            (9, Ban::of("2001:db8::9"), "1h"),
        ];
        lapi.next_is(&odd, &[]);
        let readable = ["192.0.2.9", "2001:db8::9"].map(str::to_owned);
        eventually("what can be read is in force", || {
            Ok(world.router.ruleset()?.banned().keys().eq(readable.iter()))
        })?;
        lapi.pulled(2)?;
        assert!(world.router.ruleset()?.banned().keys().eq(readable.iter()));
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

/// Whether this value is banned for so long, give or take what a loaded machine takes.
fn ends_in(world: &World, value: &str, span: Duration) -> Outcome<bool> {
    let banned = world.router.ruleset()?.banned();
    let left = |element: &Element| element.expires.map(Duration::from_secs);
    let tolerance = Duration::from_secs(60);
    Ok(banned.get(value).and_then(left).is_some_and(|left| left.abs_diff(span) < tolerance))
}

/// Every single address in the kernel's sets, as numbers, whatever way they are printed.
fn held(world: &World) -> Outcome<BTreeSet<IpAddr>> {
    Ok(world.router.ruleset()?.banned().keys().filter_map(|value| value.parse().ok()).collect())
}
