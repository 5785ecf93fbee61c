//! From a line in a log to a dropped packet, over three hosts: CrowdSec's own log processor reads sshd's log, the
//! LAPI's profile creates a decision for its alert, and our firewall on another host enforces it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_e2e::{
    Access, Config, Doing as _, Firewall, Implementation, Lapi, LapiProcess, LogProcessor, Make, Outcome,
    Setup, World, against_either_lapi, eventually, guesses, quiet_hours, story_within, tools,
};
use serde_json::{Value, json};

/// A repeat offender is banned for longer: four hours for each time.
const PROFILES: &str = "\
name: ssh_bruteforce
filters:
 - Alert.Remediation == true && Alert.GetScope() == \"Ip\" && Alert.GetScenario() startsWith \"crowdsecurity/ssh\"
decisions:
 - type: ban
   duration: 4h
duration_expr: Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)
on_success: break
---
name: anything_else
filters:
 - Alert.Remediation == true
decisions:
 - type: captcha
   duration: 1h
on_success: break
";

against_either_lapi!(
    a_replayed_brute_force_is_blocked_on_a_third_host,
    an_attack_is_blocked_while_it_continues
);

/// A LAPI on the router, open to all hosts, with these profiles.
fn central(world: &World, make: Make) -> Outcome<Lapi> {
    let setup = Setup {
        profiles: PROFILES.to_owned(),
        config: json!({ "api": { "server": { "listen_uri": "0.0.0.0:8080" } } }),
        ..Setup::default()
    };
    Lapi::set_up(LapiProcess::prepare(world, make, &setup)?, world)
}

/// A log processor on the neighbour, known to the LAPI.
fn watcher(world: &World, lapi: &Lapi) -> Outcome<LogProcessor> {
    let watcher = LogProcessor::prepare(world, &world.neighbour)?;
    lapi.add_machine("web-1", "password-of-web-1")?;
    watcher.write_credentials(
        &json!({ "url": lapi.url_from_afar(), "login": "web-1", "password": "password-of-web-1" }),
    )?;
    Ok(watcher)
}

fn a_replayed_brute_force_is_blocked_on_a_third_host(world: &World, make: Make) -> Outcome {
    let lapi = central(world, make)?;
    let (attacker, server) = (&world.visitor, world.server()?);
    let _web = server.echoes_on(80)?;
    let access = Access { url: lapi.url_from_afar(), key: lapi.access().key };
    let config = Config::new(world, &access)?;
    let program = tools::command(Implementation::under_test()?.program())?;
    let path = config.write(world)?;
    let mut firewall = Firewall::launch_prepared(world, &server, program, &path, &config)?;
    firewall.ready()?;
    eventually("the server is reached", || attacker.reaches(&server, 80))?;

    let watcher = watcher(world, &lapi)?;
    let log = world.fresh_path("old-auth.log");
    std::fs::write(&log, guesses(attacker.v4()) + &quiet_hours(50_000))?;
    let mut replay = watcher.replay(world, &log)?;
    replay.wait_for_log("198.51.100.77 performed 'crowdsecurity/ssh-bf'")?;
    eventually("the attacker's door is shut", || !attacker.reaches(&server, 80))?;
    assert!(world.neighbour.reaches(&server, 80), "nobody else's is");
    // Both of its scenarios saw him.
    eventually("both alerts are there", || Ok(alerts(&lapi)? == 2))?;
    drop(replay);
    let first = longest(&lapi)?;
    assert!(first > Duration::from_secs(3 * 3600 + 1800), "{first:?}");

    lapi.admin(&["decisions", "delete", "--ip", "198.51.100.77"])?;
    eventually("the door is open again", || attacker.reaches(&server, 80))?;

    // The second time: the profile counts what was decided before.
    std::fs::write(&log, guesses(attacker.v4()) + &quiet_hours(50_000))?;
    let _replay = watcher.replay(world, &log)?;
    eventually("the door is shut again", || !attacker.reaches(&server, 80))?;
    eventually("two more alerts are there", || Ok(alerts(&lapi)? == 4))?;
    let second = longest(&lapi)?;
    assert!(second > first + Duration::from_secs(3600), "{second:?} after {first:?}");
    Ok(())
}

