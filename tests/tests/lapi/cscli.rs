//! CrowdSec's own cscli 1.4.6 on another host: everything it does over HTTP.

use std::net::IpAddr;

use palisade_e2e::tools::ToolOutput;
use palisade_e2e::{
    Doing as _, Lapi, LapiProcess, LogProcessor, Make, Outcome, Setup, World, against_either_lapi, eventually,
};
use serde_json::{Value, json};

against_either_lapi!(
    a_machine_registers_waits_and_is_let_in,
    decisions_are_added_listed_and_deleted,
    decisions_are_imported,
    alerts_are_listed_inspected_and_deleted,
);

/// A LAPI on the router, open to all hosts; alerts are deleted from the neighbour's network and not from elsewhere.
fn central(world: &World, make: Make) -> Outcome<Lapi> {
    let server = json!({ "listen_uri": "0.0.0.0:8080", "trusted_ips": ["203.0.113.0/24"] });
    let config = json!({ "api": { "server": server } });
    Lapi::set_up(LapiProcess::prepare(world, make, &Setup { config, ..Setup::default() })?, world)
}

/// cscli on a host, with registered credentials.
fn operator(world: &World, lapi: &Lapi, name: &str, at_home: bool) -> Outcome<LogProcessor> {
    let operator = LogProcessor::prepare(world, if at_home { &world.neighbour } else { &world.visitor })?;
    lapi.add_machine(name, "password")?;
    let credentials = json!({ "url": lapi.url_from_afar(), "login": name, "password": "password" });
    operator.write_credentials(&credentials)?;
    Ok(operator)
}

fn cscli(operator: &LogProcessor, words: &[&str]) -> Outcome<ToolOutput> {
    operator.tool(Make::Stock, words)
}

fn json(operator: &LogProcessor, words: &[&str]) -> Outcome<Vec<Value>> {
    let mut words = words.to_vec();
    words.extend(["-o", "json"]);
    let text = cscli(operator, &words)?.into_stdout()?;
    let value: Value = serde_json::from_str(&text).doing(format_args!("reading {text:?}"))?;
    Ok(value.as_array().cloned().unwrap_or_default())
}

fn a_machine_registers_waits_and_is_let_in(world: &World, make: Make) -> Outcome {
    let lapi = central(world, make)?;
    let web = LogProcessor::prepare(world, &world.neighbour)?;
    let url = lapi.url_from_afar();
    let register = ["lapi", "register", "--url", &url, "--machine", "web-1", "-f"];
    let file = web.credentials().display().to_string();
    let mut words = register.to_vec();
    words.push(&file);
    let said = cscli(&web, &words)?;
    assert_eq!(said.code, 0, "{said:?}");
    let written = std::fs::read_to_string(web.credentials())?;
    assert!(written.contains("login: web-1") && written.contains(&url), "{written}");

    let said = cscli(&web, &["lapi", "status"])?;
    assert!(said.code != 0 && said.has("machine web-1 not validated"), "{said:?}");
    lapi.admin(&["machines", "validate", "web-1"])?;
    let said = cscli(&web, &["lapi", "status"])?;
    assert!(said.code == 0 && said.has("You can successfully interact with Local API (LAPI)"), "{said:?}");

    let row = || -> Outcome<Value> {
        let found = lapi.machines()?.into_iter().find(|row| row["machineId"] == "web-1");
        found.doing("web-1 is listed")
    };
    let version = |row: &Value| row["version"].as_str().is_some_and(|version| version.starts_with("v1.4.6"));
    eventually("its version is listed", || Ok(version(&row()?)))?;
    let row = row()?;
    assert_eq!(row["ipAddress"], world.neighbour.v4().to_string(), "{row:#}");
    assert_eq!(row["isValidated"], true, "{row:#}");

    // The name is taken now, for every machine.
    let other = LogProcessor::prepare(world, &world.visitor)?;
    let file = other.credentials().display().to_string();
    let mut words = register.to_vec();
    words.push(&file);
    let said = cscli(&other, &words)?;
    assert!(said.code != 0 && said.has("user 'web-1': user already exist"), "{said:?}");

    // A wrong password is reported as such.
    web.write_credentials(&json!({ "url": url, "login": "web-1", "password": "guessed" }))?;
    let said = cscli(&web, &["lapi", "status"])?;
    assert!(said.code != 0 && said.has("incorrect Username or Password"), "{said:?}");
    Ok(())
}

