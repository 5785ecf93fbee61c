//! Commands that use a LAPI over HTTP.

use crate::lapi::Lapi;
use crate::world::World;

const ALERT: &str = r#"{"capacity":0,"created_at":"2026-07-01T10:00:01Z","decisions":[{"duration":"3h59m58s","id":3,
    "origin":"cscli","scenario":"manual 'ban' from 'host1'","scope":"Ip","simulated":false,"type":"ban",
    "value":"1.2.3.4"}],"events":null,"events_count":1,"id":2,"kind":"cscli","labels":null,"leakspeed":"0",
    "machine_id":"host1","message":"m","remediation":true,"scenario":"manual 'ban' from 'host1'",
    "scenario_hash":"","scenario_version":"","simulated":false,
    "source":{"ip":"1.2.3.4","scope":"Ip","value":"1.2.3.4"},"start_at":"2026-07-01T10:00:00Z",
    "stop_at":"2026-07-01T10:00:00Z","uuid":"u"}"#;

fn lapi() -> Lapi {
    Lapi::start(|line, body| {
        let (route, query) = line.split_once('?').unwrap_or((line, ""));
        match route {
            "GET /v1/alerts" if query.contains("value=none") => (200, "null".to_owned()),
            "GET /v1/alerts" => (200, format!("[{ALERT},{ALERT}]")),
            "GET /v1/alerts/2" => (200, ALERT.to_owned()),
            "GET /v1/alerts/9" => (404, r#"{"message":"object not found"}"#.to_owned()),
            "POST /v1/alerts" if !body.contains(r#""events":[]"#) => {
                (500, r#"{"message":"0.events in body is required"}"#.to_owned())
            }
            "POST /v1/alerts" => (201, r#"["7"]"#.to_owned()),
            "DELETE /v1/alerts" | "DELETE /v1/decisions" => (200, r#"{"nbDeleted":"5"}"#.to_owned()),
            "DELETE /v1/decisions/9" => {
                (500, r#"{"message":"decision with id '9' doesn't exist: unable to delete"}"#.to_owned())
            }
            "DELETE /v1/decisions/3" => (200, r#"{"nbDeleted":"1"}"#.to_owned()),
            "GET /v1/allowlists/check/10.1.2.3" => {
                (200, r#"{"allowlisted":true,"reason":"10.0.0.0/8 from office"}"#.to_owned())
            }
            "GET /v1/allowlists/check/9.9.9.9" => (404, String::new()),
            "POST /v1/allowlists/check" if body.contains("10.1.2.3") => (
                200,
                r#"{"results":[{"target":"10.1.2.3","allowlists":["10.0.0.0/8 from office (lan)","x from y"]}]}"#
                    .to_owned(),
            ),
            "POST /v1/allowlists/check" => (200, r#"{"results":[]}"#.to_owned()),
            "POST /v1/watchers" if body.contains("\"taken\"") => {
                (403, r#"{"message":"user 'taken': user already exist"}"#.to_owned())
            }
            "POST /v1/watchers" if body.contains("registration_token") => (202, String::new()),
            "POST /v1/watchers" => (201, String::new()),
            "POST /v1/watchers/login" => {
                (401, r#"{"code":401,"message":"incorrect Username or Password"}"#.to_owned())
            }
            _ => (200, "{}".to_owned()),
        }
    })
}

#[test]
fn decisions_are_listed() {
    let lapi = lapi();
    let world = World::with_lapi(&lapi.url);
    assert_eq!(
        world.ok("decisions list -o raw"),
        "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
         3,cscli,Ip:1.2.3.4,manual 'ban' from 'host1',ban,,,1,3h59m58s,false,2\n"
    );
    let text = world.ok("decisions list -m --since 7d --scope ip -i 1.2.3.4 --contained --no-simu");
    assert!(
        text.contains("| Alert ID | Machine |") && text.ends_with("1 duplicated entries skipped\n"),
        "{text}"
    );
    assert!(world.ok("decision list -a -o json").contains("\n  \"decisions\": [\n   {\n"));
    assert_eq!(world.ok("decisions list -v none"), "No active decisions\n");
    assert_eq!(world.ok("decisions list -v none -o json"), "[]");
    let requests = lapi.requests();
    assert_eq!(requests[0], "GET /v1/alerts?include_capi=false&limit=100&has_active_decision=true");
    assert_eq!(
        requests[1],
        "GET /v1/alerts?since=168h0m0s&scope=Ip&ip=1.2.3.4&contains=false&include_capi=false&limit=100\
         &has_active_decision=true&simulated=false"
    );
    assert_eq!(requests[2], "GET /v1/alerts?include_capi=true&limit=0&has_active_decision=true");
}

#[test]
fn decisions_are_made_and_ended() {
    let lapi = lapi();
    let world = World::with_lapi(&lapi.url);
    let run = world.run("decisions add -r 2001:db8::/32 -d 1d2h -t captcha");
    assert_eq!((run.code, &*run.err), (0, "level=info msg=\"Decision successfully added\"\n"));
    let requests = lapi.requests();
    assert_eq!(requests[0], "GET /v1/allowlists/check/2001:db8::%2F32");
    for part in [
        r#""duration":"26h0m0s""#,
        r#""scenario":"manual 'captcha' from 'host1'""#,
        r#""scope":"Range""#,
        r#""type":"captcha""#,
        r#""origin":"cscli""#,
        r#""kind":"cscli""#,
    ] {
        assert!(requests[1].contains(part), "{part} in {}", requests[1]);
    }
    assert_eq!(
        world.fails("decisions add -i 10.1.2.3"),
        "Error: cscli decisions add: 10.1.2.3 is allowlisted by item 10.0.0.0/8 from office, use --bypass-allowlist \
         to add the decision anyway"
    );
    assert_eq!(world.run("decisions add -i 10.1.2.3 -B").code, 0);
    // An old LAPI has no allowlists; this is reported, but is no reason to refuse.
    let run = world.run("decisions add --ip 9.9.9.9");
    assert!(run.code == 0 && run.err.contains("level=error msg=\"Cannot check"), "{}", run.err);
    // Other scopes are on no allowlist.
    assert_eq!(world.run("decisions add --scope username --value bob").code, 0);

    assert_eq!(world.run("decisions delete -i 1.2.3.4").err, "level=info msg=\"5 decision(s) deleted\"\n");
    assert_eq!(world.run("decisions delete --all -o json").err, "");
    for line in [
        "-i 1.2.3.4",
        "--type ban",
        "--id 3",
        "--contained",
        "--origin x",
        "--scenario x",
        "-v x",
        "-r 10.0.0.0/8",
    ] {
        for group in ["decisions", "alerts"]
            .iter()
            .take(if line.contains("origin") || line.contains("type") { 1 } else { 2 })
        {
            assert!(
                world
                    .fails(&format!("{group} delete --all {line}"))
                    .contains("--all deletes everything and cannot be combined"),
                "{group} {line}"
            );
        }
    }
    for duration in ["0", "-1h", "0s", "-1ns"] {
        let error = world.fails(&format!("decisions add -i 9.9.9.9 -d {duration}"));
        assert!(error.ends_with("is over before it begins; give a positive duration"), "{error}");
    }
    assert_eq!(world.run("decisions delete --id 3").err, "level=info msg=\"1 decision(s) deleted\"\n");
    assert_eq!(
        world.fails("decisions delete --id 9"),
        "Error: cscli decisions delete: unable to delete decision: API error: decision with id '9' doesn't exist: \
         unable to delete"
    );
    let requests = lapi.requests();
    assert!(requests.contains(&"DELETE /v1/decisions?ip=1.2.3.4".to_owned()), "{requests:?}");
    assert!(requests.contains(&"DELETE /v1/decisions".to_owned()), "{requests:?}");
}

#[test]
fn what_was_lifted_is_named_and_a_covering_range_always() {
    let lapi = Lapi::start(|line, _| {
        assert!(line.starts_with("DELETE /v1/decisions"), "{line}");
        let ended = |id: u32, scope: &str, value: &str| {
            format!(r#"{{"id":{id},"origin":"cscli","scope":"{scope}","type":"ban","value":"{value}"}}"#)
        };
        let (count, list) = match line.split_once("ip=") {
            Some(_) => (2, [ended(3, "Ip", "192.0.2.7"), ended(4, "Range", "192.0.0.0/16")].join(",")),
            None => {
                (500, (0..100).map(|n| ended(n, "Ip", "192.0.2.9\\u001b[2J")).collect::<Vec<_>>().join(","))
            }
        };
        (200, format!(r#"{{"nbDeleted":"{count}","decisions":[{list}]}}"#))
    });
    let world = World::with_lapi(&lapi.url);
    let covering =
        "level=warning msg=\"Range:192.0.0.0/16 covers more than 192.0.2.7, and was deleted as a whole\"\n";
    assert_eq!(
        world.run("decisions delete -i 192.0.2.7").err,
        format!(
            "level=info msg=\"2 decision(s) deleted\"\n\
             level=info msg=\"deleted ban on Ip:192.0.2.7 (id 3, origin cscli)\"\n\
             level=info msg=\"deleted ban on Range:192.0.0.0/16 (id 4, origin cscli)\"\n{covering}"
        )
    );
    assert_eq!(world.run("decisions delete -i 192.0.2.7 --error").err, covering);
    let run = world.run("decisions delete --all");
    assert_eq!(run.err.lines().count(), 12, "{}", run.err);
    assert!(
        run.err.ends_with("level=info msg=\"and 490 more\"\n") && !run.err.contains('\u{1b}'),
        "{}",
        run.err
    );
}

#[test]
fn lists_are_imported() {
    let lapi = lapi();
    let world = World::with_lapi(&lapi.url);
    let run =
        world.run_with("decisions import -i - --format values --batch 2", "1.2.3.4\n5.6.7.8\n10.1.2.3\n");
    assert_eq!(
        run.out,
        "Parsing values\nbatch size: 2\nValue 10.1.2.3 is allowlisted by [10.0.0.0/8 from office (lan) x from y]\n\
         Imported 2 decisions",
        "{}",
        run.err
    );
    let requests = lapi.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].contains(r#"{"targets":["1.2.3.4","5.6.7.8"]}"#), "{}", requests[0]);
    assert!(requests[2].contains(r#""scenario":"import stdin: 2 IPs""#), "{}", requests[2]);
    assert!(requests[2].contains(r#""source":{"scope":"","value":""}"#), "{}", requests[2]);

    world.write("list.csv", "value,scope,reason\n10.0.0.0/8,range,why\n");
    assert_eq!(world.ok("decisions import -i list.csv"), "Parsing csv\nImported 1 decisions");
    world.write("list.json", r#"[{"value":"1.2.3.4"},{"duration":"1h"}]"#);
    assert_eq!(
        world.fails("decisions import -i list.json --strict"),
        "Error: cscli decisions import: item 1: missing 'value'"
    );
    let run = world.run("decisions import -i list.json");
    assert_eq!((run.code, &*run.out), (0, "Parsing json\nImported 1 decisions"), "{}", run.err);
    assert_eq!(
        run.err,
        "level=error msg=\"item 1: missing 'value'\"\n\
         level=error msg=\"1 skipped; with --strict nothing would be imported\"\n"
    );
    let bad: String = (0..1000).map(|n| format!("bad{n}\n")).collect();
    let run = world.run_with("decisions import -i - --format values", &format!("# x\n1.2.3.4 # y\n{bad}"));
    assert_eq!((run.code, run.err.lines().count()), (0, 12), "{}", run.err);
    assert!(
        run.err.starts_with("level=error msg=\"line 3: \\\"bad0\\\" is neither an address nor a range\"\n")
    );
    assert!(run.err.contains("990 more like these") && run.err.contains("1000 skipped"), "{}", run.err);
    assert!(world.fails("decisions import -i list.json -d 0").contains("over before it begins"));
    world.write("empty.json", "[]");
    assert_eq!(
        world.fails("decisions import -i empty.json"),
        "Error: cscli decisions import: no decisions found"
    );
    let run = world.run_words(&["decisions", "import", "-i", "empty.json", "-t", ""], "");
    assert!(run.err.ends_with("default type cannot be empty\n"), "{}", run.err);
}

#[test]
fn alerts_are_listed_inspected_and_deleted() {
    let lapi = lapi();
    let world = World::with_lapi(&lapi.url);
    let listed = world.ok("alerts list -o raw --kind cscli");
    assert!(
        listed.starts_with(
            "id,scope,value,reason,country,as,decisions,created_at,kind\n\
             2,Ip,1.2.3.4,manual 'ban' from 'host1',,,ban:1,2026-07-01T10:00:01Z,cscli\n"
        ),
        "{listed}"
    );
    assert_eq!(world.ok("alerts list -v none"), "No active alerts\n");
    assert_eq!(world.ok("alerts list -v none -o json"), "[]");
    assert!(world.ok("alerts inspect 2 -d").contains("| 3  | Ip:1.2.3.4  | ban    | 3h59m58s   |"));
    let raw = world.ok("alerts inspect 2 -o raw");
    assert!(raw.contains("eventscount: 1\n"), "{raw}");
    // As `grep '^ *value: 1.2.3.4$'` looks for it, in the source and in the decision.
    assert_eq!(
        raw.lines().filter(|line| line.trim_start_matches(' ') == "value: 1.2.3.4").count(),
        2,
        "{raw}"
    );
    assert_eq!(world.fails("alerts inspect x"), "Error: cscli alerts inspect: bad alert id x");
    assert_eq!(
        world.fails("alerts inspect 9"),
        "Error: cscli alerts inspect: can't find alert with id 9: API error: object not found"
    );
    assert_eq!(world.run("alerts delete --all").err, "level=info msg=\"5 alert(s) deleted\"\n");
    assert_eq!(world.run("alerts delete -i 1.2.3.4").code, 0);
    let requests = lapi.requests();
    assert_eq!(requests[0], "GET /v1/alerts?include_capi=false&limit=50&kind=cscli");
    assert!(requests.contains(&"DELETE /v1/alerts?limit=0".to_owned()), "{requests:?}");
    assert!(requests.contains(&"DELETE /v1/alerts?ip=1.2.3.4&limit=0".to_owned()), "{requests:?}");
}

#[test]
fn a_machine_registers_and_logs_in() {
    let lapi = lapi();
    let world = World::new();
    let path = world.path("credentials.yaml").display().to_string();
    assert_eq!(
        world.fails("lapi register"),
        "Error: cscli lapi register: no Local API URL. Please provide it in your configuration or with the -u parameter"
    );
    let run = world.run(&format!("lapi register --machine web-1 -u {}", lapi.url.trim_end_matches('/')));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(
        run.err.contains("level=info msg=\"Successfully registered to Local API (LAPI)\"\n"),
        "{}",
        run.err
    );
    assert!(run.err.contains(&format!("level=info msg=\"Local API credentials written to '{path}'\"\n")));
    let text = world.read("credentials.yaml");
    assert!(text.starts_with(&format!("url: {}\nlogin: web-1\n", lapi.url)), "{text}");

    assert_eq!(
        world.ok("lapi status"),
        format!(
            "Loaded credentials from {path}\nTrying to authenticate with username \"web-1\" on {}\n\
             You can successfully interact with Local API (LAPI)\n",
            lapi.url
        )
    );
    assert_eq!(
        world.fails("lapi register --machine taken"),
        format!(
            "Error: cscli lapi register: api client register: api register ({}) http 403 Forbidden: API error: user \
             'taken': user already exist",
            lapi.url
        )
    );
    assert_eq!(world.read("credentials.yaml"), text, "a refusal changes nothing");
    assert_eq!(world.run(&format!("lapi register --machine web-2 --token {}", "t".repeat(32))).code, 0);
    assert!(world.read("credentials.yaml").contains("login: web-2\n"));

    world.write("credentials.yaml", &format!("url: {}\nlogin: web-1\npassword: wrong\n", lapi.url));
    assert_eq!(
        world.fails("lapi status"),
        "Error: cscli lapi status: failed to authenticate to Local API (LAPI): API error: incorrect Username or Password"
    );
    world.write("credentials.yaml", "");
    assert_eq!(
        world.fails("lapi status"),
        format!(
            "Error: cscli lapi status: loading api client: no credentials or URL found in api client configuration '{path}'"
        )
    );
}

#[test]
fn a_refused_login_names_the_request_and_advises() {
    let lapi = lapi();
    let world = World::new();
    world.write("credentials.yaml", &format!("url: {}\nlogin: host1\npassword: wrong\n", lapi.url));
    let refused = "API error: incorrect Username or Password";
    let url = lapi.url.trim_end_matches('/');
    for (line, error) in [
        (
            "allowlists list",
            format!("allowlists list: Get \"{url}/v1/allowlists?with_content=true\": {refused}"),
        ),
        (
            "decisions list",
            format!(
                "decisions list: unable to retrieve decisions: performing request: Get \"{url}/v1/alerts?\
                 include_capi=false&limit=100&has_active_decision=true\": {refused}"
            ),
        ),
        (
            "decisions delete -i 192.0.2.1",
            format!(
                "decisions delete: unable to delete decision: Delete \"{url}/v1/decisions?ip=192.0.2.1\": {refused}"
            ),
        ),
        ("lapi status", format!("lapi status: failed to authenticate to Local API (LAPI): {refused}")),
    ] {
        assert_eq!(world.fails(line), format!("Error: cscli {error}"), "{line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let run = world.run_as("palisade", &words, "");
        let file = world.path("credentials.yaml").display().to_string();
        let advice = format!(
            "; are `login` and `password` in {file} right? `palisade machines add host1 --auto --force -f -` on the \
             LAPI's host prints new ones"
        );
        assert_eq!(run.err.lines().last().unwrap(), format!("Error: palisade {error}{advice}"), "{line}");
        assert_eq!(run.code, 1);
    }
    for (url, stock, advice) in [
        (
            "http://127.0.0.1:-80",
            r#"parse "http://127.0.0.1:-80/": invalid port ":-80" after host"#,
            "; correct `url` in",
        ),
        (
            "ftp://lapi",
            r#"parse "ftp://lapi/": only http, https and unix sockets are spoken here"#,
            "; correct `url` in",
        ),
    ] {
        world.write("credentials.yaml", &format!("url: {url}\nlogin: host1\npassword: p\n"));
        let stock = format!("lapi status: failed to authenticate to Local API (LAPI): {stock}");
        assert_eq!(world.fails("lapi status"), format!("Error: cscli {stock}"));
        let run = world.run_as("palisade", &["lapi", "status"], "");
        assert!(run.err.contains(&format!("Error: palisade {stock}{advice}")), "{}", run.err);
    }
    world.write("credentials.yaml", "url: http://$PALISADE_NOT_SET:8080\nlogin: host1\npassword: p\n");
    let error = world.fails("decisions list");
    assert!(error.contains("the environment variable PALISADE_NOT_SET, which `url` in"), "{error}");
}

#[test]
fn an_url_from_the_command_line_is_called_by_its_flag() {
    let world = World::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = world.fails(&format!("lapi register --machine m -u http://{closed}"));
    assert!(error.contains("and is `--url` right? (connection refused)"), "{error}");
    let error = world.fails("lapi register --machine m -u ftp://lapi");
    assert!(
        error.ends_with("parse \"ftp://lapi/\": only http, https and unix sockets are spoken here"),
        "{error}"
    );
}

#[test]
fn commands_of_the_api_need_no_database_in_the_configuration() {
    let lapi = lapi();
    let world = World::with_lapi(&lapi.url);
    let text = world.read("config.yaml");
    let without: String =
        text.lines().filter(|line| !line.starts_with("db_config")).map(|l| format!("{l}\n")).collect();
    world.write("config.yaml", &without);
    for line in [
        "decisions list",
        "decisions add -i 192.0.2.1",
        "decisions delete -i 192.0.2.1",
        "alerts list",
        "alerts inspect 2",
        "allowlists list",
        "allowlists check 192.0.2.1",
        "lapi status",
        "metrics",
        "config show",
        "profiles test --ip 192.0.2.1",
    ] {
        let run = world.run(line);
        assert!(!run.err.contains("no database configuration provided"), "{line}: {}", run.err);
        assert!(run.code == 0 || line.starts_with("allowlists"), "{line}: {}", run.err);
    }
    for line in ["bouncers list", "machines list", "alerts flush", "allowlists create x -d y"] {
        let command = line.split(" x ").next().unwrap();
        assert_eq!(
            world.fails(line),
            format!("Error: cscli {command}: no database configuration provided"),
            "{line}"
        );
    }
}

#[test]
fn debug_shows_what_was_requested_of_whom_without_secrets() {
    let lapi = lapi();
    let world = World::with_lapi(&lapi.url);
    for flag in ["--debug", "--trace"] {
        let run = world.run(&format!("alerts list {flag} --limit 7"));
        let line = run.err.lines().find(|line| line.contains("/v1/alerts")).expect(&run.err);
        let url = format!("url={}/v1/alerts?include_capi=false&limit=7", lapi.url.trim_end_matches('/'));
        for part in ["level=debug", "request method=GET", &url, "status=200", "took_ms="] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(run.out, world.run("alerts list --limit 7").out);
    }
    let status = world.run("lapi status --debug").err;
    assert!(status.contains("method=POST") && status.contains("/v1/watchers/login status=200"), "{status}");
    assert!(!status.contains("secret"), "{status}");
    for quiet in ["alerts list", "alerts list --debug -o json"] {
        assert!(!world.run(quiet).err.contains("method=GET"), "{quiet}");
    }
    // A command that changes something makes the database of a new host.
    let database = world.run("bouncers add web --debug").err;
    assert!(database.contains("database opened database=") && database.contains("took_ms="), "{database}");
}
