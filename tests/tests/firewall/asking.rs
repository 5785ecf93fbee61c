//! The operator's commands: whether an address is banned, why, for how long, and how fresh the decisions are.

use palisade_e2e::{
    Ban, Config, Failure, Fault, Firewall, Implementation, Lapi, Make, Outcome, ScriptedLapi, World,
    against_either_lapi, eventually, story,
};
use serde_json::{Value, json};

against_either_lapi!(lookup_prints_the_decisions_on_an_address_and_their_reasons,);

fn lookup_prints_the_decisions_on_an_address_and_their_reasons(world: &World, make: Make) -> Outcome {
    let lapi = Lapi::start(world, make)?;
    let firewall = Firewall::start(world, &lapi.access())?;
    lapi.ban("198.51.100.77")?;
    lapi.ban(Ban::of("198.51.100.0/24").from_origin("lists:bad guests"))?;
    eventually("both are in force", || Ok(world.router.ruleset()?.banned().len() >= 2))?;
    let ask = |subject: &str| ask(world, &firewall, &["lookup", "-json", subject]);
    let host = ask("198.51.100.77")?;
    assert_eq!(host["verdict"]["remediation"], "ban", "{host:#}");
    assert_eq!(host["effect"], json!({"denied": true, "reason": "drop"}), "{host:#}");
    let covering = host["decisions"].as_array().map_or(0, Vec::len);
    assert_eq!(covering, 2, "its own ban and the range's: {host:#}");
    let other = ask("198.51.100.78")?;
    assert_eq!(other["verdict"]["scenario"], "bad guests", "{other:#}");
    assert_eq!(other["verdict"]["value"], "198.51.100.0/24", "{other:#}");
    assert!(other["verdict"]["seconds_left"].as_u64().is_some_and(|left| (3000..=3600).contains(&left)));
    let free = ask("203.0.113.9")?;
    assert_eq!(free["effect"]["denied"], false, "{free:#}");
    assert!(free["verdict"].is_null() && free["state"]["source"] == "running", "{free:#}");
    let (status, said) = run(world, &firewall, &["lookup", "198.51.100.78"])?;
    assert!(
        status
            && said.contains("198.51.100.78: denied (drop)\n198.51.100.78: ban for")
            && said.contains("bad guests"),
        "{said}"
    );
    let (status, said) = run(world, &firewall, &["lookup", "not an address"])?;
    assert!(!status, "{said}");
    Ok(())
}

#[test]
fn status_prints_the_age_of_the_decisions_and_the_error() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("192.0.2.1");
        lapi.ban("2001:db8::/48");
        let firewall = Firewall::start(world, &lapi.access())?;
        let status = ask(world, &firewall, &["status", "-json"])?;
        assert_eq!(status["state"]["decisions"], 2, "{status:#}");
        assert!(status["state"]["failing"].is_null(), "{status:#}");
        lapi.meanwhile(Fault::Status(500));
        eventually("it tells that the LAPI fails", || {
            Ok(ask(world, &firewall, &["status", "-json"])?["state"]["failing"].is_string())
        })?;
        lapi.heal();
        eventually("and that it answers again", || {
            Ok(ask(world, &firewall, &["status", "-json"])?["state"]["failing"].is_null())
        })?;
        Ok(())
    })
}

#[test]
fn explain_reads_the_kernel_beside_the_running_bouncer() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let firewall = Firewall::start(world, &lapi.access())?;
        eventually("it is in force", || Ok(world.router.ruleset()?.banned().len() == 1))?;
        let banned = ask(world, &firewall, &["explain", "-json", "-port", "443", "198.51.100.77"])?;
        assert_eq!(banned["cache"]["source"], "running", "{banned:#}");
        assert_eq!(banned["cache"]["effect"]["denied"], true, "{banned:#}");
        assert_eq!(banned["disagreements"], json!([]), "{banned:#}");
        let hooks = banned["hooks"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(!hooks.is_empty() && hooks.iter().all(|hook| hook["denied"] == true), "{banned:#}");
        let (status, said) = run(world, &firewall, &["explain", "198.51.100.78"])?;
        assert!(status && said.contains("198.51.100.78: let through by the kernel at "), "{said}");
        assert!(said.contains("cache: let through: no decision covers it"), "{said}");
        let (status, said) = run(world, &firewall, &["explain", "198.51.100.0/24"])?;
        assert!(!status && said.contains("is not an address"), "{said}");
        Ok(())
    })
}

#[test]
fn commands_read_the_persisted_decisions_of_a_stopped_bouncer() -> Outcome {
    story(|world| {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban("198.51.100.77");
        let config = Config::new(world, &lapi.access())?;
        let path = config.write(world)?.display().to_string();
        assert!(Firewall::start_with(world, &config)?.stop()?.success());
        let (status, said) =
            Implementation::under_test()?.run(world, &["-c", &path, "lookup", "198.51.100.77"])?;
        assert!(status.success() && said.contains("198.51.100.77: ban for"), "{said}");
        assert!(said.contains("effect unknown: no bouncer is running"), "{said}");
        assert!(said.contains("is not running"), "{said}");
        assert!(world.router.ruleset()?.tables().is_empty(), "asking changes nothing");
        Ok(())
    })
}

/// Runs a query, and parses its JSON.
fn ask(world: &World, firewall: &Firewall, words: &[&str]) -> Outcome<Value> {
    let (_, said) = run(world, firewall, words)?;
    // One line of standard output; log lines on standard error stand before or behind it.
    let json = said.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(json).map_err(|error| Failure::new(format!("{words:?}: {error}: {said}")))
}

/// Runs a query; returns whether it succeeded, and the output.
fn run(world: &World, firewall: &Firewall, words: &[&str]) -> Outcome<(bool, String)> {
    let path = firewall.config_file().display().to_string();
    let all: Vec<&str> = ["-c", path.as_str()].into_iter().chain(words.iter().copied()).collect();
    let (status, said) = Implementation::under_test()?.run(world, &all)?;
    Ok((status.success(), said))
}
