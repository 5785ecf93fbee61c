//! A host of CrowdSec becomes one of ours, and back: the same configuration, port and clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_e2e::{
    Config, CustomBouncer, Firewall, Lapi, LapiProcess, LogProcessor, Make, Outcome, Postgres, Setup, World,
    default_timeout, eventually, eventually_within, story, tools,
};
use serde_json::{Value, json};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/crowdsec").join(name)
}

/// The bytes of every file that CrowdSec made in a folder.
fn theirs(folder: &Path) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !name.contains("palisade") {
            files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(files)
}

#[test]
fn a_host_on_sqlite_changes_its_lapi_and_back() -> Outcome {
    story(|world| a_host_changes_its_lapi_and_back(world, &json!({})))
}

#[test]
fn a_host_on_postgres_changes_its_lapi_and_back() -> Outcome {
    story(|world| {
        let database = Postgres::start(world)?;
        a_host_changes_its_lapi_and_back(world, &json!({ "db_config": database.config() }))
    })
}

fn a_host_changes_its_lapi_and_back(world: &World, config: &Value) -> Outcome {
    let mut setup = Setup {
        config: json!({
            // One connection: with two writers, SQLite refuses one ("database is locked").
            "db_config": { "max_open_conns": 1 }, "api": { "server": { "listen_uri": "0.0.0.0:8080" } },
        }),
        ..Setup::default()
    };
    if let (Some(all), Some(more)) =
        (setup.config["db_config"].as_object_mut(), config["db_config"].as_object())
    {
        all.extend(more.clone());
    }
    let mut lapi = Lapi::set_up(LapiProcess::prepare(world, Make::Stock, &setup)?, world)?;
    lapi.add_machine("web-1", "password-of-web-1")?;
    let mut web = LogProcessor::prepare(world, &world.neighbour)?;
    web.write_credentials(&json!({
        "url": lapi.url_from_afar(), "login": "web-1", "password": "password-of-web-1",
    }))?;
    web.start(world)?;
    let _service = world.router.echoes_on(80)?;
    // Before the bouncers start: of later bans the stock server sends each of two that share a key a part.
    lapi.ban(world.visitor.v4())?;
    lapi.ban("192.0.2.1")?;
    // Two bouncers with one key, behind one address.
    let mut firewall = Firewall::start_with(world, &Config::new(world, &lapi.access())?)?;
    let mut custom = CustomBouncer::start(world, &world.router, &lapi.access())?;
    eventually("both hold the ban", || {
        let told = custom.calls()?.iter().any(|call| call.value == "192.0.2.1");
        Ok(told && !world.visitor.reaches(&world.router, 80))
    })?;

    // It has logged in, and has a token of the stock server.
    web.is_attacked_by("203.0.113.98".parse()?)?;
    eventually_within(default_timeout() * 2, "an alert arrives", || {
        Ok(lapi.as_machine("GET", "/v1/alerts?limit=0", None)?.contains("203.0.113.98"))
    })?;

    // The visitor has to stay blocked from here on.
    let open = Arc::new(AtomicBool::new(false));
    let (visitor, router) = (world.visitor.clone(), world.router.clone());
    let (seen, stop) = (Arc::clone(&open), Arc::new(AtomicBool::new(false)));
    let ended = Arc::clone(&stop);
    let prober = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            if visitor.reaches(&router, 80) {
                seen.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    change(world, &mut lapi, &web)?;
    stop.store(true, Ordering::Relaxed);
    prober.join().expect("the prober does not panic");
    assert!(!open.load(Ordering::Relaxed), "the banned visitor got through while the LAPI changed");

    // Clients that were not touched, and whose requests went on.
    let attacker = "203.0.113.66";
    web.is_attacked_by(attacker.parse()?)?;
    let calls = |verb: &str, value: &str| -> Outcome<usize> {
        Ok(custom.calls()?.iter().filter(|call| call.verb == verb && call.value == value).count())
    };
    eventually_within(default_timeout() * 2, "the attack is banned at both", || {
        Ok(world.router.ruleset()?.bans(attacker) && calls("add", attacker)? == 1)
    })?;
    let visitor = world.visitor.v4().to_string();
    assert_eq!(calls("del", &visitor)?, 0, "the ban was never lifted at the stock bouncer");
    assert!(calls("add", &visitor)? <= 2 && calls("add", "192.0.2.1")? <= 2, "{:#?}", custom.calls()?);
    lapi.admin(&["decisions", "delete", "--ip", &visitor])?;
    eventually("a ban of before is lifted at both", || {
        Ok(world.visitor.reaches(&world.router, 80) && calls("del", &visitor)? == 1)
    })?;

    // The stock programs find what they know in the same configuration.
    let mut cscli = tools::command(Make::Stock.admin()?)?;
    cscli.arg("-c").arg(lapi.config()).args(["machines", "list", "-o", "raw"]);
    let listed = world.router.run(|| tools::output(&mut cscli))?;
    assert!(listed.contains("web-1"), "{listed}");
    assert!(lapi.admin(&["machines", "list", "-o", "raw"])?.contains("web-1"));

    // The log processor of this host goes on with the same configuration, and so opens that database.
    let mut local = LogProcessor::prepare(world, &world.router)?;
    let mut keys: Value = serde_json::from_str(&std::fs::read_to_string(local.config())?)?;
    let shared: Value = serde_json::from_str(&std::fs::read_to_string(lapi.config())?)?;
    keys["db_config"] = shared["db_config"].clone();
    std::fs::write(local.config(), keys.to_string())?;
    lapi.add_machine("local", "password-of-local")?;
    local.write_credentials(&json!({
        "url": lapi.url(), "login": "local", "password": "password-of-local",
    }))?;
    local.start(world)?;
    local.is_attacked_by("203.0.113.97".parse()?)?;
    eventually_within(default_timeout() * 2, "its alerts arrive", || {
        Ok(lapi.as_machine("GET", "/v1/alerts?limit=0", None)?.contains("203.0.113.97"))
    })?;
    lapi.admin(&["database", "import"])?;
    drop(local);

    // And back.
    assert!(lapi.stop()?.success());
    lapi.become_other(Make::Stock);
    lapi.up(world)?;
    lapi.ban("192.0.2.3")?;
    // Each change goes to one of two that share a key, as before.
    eventually_within(default_timeout() * 2, "the stock server is followed again", || {
        Ok(world.router.ruleset()?.bans("192.0.2.3") || calls("add", "192.0.2.3")? == 1)
    })?;
    assert!(world.router.ruleset()?.bans("192.0.2.1"), "what it held before holds");
    for process in [web.process()?, custom.process(), firewall.process()] {
        assert!(process.exited().is_none(), "no client was restarted");
    }
    drop(custom);
    lapi.ban("192.0.2.4")?;
    eventually_within(default_timeout() * 2, "alone with its key, the firewall gets every change", || {
        Ok(world.router.ruleset()?.bans("192.0.2.4"))
    })?;
    // Once more: what came since is taken by command.
    lapi.stop()?;
    lapi.become_other(Make::Ours);
    let taken: Value = serde_json::from_str(&lapi.admin(&["database", "import", "-o", "json"])?)?;
    assert_eq!(taken["taken"]["machines"]["added"], 0, "{taken:#}");
    assert!(taken["taken"]["decisions"]["added"].as_u64() >= Some(1), "{taken:#}");
    lapi.up(world)?;
    assert!(lapi.as_machine("GET", "/v1/alerts?limit=0", None)?.contains("192.0.2.3"));
    Ok(())
}

/// Stops the stock LAPI, and starts ours with its configuration.
fn change(world: &World, lapi: &mut Lapi, web: &LogProcessor) -> Outcome {
    // Whatever its exit status: 1.4.6 ends with 1 without its agent.
    lapi.stop()?;
    let before = theirs(lapi.data())?;
    // A look first; nothing is made by it.
    lapi.become_other(Make::Ours);
    let trial = lapi.admin(&["database", "import", "--dry-run", "-o", "human"])?;
    assert!(trial.contains("Would take"), "{trial}");
    lapi.up(world)?;
    let log = lapi.log();
    assert!(log.contains("took over CrowdSec's database"), "{log}");
    assert!(theirs(lapi.data())? == before, "CrowdSec's files are only read");
    // The log processor meets the new LAPI.
    web.is_attacked_by("203.0.113.99".parse()?)?;
    eventually_within(default_timeout() * 2, "its alerts arrive", || {
        Ok(lapi.as_machine("GET", "/v1/alerts?limit=0", None)?.contains("203.0.113.99"))
    })?;
    Ok(())
}

#[test]
fn a_running_stock_lapi_is_not_taken_over() -> Outcome {
    story(|world| {
        let mut stock = LapiProcess::start(world, Make::Stock, &Setup::default())?;
        stock.add_machine("web-1", "password")?;
        let before = theirs(stock.data())?.into_keys().collect::<Vec<_>>();
        // On another port, so that it gets as far as the database.
        let port = world.router.free_port()?;
        let text = std::fs::read_to_string(stock.config())?;
        let other = stock.config().with_file_name("other.yaml");
        std::fs::write(&other, text.replace(&stock.address().to_string(), &format!("127.0.0.1:{port}")))?;
        let mut ours = tools::command(Make::Ours.server()?)?;
        ours.arg("-c").arg(&other);
        let mut process = world.start(&world.router, "palisade-lapi", ours)?;
        assert!(!process.end()?.success());
        let log = process.log();
        assert!(
            log.contains("is in use by crowdsec (process") && log.contains("systemctl stop crowdsec"),
            "{log}"
        );
        assert_eq!(theirs(stock.data())?.into_keys().collect::<Vec<_>>(), before);
        assert!(stock.process()?.exited().is_none());
        Ok(())
    })
}

#[test]
fn a_full_disk_refuses_the_takeover_and_the_next_start_makes_it() -> Outcome {
    story(|world| {
        let data = world.small_disk("700k")?;
        std::fs::copy(golden("crowdsec-1.7.8.sqlite"), data.join("crowdsec.db"))?;
        let before = theirs(&data)?;
        let config = json!({ "db_config": { "flush": { "max_age": "36500d" } } });
        let mut lapi = LapiProcess::prepare(
            world,
            Make::Ours,
            &Setup { data: Some(data.clone()), config, ..Setup::default() },
        )?;
        let mut process = world.start(&world.router, "palisade-lapi", lapi.command()?)?;
        assert!(!process.end()?.success());
        let log = process.log();
        assert!(log.contains("no space left"), "{log}");
        assert!(theirs(&data)? == before, "CrowdSec's files are only read");
        let mut grow = tools::command("mount")?;
        tools::output(grow.args(["-o", "remount,size=16m"]).arg(&data))?;
        lapi.up(world)?;
        assert!(lapi.log().contains("took over CrowdSec's database"), "{}", lapi.log());
        assert!(theirs(&data)? == before);
        Ok(())
    })
}

#[test]
fn databases_of_real_servers_are_served_as_those_served_them() -> Outcome {
    story(|world| {
        for fixture in ["crowdsec-1.4.6.sqlite", "crowdsec-1.7.8.sqlite"] {
            let mut lapi = LapiProcess::prepare(world, Make::Ours, &of_any_day(&json!({})))?;
            std::fs::copy(golden(fixture), lapi.data().join("crowdsec.db"))?;
            lapi.up(world)?;
            is_served_as_expected(world, &lapi, fixture)?;
        }
        Ok(())
    })
}

#[test]
fn databases_of_real_servers_on_postgres_are_served_as_those_served_them() -> Outcome {
    story(|world| {
        for fixture in ["crowdsec-1.4.6.pg.sql", "crowdsec-1.7.8.pg.sql"] {
            let database = Postgres::start(world)?;
            database.script(&golden(fixture))?;
            let lapi = LapiProcess::start(world, Make::Ours, &of_any_day(&database.config()))?;
            is_served_as_expected(world, &lapi, fixture)?;
        }
        Ok(())
    })
}

/// The fixtures are of one day, and the test of any other.
fn of_any_day(database: &Value) -> Setup {
    let mut config = json!({ "db_config": { "flush": { "max_age": "36500d" } } });
    for (key, value) in database.as_object().into_iter().flatten() {
        config["db_config"][key] = value.clone();
    }
    Setup { config, ..Setup::default() }
}

/// Differences from the stock server, by fixture and question, with the reason.
const ACCEPTED: [(&str, &str, &str); 7] = [
    (
        "",
        "stream_deleted_values",
        "ends of the last day are announced at a start, not every row that is stored",
    ),
    ("1.4.6", "decisions", "a scope posted as `ip` is served as `Ip`"),
    (
        "1.4.6",
        "stream_new",
        "a scope posted as `ip` is in the stream: 1.4.6 lists it and does not announce it",
    ),
    ("1.4.6", "stream scopes=ip,range", "the same"),
    ("1.4.6", "stream scopes=ip,range,country,as", "the same"),
    ("1.4.6", "stream origins=lists", "the same"),
    ("1.4.6", "alerts_without_capi", "as 1.7.8 answers on the same data"),
];

fn is_served_as_expected(world: &World, lapi: &LapiProcess, fixture: &str) -> Outcome {
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(golden("expected.json"))?)?;
    let expected = &expected["fixtures"][fixture];
    let seen = world.router.run(|| answers(lapi, expected))?;
    let mut unused: Vec<_> =
        ACCEPTED.iter().filter(|(version, ..)| !version.is_empty() && fixture.contains(version)).collect();
    for (question, wanted) in expected["answers"].as_object().into_iter().flatten() {
        let Some(answer) = seen.get(question) else { continue };
        let wanted = &if matches!(question.as_str(), "decisions" | "stream_new") {
            without_end(wanted)
        } else {
            wanted.clone()
        };
        if answer == wanted {
            continue;
        }
        let accepted =
            ACCEPTED.iter().any(|(version, name, _)| fixture.contains(version) && name == question);
        assert!(accepted, "{fixture}: {question}: expected {wanted}, got {answer}");
        unused.retain(|(_, name, _)| name != question);
    }
    assert!(unused.is_empty(), "{fixture}: no longer differs: {unused:?}");
    Ok(())
}

