//! The log of the first minute: one line per fact, as message and fields, with the stock bouncer's lines.

use std::time::Duration;

use palisade_e2e::{Ban, Config, Firewall, Outcome, ScriptedLapi, World, eventually, story};

use super::{operators_tables, set_only};

#[test]
fn the_first_minute_is_logged_with_one_line_per_fact() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.modern();
        let config = Config::new(world, &lapi.access())?;
        let log = first_minute(world, &lapi, &config)?;
        let guarded = the_line(&log, "nftables initiated");
        for part in ["ip crowdsec", "ip6 crowdsec6", "input", "forward", "drop"] {
            assert!(guarded.contains(part), "what is guarded names {part:?}: {guarded}");
        }
        the_line(&log, "removing 'crowdsec' table");
        the_line(&log, "removing 'crowdsec6' table");
        counts_decisions(&log);
        Ok(())
    })
}

#[test]
fn the_first_minute_of_an_operators_interval_set_counts_decisions_too() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.modern();
        operators_tables(world, "interval,timeout")?;
        let config = set_only(world, &lapi)?;
        let log = first_minute(world, &lapi, &config)?;
        let guarded = the_line(&log, "nftables initiated");
        for part in ["ip mine (set-only)", "ip6 mine (set-only)"] {
            assert!(guarded.contains(part), "what is guarded names {part:?}: {guarded}");
        }
        assert!(!log.contains("removing '"), "no table is removed: {log}");
        counts_decisions(&log);
        Ok(())
    })
}

/// A start, three decisions of which two lie in the third, one lift, the stop; the log of it.
fn first_minute(world: &World, lapi: &ScriptedLapi, config: &Config) -> Outcome<String> {
    let firewall = Firewall::start_with(world, config)?;
    lapi.ban_all(["192.0.2.0/24", "192.0.2.64/26", "192.0.2.7"].map(Ban::of));
    eventually("it says that three came", || firewall.log_contains("3 decisions added"))?;
    lapi.lift("192.0.2.64/26");
    eventually("it says that one went", || firewall.log_contains("1 decision deleted"))?;
    lapi.ban(Ban::of("192.0.2.7").lasting(Duration::from_secs(4 * 3600)));
    lapi.pulled(3)?;
    let file = firewall.config_file().to_owned();
    let mut firewall = firewall;
    firewall.process().signal(palisade_e2e::Signal::TERM)?;
    let status = firewall.process().end()?;
    let log = firewall.log();
    assert!(status.success() && file.exists(), "{log}");
    for stock in [
        "Starting crowdsec-firewall-bouncer",
        "Received shutdown signal, exiting gracefully",
        "Shutting down backend",
    ] {
        the_line(&log, stock);
    }
    for debug in ["{", "}", "Applied", "Some(", "None", "[", "older LAPI"] {
        let odd: Vec<_> = log.lines().filter(|line| line.contains(debug)).collect();
        assert_eq!(odd, Vec::<&str>::new(), "{debug:?} is for programmers:\n{log}");
    }
    assert!(!log.contains("level=warning") && !log.contains("level=error"), "{log}");
    let mut facts: Vec<_> =
        log.lines().filter_map(|line| line.split_once("msg=").map(|(_, said)| said)).collect();
    let all = facts.len();
    facts.sort_unstable();
    facts.dedup();
    assert_eq!(facts.len(), all, "no line twice:\n{log}");
    Ok(log)
}

fn counts_decisions(log: &str) {
    let about: Vec<_> =
        log.lines().filter(|line| line.contains("decision") && !line.contains("in force")).collect();
    let added: Vec<_> =
        about.iter().filter(|line| line.contains("added") || line.contains("announced")).collect();
    let gone: Vec<_> =
        about.iter().filter(|line| line.contains("deleted") || line.contains("lifted")).collect();
    assert_eq!((added.len(), gone.len()), (1, 1), "one line for what came, one for what went:\n{log}");
    the_line(log, "3 decisions added");
    the_line(log, "1 decision deleted");
}

/// The only log line with this message.
fn the_line<'a>(log: &'a str, words: &str) -> &'a str {
    let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
    assert_eq!(lines.len(), 1, "one line says {words:?}:\n{log}");
    lines[0]
}
