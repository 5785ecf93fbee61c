//! Kills, reboots, full disks, jumping clocks, and as many decisions as a busy site has.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_e2e::{
    Ban, Config, Firewall, Implementation, Outcome, ScriptedLapi, default_timeout, eventually,
    eventually_within, many_addresses, story, story_within, throughout, tools,
};

const MANY: u32 = 100_000;

#[test]
fn killed_while_it_loads_a_hundred_thousand_bans_it_completes_them_when_it_starts_again() -> Outcome {
    story_within(Duration::from_secs(300), |world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.modern();
        lapi.ban_all(many_addresses(MANY).map(Ban::of));
        lapi.ban("198.51.100.0/24");
        let config = Config::new(world, &lapi.access())?.set("update_frequency", "2s");
        let which = Implementation::under_test()?;
        // At three moments: the answer is under way; the tables are being made; elements are going in.
        for moment in 0..3 {
            let before = lapi.pulls().len();
            let mut firewall = Firewall::launch(world, &which, &config)?;
            let what = format!("moment {moment} of the load");
            eventually_within(default_timeout() * 3, &what, || {
                Ok(match moment {
                    0 => lapi.pulls().len() > before,
                    1 => !world.router.tool(["nft", "list", "tables"])?.is_empty(),
                    _ => firewall.process().log().contains("every decision in force was pulled"),
                })
            })?;
            firewall.process().kill()?;
        }
        let mut firewall = Firewall::launch(world, &which, &config)?;
        eventually_within(default_timeout() * 3, "it is ready", || firewall.is_ready())?;
        let wanted: BTreeSet<String> = many_addresses(MANY).chain(["198.51.100.0/24".to_owned()]).collect();
        eventually_within(default_timeout() * 3, "all are in force", || {
            Ok(world.router.ruleset()?.banned().into_keys().collect::<BTreeSet<_>>() == wanted)
        })?;
        let _service = world.router.echoes_on(80)?;
        assert!(!world.visitor.reaches(&world.router, 80) && world.neighbour.reaches(&world.router, 80));
        let mut again = firewall;
        again.process().kill()?;
        // What stands already is only looked at.
        let mut firewall = Firewall::launch(world, &which, &config)?;
        eventually_within(default_timeout() * 3, "it is ready again", || firewall.is_ready())?;
        assert_eq!(world.router.ruleset()?.banned().len(), wanted.len());
        Ok(())
    })
}

#[test]
fn hosts_and_ranges_of_both_families_by_the_ten_thousand_are_all_in_force() -> Outcome {
    story_within(Duration::from_secs(300), |world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let v4 = (0..10_000_u32).map(|n| Ipv4Addr::from_bits(0x0a00_0001 + n * 300).to_string());
        let v6 =
            (0..10_000_u128).map(|n| Ipv6Addr::from_bits((0x2001_0db8 << 96) | (n << 40) | 1).to_string());
        let v4_ranges = (0..5_000_u32).map(|n| format!("{}/26", Ipv4Addr::from_bits(0x6440_0000 + n * 128)));
        let v6_ranges =
            (0..5_000_u128).map(|n| format!("{}/64", Ipv6Addr::from_bits((0x2001_0db9 << 96) | (n << 65))));
        let wanted: BTreeSet<String> = v4.chain(v6).chain(v4_ranges).chain(v6_ranges).collect();
        let origins = ["CAPI", "crowdsec", "lists:one", "lists:two"];
        lapi.ban_all(
            wanted
                .iter()
                .enumerate()
                .map(|(n, value)| Ban::of(value.as_str()).from_origin(origins[n % origins.len()])),
        );
        let config = Config::new(world, &lapi.access())?.set("update_frequency", "1s");
        let mut firewall = Firewall::launch(world, &Implementation::under_test()?, &config)?;
        eventually_within(default_timeout() * 3, "it is ready", || firewall.is_ready())?;
        let held = || Ok(world.router.ruleset()?.banned().into_keys().collect::<BTreeSet<_>>());
        let in_force: Outcome<BTreeSet<String>> = held();
        let in_force = in_force?;
        let missing: Vec<_> = wanted.difference(&in_force).take(5).collect();
        let extra: Vec<_> = in_force.difference(&wanted).take(5).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "ready, but missing {missing:?}, and beside {extra:?}"
        );
        // One more, and one less, among so many.
        lapi.ban("198.51.100.77");
        lapi.lift("100.64.0.0/26");
        let _service = world.router.echoes_on(80)?;
        eventually("one more is in force", || !world.visitor.reaches(&world.router, 80))?;
        eventually("one less", || {
            let set = world.router.ruleset()?;
            Ok(!set.bans("100.64.0.0/26") && set.bans("100.64.0.128/26"))
        })?;
        Ok(())
    })
}