fn decisions_are_added_listed_and_deleted(world: &World, make: Make) -> Outcome {
    let lapi = central(world, make)?;
    let admin = operator(world, &lapi, "operator", true)?;
    assert!(json(&admin, &["decisions", "list"])?.is_empty());
    for words in [
        "decisions add -i 192.0.2.66",
        "decisions add --range 192.0.2.0/28 --type captcha --duration 30m --reason guests",
        "decisions add -i 2001:db8::66 -d 48h",
        "decisions add --scope Country --value FR -d 10m",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let said = cscli(&admin, &words)?;
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
    }
    let listed = decisions(&admin, &[])?;
    let values: Vec<&str> = listed.iter().filter_map(|decision| decision["value"].as_str()).collect();
    assert_eq!(values, ["FR", "2001:db8::66", "192.0.2.0/28", "192.0.2.66"], "newest first");
    let range = &listed[2];
    assert_eq!(range["scope"], "Range", "{range:#}");
    assert_eq!(range["type"], "captcha", "{range:#}");
    assert_eq!(range["scenario"], "guests", "{range:#}");
    assert_eq!(range["origin"], "cscli", "{range:#}");
    // All of it is left when a quick machine lists within the first second.
    let left = range["duration"].as_str().unwrap_or_default();
    assert!(left.starts_with("29m") || left == "30m0s", "{range:#}");
    assert_eq!(listed[3]["scenario"], "manual 'ban' from 'operator'", "{:#}", listed[3]);

    let raw = cscli(&admin, &["decisions", "list", "-o", "raw"])?.into_stdout()?;
    let lines: Vec<&str> = raw.lines().collect();
    assert!(lines[0].starts_with("id,source,ip,reason,action,country,as,events_count,expiration"), "{raw}");
    assert_eq!(lines.len(), 5, "{raw}");
    let row = ",cscli,Ip:192.0.2.66,manual 'ban' from 'operator',ban,,,1,";
    assert!(["3h59m", "4h0m0s"].iter().any(|left| lines[4].contains(&format!("{row}{left}"))), "{raw}");
    let human = cscli(&admin, &["decisions", "list", "-o", "human"])?.into_stdout()?;
    assert!(human.contains("Range:192.0.2.0/28") && human.contains("captcha"), "{human}");

    // Which are asked for: by address, also inside a range; by range, also what it contains; by what they are.
    for (words, expected) in [
        (vec!["--ip", "192.0.2.3"], vec!["192.0.2.0/28"]),
        (vec!["--ip", "192.0.2.66"], vec!["192.0.2.66"]),
        (vec!["--range", "192.0.2.0/24", "--contained"], vec!["192.0.2.0/28", "192.0.2.66"]),
        (vec!["--scope", "Country"], vec!["FR"]),
        (vec!["--type", "captcha"], vec!["192.0.2.0/28"]),
        (vec!["--origin", "cscli", "--value", "2001:db8::66"], vec!["2001:db8::66"]),
        (vec!["--scenario", "guests"], vec!["192.0.2.0/28"]),
        (vec!["--origin", "CAPI"], vec![]),
    ] {
        let listed = decisions(&admin, &words)?;
        let values: Vec<&str> = listed.iter().filter_map(|decision| decision["value"].as_str()).collect();
        assert_eq!(values, expected, "{words:?}");
    }

    // The first deletion is by value, then by id, then of all that is left.
    let said = cscli(&admin, &["decisions", "delete", "--ip", "2001:db8::66"])?;
    assert!(said.code == 0 && said.has("1 decision(s) deleted"), "{said:?}");
    let id = listed[2]["id"].to_string();
    let said = cscli(&admin, &["decisions", "delete", "--id", &id])?;
    assert!(said.code == 0 && said.has("1 decision(s) deleted"), "{said:?}");
    let said = cscli(&admin, &["decisions", "delete", "--ip", "192.0.2.99"])?;
    assert!(said.code == 0 && said.has("0 decision(s) deleted"), "{said:?}");
    let said = cscli(&admin, &["decisions", "delete", "--id", "999999"])?;
    assert!(said.code != 0 && said.has("999999"), "{said:?}");
    assert_eq!(decisions(&admin, &[])?.len(), 2);
    let said = cscli(&admin, &["decisions", "delete", "--all"])?;
    assert!(said.code == 0 && said.has("2 decision(s) deleted"), "{said:?}");
    let human = cscli(&admin, &["decisions", "list", "-o", "human"])?;
    assert!(human.has("No active decisions"), "{human:?}");
    Ok(())
}