fn an_attack_is_blocked_while_it_continues(world: &World, make: Make) -> Outcome {
    let lapi = central(world, make)?;
    let mut watcher = watcher(world, &lapi)?;
    watcher.start(world)?;
    watcher.is_attacked_by(world.visitor.v4())?;
    watcher.is_attacked_by(world.visitor.v6())?;
    for address in ["198.51.100.77", "2001:db8:a::77"] {
        // It reports that it watches slightly before it does: lines written in between are never read.
        let mut attacked = Instant::now();
        eventually(&format!("{address} is banned"), || {
            if attacked.elapsed() > Duration::from_secs(5) {
                watcher.is_attacked_by(address.parse()?)?;
                attacked = Instant::now();
            }
            Ok(decisions(&lapi)?.iter().any(|decision| {
                decision["value"] == address && decision["type"] == "ban" && decision["origin"] == "crowdsec"
            }))
        })?;
    }
    let alerts: Vec<Value> = serde_json::from_str(&lapi.admin(&["alerts", "list", "-o", "json"])?)?;
    let brute = alerts.iter().find(|alert| {
        alert["scenario"] == "crowdsecurity/ssh-bf" && alert["source"]["value"] == "198.51.100.77"
    });
    let brute = brute.doing(format_args!("no alert of ssh-bf in {alerts:#?}"))?;
    assert_eq!(brute["machine_id"], "web-1", "{brute:#}");
    assert_eq!(brute["events_count"], 6, "{brute:#}");
    assert_eq!(brute["leakspeed"], "10s", "{brute:#}");
    let details: Value =
        serde_json::from_str(&lapi.admin(&["alerts", "inspect", &brute["id"].to_string(), "-o", "json"])?)?;
    let events = details["events"].as_array().map_or(0, Vec::len);
    assert_eq!(events, 6, "{details:#}");
    assert!(details.to_string().contains("ssh_failed-auth"), "{details:#}");
    assert!(watcher.process()?.exited().is_none());
    Ok(())
}

/// How often the log processor is run beside busy processors, unless `PALISADE_ONE_SHOTS` says otherwise.
const ONE_SHOTS: u8 = 2;

/// When its login is slow, a log processor in one-shot mode hangs at the end, and its alerts are lost.
#[test]
fn one_shot_runs_beside_busy_processors_end_with_their_alerts_stored() -> Outcome {
    let runs = std::env::var("PALISADE_ONE_SHOTS").ok().and_then(|text| text.parse().ok());
    let runs = runs.unwrap_or(ONE_SHOTS);
    story_within(Duration::from_secs(60) * (u32::from(runs) + 2), |world| {
        let lapi = central(world, Make::Ours)?;
        let watcher = watcher(world, &lapi)?;
        let log = world.fresh_path("old-auth.log");
        while_busy(|| {
            for n in 1..=runs {
                let attacker = Ipv4Addr::new(192, 0, 2, n);
                std::fs::write(&log, guesses(IpAddr::from(attacker)) + &quiet_hours(50_000))?;
                let status = watcher.replay(world, &log)?.end()?;
                assert!(status.success(), "run {n}: {status}");
                let path = format!("/v1/alerts?ip={attacker}");
                let stored: Vec<Value> = serde_json::from_str(&lapi.as_machine("GET", &path, None)?)?;
                assert!(!stored.is_empty(), "run {n}: no alert about {attacker}");
            }
            Ok(())
        })
    })
}

/// Runs this while every processor computes something else too.
fn while_busy(run: impl FnOnce() -> Outcome) -> Outcome {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stopped = AtomicBool::new(false);
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|threads| {
        let _stop = Stop(&stopped);
        for _ in 0..processors {
            threads.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        run()
    })
}

/// How many alerts there are.
fn alerts(lapi: &Lapi) -> Outcome<usize> {
    Ok(serde_json::from_str::<Vec<Value>>(&lapi.as_machine("GET", "/v1/alerts", None)?)?.len())
}

/// Every decision in force.
fn decisions(lapi: &Lapi) -> Outcome<Vec<Value>> {
    let text = lapi.as_machine("GET", "/v1/alerts?has_active_decision=true", None)?;
    let alerts: Vec<Value> = serde_json::from_str(&text)?;
    Ok(alerts.iter().filter_map(|alert| alert["decisions"].as_array()).flatten().cloned().collect())
}

/// How long the longest of them lasts.
fn longest(lapi: &Lapi) -> Outcome<Duration> {
    let mut longest = Duration::ZERO;
    for decision in decisions(lapi)? {
        // What is over has a negative duration.
        let text = decision["duration"].as_str().doing("a decision has a duration")?.to_owned();
        longest = longest.max(go_duration(&text).unwrap_or_default());
    }
    Ok(longest)
}

/// `3h59m58.1s`, as far as hours and minutes go.
fn go_duration(text: &str) -> Option<Duration> {
    let (hours, rest) = text.split_once('h')?;
    let minutes: u64 = rest.split_once('m')?.0.parse().ok()?;
    Some(Duration::from_secs(hours.parse::<u64>().ok()? * 3600 + minutes * 60))
}