#[test]
fn a_ban_too_young_to_be_remembered_outlives_a_kill_while_the_lapi_is_away() -> Outcome {
    story(|world| {
        let mut lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.1");
        let config = Config::new(world, &lapi.access())?;
        let file = remembered(&config);
        let mut firewall = Firewall::start_with(world, &config)?;
        eventually("the first ban is on disk", || file.exists())?;
        let on_disk = std::fs::read(&file)?;
        lapi.ban("198.51.100.77");
        lapi.ban("203.0.113.0/24");
        eventually("the young bans are in force", || {
            let rules = world.router.ruleset()?;
            Ok(rules.bans("198.51.100.77") && rules.bans("203.0.113.0/24"))
        })?;
        firewall.process().kill()?;
        // Whether they were written before the kill is a matter of luck; here they were not.
        std::fs::write(&file, on_disk)?;
        lapi.close();
        let mut firewall = Firewall::start_with(world, &config)?;
        throughout(Duration::from_millis(500), "they stay in force", || {
            let rules = world.router.ruleset()?;
            Ok(rules.bans("198.51.100.1") && rules.bans("198.51.100.77") && rules.bans("203.0.113.0/24"))
        })?;
        // The LAPI returns without one of them.
        lapi.erase("198.51.100.77");
        lapi.open()?;
        eventually("what the LAPI does not list is gone, the rest stays", || {
            let rules = world.router.ruleset()?;
            Ok(rules.bans("198.51.100.1") && !rules.bans("198.51.100.77") && rules.bans("203.0.113.0/24"))
        })?;
        firewall.process().kill()
    })
}

#[test]
fn a_rebooted_host_enforces_before_the_network_is_there() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        lapi.ban("2001:db8:a::/64");
        let config = Config::new(world, &lapi.access())?;
        let file = remembered(&config);
        let mut firewall = Firewall::start_with(world, &config)?;
        eventually("the decisions are on disk", || file.exists())?;
        // A power failure: a host without rules and without a LAPI boots with the same disk.
        firewall.process().kill()?;
        world.router.nft("flush ruleset")?;
        let rebooted = world.server()?;
        let _service = rebooted.echoes_on(80)?;
        assert!(world.visitor.reaches(&rebooted, 80));
        let path = config.write(world)?;
        let program = tools::command(Implementation::under_test()?.program())?;
        let mut firewall = Firewall::launch_prepared(world, &rebooted, program, &path, &config)?;
        firewall.ready()?;
        assert!(!world.visitor.reaches(&rebooted, 80) && !world.visitor.reaches_v6(&rebooted, 80));
        assert!(world.neighbour.reaches(&rebooted, 80));
        let left = rebooted.ruleset()?.banned()["198.51.100.77"].expires;
        assert!(
            left.is_some_and(|left| (3000..=3600).contains(&left)),
            "the ban ends when it was to end: {left:?}"
        );
        assert!(firewall.manager_messages()?.iter().any(|line| line.starts_with("STATUS=")));
        Ok(())
    })
}

#[test]
fn a_damaged_or_foreign_memory_is_refused_with_a_warning() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?;
        let file = remembered(&config);
        assert!(Firewall::start_with(world, &config)?.stop()?.success());
        let good = std::fs::read(&file)?;
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x20;
        for (bytes, warning) in [
            (flipped, "is damaged"),
            (good[..good.len() - 7].to_vec(), "is damaged"),
            (b"#!/bin/sh\nexit 1\n".to_vec(), "is not a file of remembered decisions"),
            (Vec::new(), "is not a file of remembered decisions"),
        ] {
            std::fs::write(&file, bytes)?;
            let firewall = Firewall::start_with(world, &config)?;
            assert!(firewall.log_contains(warning), "it should say {warning:?}");
            assert!(world.router.ruleset()?.bans("198.51.100.77"), "the LAPI is there to ask");
            assert!(firewall.stop()?.success());
            // Rewritten, and usable at the next start.
            let firewall = Firewall::start_with(world, &config)?;
            assert!(!firewall.log_contains(warning));
            assert!(firewall.stop()?.success());
        }
        Ok(())
    })
}