fn decisions_are_imported(world: &World, make: Make) -> Outcome {
    let lapi = central(world, make)?;
    let admin = operator(world, &lapi, "operator", true)?;
    let file = |name: &str, text: &str| -> Outcome<String> {
        let path = world.fresh_path("import").with_extension(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let csv =
        file("csv", "duration,value,reason,type\n24h,192.0.2.1,listed,ban\n12h,192.0.2.2,listed,captcha\n")?;
    let said = cscli(&admin, &["decisions", "import", "-i", &csv])?;
    assert_eq!(said.code, 0, "{said:?}");
    // It takes no scope from the file.
    let ranges = file("csv", "value\n198.51.0.0/16\n")?;
    let said = cscli(&admin, &["decisions", "import", "-i", &ranges, "--scope", "Range", "-d", "24h"])?;
    assert_eq!(said.code, 0, "{said:?}");
    let listed = decisions(&admin, &["-a"])?;
    assert_eq!(listed.len(), 3, "{listed:#?}");
    let range =
        listed.iter().find(|decision| decision["value"] == "198.51.0.0/16").doing("the range is in")?;
    assert_eq!(range["scope"], "Range", "{range:#}");
    assert_eq!(range["origin"], "cscli-import", "{range:#}");
    // Rounded to seconds, so all of the 24 hours are left in the first half second.
    let left = range["duration"].as_str().unwrap_or_default();
    assert!(left == "24h0m0s" || left.starts_with("23h59m"), "{range:#}");
    assert!(listed.iter().any(|decision| decision["value"] == "192.0.2.2" && decision["type"] == "captcha"));

    // Thousands, from JSON.
    let many: Vec<Value> = (0..2500u32)
        .map(
            |n| json!({ "value": IpAddr::from(n.wrapping_add(0x0a00_0000).to_be_bytes()), "duration": "4h" }),
        )
        .collect();
    let json_file = file("json", &serde_json::to_string(&many)?)?;
    let said = cscli(&admin, &["decisions", "import", "-i", &json_file, "-R", "blocklist"])?;
    assert_eq!(said.code, 0, "{said:?}");
    let text = lapi.as_machine("GET", "/v1/alerts?has_active_decision=true&limit=0", None)?;
    let alerts: Vec<Value> = serde_json::from_str(&text)?;
    let made = alerts.iter().filter_map(|alert| alert["decisions"].as_array()).map(Vec::len).sum::<usize>();
    assert_eq!(made, 2503);

    let said = cscli(&admin, &["decisions", "delete", "--all"])?;
    assert!(said.code == 0 && said.has("2503 decision(s) deleted"), "{said:?}");
    Ok(())
}

fn alerts_are_listed_inspected_and_deleted(world: &World, make: Make) -> Outcome {
    let lapi = central(world, make)?;
    let admin = operator(world, &lapi, "operator", true)?;
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        cscli(&admin, &["decisions", "add", "-i", address, "--reason", "by hand"])?.into_stdout()?;
    }
    let alerts = json(&admin, &["alerts", "list"])?;
    assert_eq!(alerts.len(), 3, "{alerts:#?}");
    assert_eq!(alerts[0]["source"]["value"], "192.0.2.3", "newest first");
    assert_eq!(alerts[0]["scenario"], "by hand");
    let only = json(&admin, &["alerts", "list", "--ip", "192.0.2.2"])?;
    assert_eq!(only.len(), 1, "{only:#?}");
    assert_eq!(json(&admin, &["alerts", "list", "-l", "2"])?.len(), 2);
    assert!(json(&admin, &["alerts", "list", "--since", "1h", "--scenario", "nobody"])?.is_empty());
    assert!(json(&admin, &["alerts", "list", "--until", "1h"])?.is_empty());
    let raw = cscli(&admin, &["alerts", "list", "-o", "raw"])?.into_stdout()?;
    assert!(raw.starts_with("id,scope,value,reason,country,as,decisions,created_at"), "{raw}");
    assert!(raw.contains(",Ip,192.0.2.3,by hand,,,ban:1,"), "{raw}");

    let id = only[0]["id"].to_string();
    let human = cscli(&admin, &["alerts", "inspect", &id, "-o", "human"])?.into_stdout()?;
    for phrase in ["Ip:192.0.2.2", "by hand", "operator", "Active Decisions"] {
        assert!(human.contains(phrase), "{phrase}: {human}");
    }
    let said = cscli(&admin, &["alerts", "inspect", "999999"])?;
    assert!(said.code != 0 && said.has("object not found"), "{said:?}");

    // A client that is not trusted may lift bans, but delete no alert.
    let stranger = operator(world, &lapi, "stranger", false)?;
    let said = cscli(&stranger, &["alerts", "delete", "--all"])?;
    assert!(said.has("access forbidden from this IP (198.51.100.77)"), "{said:?}");
    assert_eq!(json(&admin, &["alerts", "list"])?.len(), 3);
    let said = cscli(&stranger, &["decisions", "delete", "--ip", "192.0.2.1"])?;
    assert!(said.has("1 decision(s) deleted"), "{said:?}");

    let said = cscli(&admin, &["alerts", "delete", "--id", &id])?;
    assert!(said.has("1 alert(s) deleted"), "{said:?}");
    assert!(json(&admin, &["alerts", "list", "--ip", "192.0.2.2"])?.is_empty());
    assert!(decisions(&admin, &["--ip", "192.0.2.2"])?.is_empty(), "its decision went with it");
    let said = cscli(&admin, &["alerts", "delete", "--all"])?;
    assert!(said.has("2 alert(s) deleted"), "{said:?}");
    assert!(json(&admin, &["alerts", "list"])?.is_empty());
    Ok(())
}

/// The decisions of `decisions list`, in its order.
fn decisions(operator: &LogProcessor, words: &[&str]) -> Outcome<Vec<Value>> {
    let mut all = vec!["decisions", "list"];
    all.extend(words);
    let alerts = json(operator, &all)?;
    Ok(alerts.iter().filter_map(|alert| alert["decisions"].as_array()).flatten().cloned().collect())
}