/// What the LAPI answers, in the form of `expected.json`.
fn answers(lapi: &LapiProcess, expected: &Value) -> Outcome<BTreeMap<String, Value>> {
    let mut client = lapi.http_client();
    let mut seen = BTreeMap::new();
    let mut machines = serde_json::Map::new();
    let mut token = String::new();
    for machine in expected["machines"].as_array().into_iter().flatten() {
        let (name, password) = (text(&machine["name"]), text(&machine["password"]));
        if machine["auth_type"] != "password" {
            continue;
        }
        let mut log_in = |password: &str| -> Outcome<Option<String>> {
            let body = json!({ "machine_id": name, "password": password, "scenarios": [] }).to_string();
            let reply = client.ask("POST", "/v1/watchers/login", &[], Some(body.as_bytes()))?;
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            Ok((reply.status == 200).then(|| text(&answer["token"]).to_owned()))
        };
        let right = log_in(password)?;
        if let ("host-agent", Some(right)) = (name, &right) {
            token.clone_from(right);
        }
        machines.insert(name.to_owned(), right.is_some().into());
        if name != "long-agent" {
            let wrong = log_in(&format!("{}#", &password[..password.len() - 1]))?;
            machines.insert(format!("{name} with a wrong password"), wrong.is_some().into());
        }
    }
    seen.insert("machines".to_owned(), machines.into());
    let mut get = |path: &str, header: (&str, &str)| -> Outcome<(u16, Value)> {
        let reply = client.ask("GET", path, &[header, ("User-Agent", "verify/v1")], None)?;
        Ok((reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()))
    };
    let mut keys = serde_json::Map::new();
    let known = expected["keys"].as_array().into_iter().flatten().map(|key| text(&key["key"]));
    for key in known.chain(["a-key-that-nobody-holds-0123"]) {
        let status = get("/v1/decisions?ip=192.0.2.255", ("X-Api-Key", key))?.0;
        keys.insert(key.to_owned(), (status == 200).into());
    }
    seen.insert("keys".to_owned(), keys.into());
    let key = ("X-Api-Key", "web-edge-key-0123456789abcdef");
    for (question, path) in [
        ("stream scopes=ip,range", "scopes=ip,range"),
        ("stream scopes=ip,range,country,as", "scopes=ip,range,country,as"),
        ("stream origins=lists", "origins=lists"),
        ("stream scenarios_containing=ssh", "scenarios_containing=ssh"),
    ] {
        let stream = get(&format!("/v1/decisions/stream?startup=true&{path}"), key)?.1;
        let count = stream["new"].as_array().map_or(0, Vec::len);
        seen.insert(question.to_owned(), count.into());
    }
    let stream = get("/v1/decisions/stream?startup=true", key)?.1;
    seen.insert("stream_new".to_owned(), rows(&stream["new"]));
    seen.insert("decisions".to_owned(), rows(&get("/v1/decisions", key)?.1));
    let mut deleted: Vec<&str> =
        stream["deleted"].as_array().into_iter().flatten().map(|row| text(&row["value"])).collect();
    deleted.sort_unstable();
    deleted.dedup();
    seen.insert("stream_deleted_values".to_owned(), json!(deleted));
    for ip in expected["asked"].as_array().into_iter().flatten() {
        let found = get(&format!("/v1/decisions?ip={}", text(ip)), key)?.1;
        let mut found: Vec<String> = found
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| format!("{} {}", text(&row["value"]), text(&row["type"])))
            .collect();
        found.sort_unstable();
        seen.insert(format!("ip {}", text(ip)), json!(found));
    }
    let bearer = format!("Bearer {token}");
    let machine = ("Authorization", bearer.as_str());
    for (question, path) in [
        ("alerts", "include_capi=true"),
        ("alerts_without_capi", "include_capi=false"),
        ("alerts_with_active_decision", "has_active_decision=true"),
    ] {
        let alerts = get(&format!("/v1/alerts?limit=0&{path}"), machine)?.1;
        seen.insert(question.to_owned(), alerts.as_array().map_or(0, Vec::len).into());
    }
    for (value, _) in expected["answers"]["allowlisted"].as_object().into_iter().flatten() {
        let listed = get(&format!("/v1/allowlists/check/{value}"), machine)?.1["allowlisted"].clone();
        let all = seen.entry("allowlisted".to_owned()).or_insert_with(|| json!({}));
        all[value] = (listed == true).into();
    }
    Ok(seen)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Decisions as scope, value, type, origin and scenario, sorted. The ends are compared in the tests of the store.
fn rows(list: &Value) -> Value {
    let row =
        |row: &Value| json!(["scope", "value", "type", "origin", "scenario"].map(|name| text(&row[name])));
    sorted(list.as_array().into_iter().flatten().map(row))
}

/// Rows of `expected.json`, whose last column is the end.
fn without_end(list: &Value) -> Value {
    let row = |row: &Value| row.as_array().map_or(Value::Null, |columns| columns[..5].into());
    sorted(list.as_array().into_iter().flatten().map(row))
}

fn sorted(rows: impl Iterator<Item = Value>) -> Value {
    let mut rows: Vec<Value> = rows.collect();
    rows.sort_by_key(Value::to_string);
    rows.into()
}