#[test]
fn decisions_are_enforced_with_a_full_disk() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all(many_addresses(5_000).map(Ban::of));
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?.set("update_frequency", "0.5s");
        let folder = config.text("state_dir");
        world.router.tool(["mount", "-t", "tmpfs", "-o", "size=4m", "small", &folder])?;
        let ballast = Path::new(&folder).join("ballast");
        let filled = std::fs::write(&ballast, vec![0; 5 << 20]);
        assert!(filled.is_err(), "the disk is full");
        let _service = world.router.echoes_on(80)?;
        let mut firewall = Firewall::start_with(world, &config)?;
        assert!(!world.visitor.reaches(&world.router, 80));
        firewall.wait_for_log("enforced but not remembered")?;
        lapi.ban("203.0.113.9");
        eventually("it goes on enforcing", || !world.neighbour.reaches(&world.router, 80))?;
        let written = |entry: &std::fs::DirEntry| {
            entry.metadata().is_ok_and(|about| about.is_file() && about.len() > 0)
        };
        let left = std::fs::read_dir(&folder)?.flatten().filter(written);
        assert_eq!(left.count(), 1, "nothing half-written is left beside the ballast");
        std::fs::remove_file(&ballast)?;
        firewall.wait_for_log("remembered on disk again")?;
        assert!(remembered(&config).exists());
        Ok(())
    })
}

#[test]
fn an_unwritable_state_folder_is_logged_and_does_not_stop_the_daemon() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?.set("state_dir", "/proc/nowhere");
        let mut firewall = Firewall::start_with(world, &config)?;
        assert!(world.router.ruleset()?.bans("198.51.100.77"));
        eventually("it says so", || firewall.process().log().contains("/proc/nowhere"))?;
        assert!(firewall.stop()?.success());
        Ok(())
    })
}

#[test]
fn a_jump_of_the_clock_neither_ends_nor_prolongs_a_ban() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        let offset = world.fresh_path("offset");
        std::fs::write(&offset, "+0")?;
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?;
        let program =
            tools::command_in(tools::Time::WallClockOff(&offset), Implementation::under_test()?.program())?;
        lapi.ban("192.0.2.1");
        let mut firewall = Firewall::launch_prepared(world, &world.router, program, &path, &config)?;
        firewall.ready()?;
        for jump in ["+2d", "-2d", "+0"] {
            let short = if jump == "+2d" { "198.51.100.77" } else { "198.51.100.78" };
            lapi.ban(Ban::of(short).lasting(Duration::from_secs(4)));
            eventually("a short ban is in force", || Ok(world.router.ruleset()?.bans(short)))?;
            std::fs::write(&offset, jump)?;
            lapi.pulled(2)?;
            // A wrong count would show when the kernel is filled again.
            world.router.nft("flush ruleset")?;
            eventually("it is filled anew", || Ok(world.router.ruleset()?.bans("192.0.2.1")))?;
            let left = world.router.ruleset()?.banned()["192.0.2.1"].expires.unwrap_or(0);
            assert!((3_400..=3_600).contains(&left), "after {jump} an hour has {left} seconds");
            eventually_within(Duration::from_secs(7), "the short ban ends on time", || {
                Ok(!world.router.ruleset()?.bans(short))
            })?;
        }
        throughout(Duration::from_millis(200), "the long one holds", || {
            Ok(world.router.ruleset()?.bans("192.0.2.1"))
        })?;
        assert!(firewall.process().exited().is_none());
        Ok(())
    })
}

/// Where the decisions of a configuration are persisted.
fn remembered(config: &Config) -> PathBuf {
    Path::new(&config.text("state_dir")).join("decisions")
}
