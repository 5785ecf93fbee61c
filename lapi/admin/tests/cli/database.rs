//! Commands that write the database of the LAPI's host.

use std::os::unix::fs::PermissionsExt as _;

use palisade_store::{Commit, DbConfig, InstanceReport, MachineUpdate, Store, UsageKind, UsageRow};
use palisade_wire::UnixMillis;

use crate::lapi::Lapi;
use crate::world::World;

#[test]
fn bouncers_are_added_listed_and_deleted() {
    let world = World::new();
    let key = world.ok("bouncers add fw-1 -o raw");
    assert_eq!(key.len(), 43, "{key}");
    assert_eq!(world.ok("bouncers add fw-2 --key mykey -o json"), "\"mykey\"");
    let shown = world.ok("bouncer add fw-3 -k k");
    assert!(shown.starts_with("API key for 'fw-3':\n\n   k\n\n"), "{shown}");
    assert_eq!(
        world.fails("bouncers add fw-1"),
        "Error: cscli bouncers add: unable to create bouncer: bouncer fw-1 already exists"
    );
    let listed = world.ok("bouncers list -o raw");
    assert!(
        listed.starts_with("name,ip,revoked,last_pull,type,version,auth_type\nfw-1,,validated,,,,api-key\n")
    );
    assert!(world.ok("bouncers list -o json").contains("\n    \"name\": \"fw-2\",\n"));
    assert!(world.ok("bouncers list").contains("\n Name  IP Address  Valid  Last API pull "));
    assert!(world.ok("bouncers inspect fw-1").contains("\n Bouncer: fw-1  "));
    assert_eq!(
        world.fails("bouncers inspect x"),
        "Error: cscli bouncers inspect: unable to read bouncer data 'x': ent: bouncer not found"
    );

    let run = world.run("bouncers delete fw-1 fw-2");
    assert_eq!((run.code, &*run.out), (0, ""));
    assert_eq!(
        run.err,
        "level=info msg=\"bouncer 'fw-1' deleted successfully\"\nlevel=info msg=\"bouncer 'fw-2' deleted successfully\"\n"
    );
    assert_eq!(
        world.fails("bouncers remove fw-1"),
        "Error: cscli bouncers delete: unable to delete bouncer fw-1: ent: bouncer not found"
    );
    assert_eq!(world.run("bouncers delete fw-1 --ignore-missing").err, "");

    assert_eq!(world.ok("bouncers prune"), "No bouncers to prune.\n");
    let run = world.run_with("bouncers prune -d 0s", "yes\nno\n");
    assert!(run.out.ends_with("User aborted prune. No changes were made.\n"), "{}", run.out);
    let run = world.run_with("bouncers prune -d -1s --force", "y\n");
    assert!(run.err.ends_with("Successfully deleted 1 bouncers\n"), "{}", run.err);
    assert_eq!(world.ok("bouncers list -o json"), "[]\n");
}

#[test]
fn machines_that_share_a_key_are_listed_below_it() {
    let world = World::new();
    world.ok("bouncers add fleet --key k1");
    world.ok("bouncers add alone --key k2");
    let run = |name: &str, line: &str| {
        let run = world.run_as(name, &line.split_whitespace().collect::<Vec<_>>(), "");
        assert_eq!(run.code, 0, "{line}: {}", run.err);
        run.out
    };
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("---")).count();
    // Nothing of it before there are any.
    assert_eq!(run("palisade", "bouncers list"), run("cscli", "bouncers list"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(&DbConfig::sqlite(world.path("lapi.palisade.db"))).await.unwrap();
        let fleet = store.bouncer("fleet").await.unwrap().unwrap().id;
        let seen = |name: &str| InstanceReport {
            bouncer: fleet,
            instance: name.into(),
            ip: "192.0.2.1".into(),
            kind: "palisade-firewall".into(),
            version: "v0.1.0".into(),
            at: UnixMillis(1_782_900_000_000),
            commit: Commit(0),
        };
        store.upsert_instances(vec![seen("web-2/00000002"), seen("web-1/00000001")]).await.unwrap();
        store.close().await;
    });
    for line in ["bouncers list", "bouncers inspect fleet"] {
        let (ours, stock) = (run("palisade", line), run("cscli", line));
        assert!(ours.starts_with(&stock) && !stock.contains("web-1"), "{line}: {stock}");
        let added = &ours[stock.len()..];
        assert_eq!(lines(added), 3, "{line}: {added}");
        assert!(
            added.contains(" fleet    web-1/00000001  192.0.2.1   palisade-firewall  v0.1.0 "),
            "{line}: {added}"
        );
        assert!(added.contains(" 2026-07-01T10:00:00Z  0   \n"), "{line}: {added}");
    }
    assert_eq!(run("palisade", "bouncers inspect alone"), run("cscli", "bouncers inspect alone"));
    let raw = run("palisade", "bouncers list -o raw");
    assert_eq!((raw.lines().count(), raw.contains("web-1")), (3, false), "{raw}");
    let json: serde_json::Value = serde_json::from_str(&run("palisade", "bouncers list -o json")).unwrap();
    assert_eq!(json[0]["instances"][1]["instance"], "web-2/00000002");
    assert_eq!((&json[0]["instances"][0]["lag"], json[1].get("instances")), (&0.into(), None), "{json}");
}

#[test]
fn machines_are_added_listed_and_deleted() {
    let world = World::new();
    let run = world.run("machines add web-1 --auto");
    assert_eq!((run.code, &*run.out), (0, ""), "{}", run.err);
    let credentials = world.path("credentials.yaml");
    assert_eq!(
        run.err,
        format!(
            "Machine 'web-1' successfully added to the local API.\nAPI credentials written to '{}'.\n",
            credentials.display()
        )
    );
    let text = world.read("credentials.yaml");
    assert!(text.starts_with("url: http://127.0.0.1:8080/\nlogin: web-1\npassword: "), "{text}");
    assert_eq!(credentials.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    assert_eq!(
        world.fails("machines add web-2 --auto"),
        format!(
            "Error: cscli machines add: credentials file '{}' already exists: please remove it, use \"--force\" or \
             specify a different file with \"-f\" (\"-f -\" for standard output)",
            credentials.display()
        )
    );
    assert_eq!(
        world.fails("machines add web-1 --auto -f other.yaml"),
        "Error: cscli machines add: unable to create machine: user 'web-1': user already exist"
    );
    assert_eq!(
        world.fails(&format!("machines add web-9 -f - -p {}", "x".repeat(73))),
        "Error: cscli machines add: unable to create machine: password too long (max 72 characters)"
    );
    assert!(
        world
            .ok("machines add web-2 -p pw -u http://lapi:1 -f -")
            .contains("url: http://lapi:1\nlogin: web-2\n")
    );
    // An old file that names another LAPI does not count: the machine is in the database of this host's.
    for (server, url) in [
        ("", "http://127.0.0.1:8080/"),
        ("tls: {cert_file: /c, key_file: /k}", "https://127.0.0.1:8080/"),
        ("listen_socket: /run/lapi.sock", "/run/lapi.sock"),
    ] {
        world.write("config.yaml.local", &format!("api: {{server: {{{server}}}}}\n"));
        world.write("credentials.yaml", "url: http://192.0.2.9:8080/\nlogin: old\npassword: old\n");
        assert_eq!(world.run("machines add web-1 --auto --force").code, 0);
        let text = world.read("credentials.yaml");
        assert!(text.starts_with(&format!("url: {url}\nlogin: web-1\n")), "{server}: {text}");
    }
    std::fs::remove_file(world.path("config.yaml.local")).unwrap();
    let run = world.run_with("machines add asked -i -f asked.yaml", "from the terminal\n");
    assert!(
        run.code == 0 && world.read("asked.yaml").contains("password: \"from the terminal\""),
        "{}",
        run.err
    );
    assert_eq!(world.run("machines delete asked").code, 0);

    let listed = world.ok("machines list -o raw");
    assert!(listed.starts_with(
        "machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os\nweb-1,,"
    ));
    assert!(listed.contains(",true,,password,-,/\n"), "{listed}");
    assert!(world.ok("machines list -o json").contains("\n    \"machineId\": \"web-2\",\n"));
    assert!(world.ok("machines list").contains("⚠️ -"));
    assert!(world.ok("machines inspect web-1 -o json").contains("\n  \"metrics\": {}\n"));
    assert_eq!(
        world.fails("machines inspect x"),
        "Error: cscli machines inspect: unable to read machine data 'x': user 'x': user doesn't exist"
    );
    assert_eq!(
        world.fails("machines inspect web-1 -o raw"),
        "Error: cscli machines inspect: output format 'raw' not supported for this command"
    );
    assert_eq!(
        world.run("machines validate web-2").err,
        "level=info msg=\"machine 'web-2' validated successfully\"\n"
    );
    assert_eq!(
        world.fails("machines validate x"),
        "Error: cscli machines validate: unable to validate machine 'x': machine not found"
    );

    // A missing name does not prevent the deletion of the others.
    let run = world.run("machines delete x web-2");
    assert_eq!(run.code, 0);
    assert_eq!(
        run.err,
        "level=error msg=\"unable to delete machine: 'x' does not exist\"\n\
         level=info msg=\"machine 'web-2' deleted successfully\"\n"
    );
    assert_eq!(world.ok("machines prune"), "No machines to prune.\n");
    // Never the machine that the command itself logs in with.
    world.ok("machines add old -p pw -f -");
    let run = world.run_with("machines prune -d -1s --force", "y\n");
    assert_eq!(
        run.err,
        "? The duration you provided is less than 2 minutes. This can break installations if the machines are only \
         temporarily disconnected. Continue? (y/N) \
         level=warning msg=\"machine 'web-1' is not pruned: this command logs in as it\"\n\
         successfully deleted 1 machines\n"
    );
    let run = world.run_with("machines prune -d -1s --force", "y\n");
    assert!(run.out == "No machines to prune.\n" && run.err.contains("is not pruned"), "{}", run.err);
    assert!(world.ok("machines list -o raw").contains("\nweb-1,"));
    world.ok("machines delete web-1");
    assert_eq!(world.ok("machines list -o json"), "[]\n");
}

#[test]
fn a_key_of_two_bouncers_is_revoked_with_both() {
    let world = World::new();
    world.ok("bouncers add one -k shared");
    world.ok("bouncers add other -k shared");
    world.ok("bouncers add third -k own");
    let run = world.run("bouncers delete one");
    assert_eq!(
        run.err,
        "level=info msg=\"bouncer 'one' deleted successfully\"\n\
         level=warning msg=\"bouncer 'other' has the same key, which stays valid; delete it as well to revoke the key\"\n"
    );
    world.ok("bouncers add one -k shared");
    let run = world.run("bouncers delete one other third");
    assert!(run.code == 0 && !run.err.contains("warning"), "{}", run.err);
}

/// Only root can give files away.
#[test]
fn what_root_writes_belongs_to_the_owner_of_the_folder() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::new();
    let folder = world.path("data");
    std::fs::create_dir(&folder).unwrap();
    if std::os::unix::fs::chown(&folder, Some(65_534), Some(65_533)).is_err() {
        return;
    }
    let at = |name: &str| folder.join(name).display().to_string();
    world.write(
        "config.yaml.local",
        &format!(
            "db_config: {{db_path: {}}}\napi: {{client: {{credentials_path: {}}}}}\n",
            at("l.db"),
            at("c.yaml")
        ),
    );
    world.ok("bouncers add fw -k k");
    world.ok("machines add m --auto");
    world.ok("machines add m --auto --force");
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(names.len() >= 3, "{names:?}");
    for entry in names {
        let found = entry.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (65_534, 65_533), "{entry:?}");
    }
}

#[test]
fn names_are_completed() {
    let world = World::new();
    world.ok("bouncers add fw-1 -o raw");
    world.ok("bouncers add gate -o raw");
    let complete = |words: &[&str]| world.run_words(&[&["__complete"], words].concat(), "").out;
    assert_eq!(complete(&["bouncers", "delete", ""]), "fw-1\ngate\n:4\n");
    assert_eq!(complete(&["bouncers", "inspect", "at"]), "gate\n:4\n");
    assert_eq!(complete(&["bouncers", "delete", "gate", ""]), "fw-1\n:4\n");
    assert_eq!(complete(&["machines", "de"]), "delete\n:4\n");
    assert_eq!(complete(&["machines", "delete", ""]), ":4\n");
}

#[test]
fn allowlists_are_created_changed_and_deleted() {
    let lapi = Lapi::start(|line, _| match line {
        "GET /v1/allowlists?with_content=true" => (
            200,
            r#"[{"name":"office","description":"ours","created_at":"2026-01-02T03:04:05.000Z",
                "updated_at":"2026-01-02T03:04:05.000Z","items":[{"value":"10.0.0.0/8","created_at":"x",
                "expiration":"0001-01-01T00:00:00.000Z"}]}]"#
                .to_owned(),
        ),
        "GET /v1/allowlists/check/10.1.2.3" => {
            (200, r#"{"allowlisted":true,"reason":"10.0.0.0/8 from office (lan)"}"#.to_owned())
        }
        "GET /v1/allowlists/check/9.9.9.9" => (200, "{}".to_owned()),
        _ => (500, r#"{"message":"allowlist 'x' not found"}"#.to_owned()),
    });
    let world = World::with_lapi(&lapi.url);
    let create = |words: &[&str]| world.run_words(&[&["allowlists", "create"], words].concat(), "");
    assert_eq!(create(&["office", "-d", "our ranges"]).out, "allowlist 'office' created successfully\n");
    assert!(create(&["office", "-d", "x"]).err.ends_with("allowlist 'office' already exists\n"));
    assert!(create(&["other"]).err.ends_with("required flag(s) \"description\" not set\n"));

    let run = world.run("allowlists add office 10.0.0.0/8 nonsense 1.2.3.4 -d lan -e 1d");
    assert_eq!((run.code, &*run.out), (0, "added 2 values to allowlist office\n"), "{}", run.err);
    assert_eq!(run.err, "level=error msg=\"invalid ip address 'nonsense'\"\n");
    let run = world.run("allowlist add office 1.2.3.4");
    assert_eq!(run.out, "no new values for allowlist\n");
    assert_eq!(run.err, "level=warning msg=\"value 1.2.3.4 already in allowlist\"\n");
    assert_eq!(
        world.fails("allowlists add nope 1.2.3.4"),
        "Error: cscli allowlists add: allowlist 'nope' not found"
    );
    let run = world.run("allowlist add office ::ffff:1.2.3.4 1.2.3.4/32");
    assert_eq!(
        run.err,
        "level=warning msg=\"value ::ffff:1.2.3.4 already in allowlist as 1.2.3.4\"\n\
         level=warning msg=\"value 1.2.3.4/32 already in allowlist as 1.2.3.4\"\n"
    );
    assert!(world.fails("allowlists add office 9.9.9.9 -e -1h").contains("over before it begins"));
    let list =
        "\u{feff}# ours\r\nvalue,comment\r\n5.6.7.8,five\r\n\r\nbad,x\r\n; y\r\n5.6.7.8/32 # again\r\n";
    assert_eq!(
        world.run_with("allowlists import office -i - --strict", list).err,
        "Error: cscli allowlists import: line 5: \"bad\" is neither an address nor a range\n"
    );
    let run = world.run_with("allowlists import office -i -", list);
    assert_eq!(run.out, "added 1 values to allowlist office\n", "{}", run.err);
    assert_eq!(
        world.ok("allowlists remove office 1.2.3.4/32 5.6.7.8"),
        "removed 2 values from allowlist office"
    );
    let run = world.run("allowlists remove office 1.2.3.4");
    assert_eq!(run.out, "no value to remove from allowlist\n");
    assert_eq!(run.err, "level=warning msg=\"value 1.2.3.4 is not in allowlist\"\n");
    assert_eq!(world.ok("allowlists delete office"), "allowlist 'office' deleted successfully\n");
    assert_eq!(
        world.fails("allowlists delete office"),
        "Error: cscli allowlists delete: allowlist 'office' not found"
    );

    assert_eq!(
        world.ok("allowlists list -o raw"),
        "name,description,created_at,updated_at,console_managed,size\n\
         office,ours,2026-01-02T03:04:05.000Z,2026-01-02T03:04:05.000Z,false,1\n"
    );
    assert_eq!(
        world.ok("allowlists check 9.9.9.9 10.1.2.3"),
        "9.9.9.9 is not allowlisted\n10.1.2.3 is allowlisted by item 10.0.0.0/8 from office (lan)\n"
    );
    assert_eq!(
        world.fails("allowlists inspect x"),
        "Error: cscli allowlists inspect: unable to get allowlist: API error: allowlist 'x' not found"
    );
}

#[test]
fn alerts_are_flushed() {
    let world = World::new();
    let run = world.run("alerts flush --max-age 1h");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("Flushing alerts"), "{}", run.err);
}

#[test]
fn metrics_come_from_the_page_and_the_database() {
    let page = Lapi::start(|_, _| {
        (200, "cs_lapi_route_requests_total{route=\"/v1/alerts\",method=\"GET\"} 3\n".to_owned())
    });
    let world = World::new();
    world.ok("bouncers add fw --key k");
    world.ok("bouncers delete fw");
    let json = world.ok(&format!("metrics show lapi bouncers -o json -u {}metrics", page.url));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["lapi"]["/v1/alerts"]["GET"], 3);
    assert_eq!(json["bouncers"], serde_json::json!({}));
    let run = world.run("metrics -u http://127.0.0.1:9/metrics");
    assert_eq!(run.code, 0);
    assert_eq!(run.out, "", "only what was asked for by name is shown empty");
    let run = world.run("metrics show bouncers alerts -u http://127.0.0.1:9/metrics");
    assert_eq!(run.out, "No bouncer metrics found.\n");
    let empty = world.ok(&format!("metrics show bouncers alerts lapi -u {}metrics", page.url));
    let tables = ["| Reason | Count |", "\nNo bouncer metrics found.\n", "| /v1/alerts | GET    | 3    |"];
    let places = tables.map(|text| empty.find(text).unwrap_or_else(|| panic!("{text} in {empty}")));
    assert!(places.is_sorted(), "{empty}");
    let run = world.run("metrics -u http://127.0.0.1:9/metrics");
    assert!(run.err.contains("level=warning msg=\"unable to retrieve metrics from"), "{}", run.err);
    assert!(world.ok("metrics list").contains("lapi-decisions"));
    assert!(world.fails("metrics -o raw").contains("'raw' not supported"));
}

#[test]
fn metrics_that_are_off_are_an_error() {
    for config in ["prometheus: {enabled: false}\n", "prometheus: {enabled: false, level: full}\n"] {
        let world = World::new();
        world.write("config.yaml.local", config);
        for line in ["metrics", "metrics show bouncers", "metrics -o json", "metrics show foo"] {
            let error = world.fails(line);
            assert!(
                error.ends_with("prometheus is not enabled, can't show metrics"),
                "{config} {line}: {error}"
            );
        }
        assert!(world.ok("metrics list").contains("lapi-decisions"));
    }
    let world = World::new();
    let text = std::fs::read_to_string(world.path("config.yaml")).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("prometheus")).collect();
    world.write("config.yaml", &without.join("\n"));
    assert!(world.fails("metrics").ends_with("prometheus is not enabled, can't show metrics"));
}

#[test]
fn figures_of_machines_and_bouncers_come_from_their_reports() {
    let world = World::new();
    world.ok("machines add web-1 --auto -f -");
    world.ok("bouncers add fw --key k1");
    let report = |kind, producer: &str, items: &str| UsageRow {
        kind,
        producer: producer.into(),
        received_at: UnixMillis(0),
        payload: format!(
            r#"{{"metrics":[{{"meta":{{"window_size_seconds":1800,"utc_now_timestamp":1}},"items":[{items}]}}]}}"#
        ),
    };
    let line = |name: &str, value: u32, more: &str| {
        format!(
            r#"{{"name":"{name}","unit":"line","value":{value},"labels":{{"datasource_type":"file",
                "source":"/var/log/auth.log","acquis_type":"syslog"{more}}}}}"#
        )
    };
    let sshd = r#","parser_name":"x/sshd-logs","parser_stage":"s01-parse""#;
    let lines = [
        line("read", 29, ""),
        line("global_parsed", 20, ""),
        line("global_unparsed", 9, ""),
        line("parsed", 20, sshd),
        line("unparsed", 9, sshd),
    ];
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(&DbConfig::sqlite(world.path("lapi.palisade.db"))).await.unwrap();
        store.add_usage(report(UsageKind::LogProcessor, "web-1", &lines.join(","))).await.unwrap();
        let processed = r#"{"name":"processed","unit":"byte","value":12340}"#;
        store.add_usage(report(UsageKind::RemediationComponent, "fw", processed)).await.unwrap();
        let id = store.machine("web-1").await.unwrap().unwrap().id;
        let hub = r#"{"parsers":[{"name":"x/own","status":"custom"},{"name":"x/y","status":"official","version":"0.1"}]}"#;
        let update = MachineUpdate { id, hub_state: Some(hub.into()), ..MachineUpdate::default() };
        store.update_machines(UnixMillis(0), vec![update]).await.unwrap();
        store.close().await;
    });
    let shown = world.ok("machines inspect web-1");
    assert!(shown.contains("| file:/var/log/auth.log (syslog) |   29 |     20 |        9 |"), "{shown}");
    let parser = "| file:/var/log/auth.log (syslog) | s01-parse/x/sshd-logs |     20 |        9 |";
    assert!(shown.contains(parser), "{shown}");
    let json = |line: &str| -> serde_json::Value { serde_json::from_str(&world.ok(line)).unwrap() };
    let metrics = &json("machines inspect web-1 -o json")["metrics"];
    assert_eq!(metrics["acquisition"][0]["unparsed"], 9);
    assert_eq!(metrics["parsers"][0]["stage"], "s01-parse");
    let hub = &json("machines inspect web-1 --hub -o json")["parsers"];
    assert_eq!((hub[0].get("version"), &hub[1]["version"]), (None, &"0.1".into()), "{hub}");
    assert_eq!(
        json("metrics show bouncers -o json"),
        serde_json::json!({"bouncers": {"fw": {"": {"processed": {"byte": 12340}}}}})
    );
    let shown = world.ok("metrics show bouncers");
    assert!(
        shown.contains("12.34k") && world.ok("metrics show bouncers --no-unit").contains("12340"),
        "{shown}"
    );
}

#[test]
fn no_database_is_made_where_there_was_one() {
    let world = World::new();
    let path = world.path("lapi.palisade.db");
    // On a fresh host a reading command makes none, an adding one does; as `cscli` any does, as scripts expect.
    let run = world.run_as("palisade", &["machines", "list"], "");
    assert!(run.code != 0 && run.err.contains(&format!("{} does not exist", path.display())), "{}", run.err);
    assert!(run.err.contains("start palisade-lapi") && !path.exists(), "{}", run.err);
    world.ok("bouncers add fw --key k");

    // Deleted while a process has it open.
    let held = std::fs::File::open(&path).unwrap();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        if file.to_string_lossy().contains("lapi.palisade.db") {
            std::fs::remove_file(file).unwrap();
        }
    }
    for line in ["bouncers add other --key k2", "machines list"] {
        let run = world.run(line);
        let text = format!("process {} still has it open", std::process::id());
        assert!(run.code != 0 && run.err.contains(&text), "{line}: {}", run.err);
        assert!(!path.exists());
    }
    drop(held);
    world.ok("bouncers add other --key k2");

    // Deleted, with what lies beside it left.
    std::fs::remove_file(&path).unwrap();
    let run = world.run("bouncers add other --key k2");
    assert!(
        run.code != 0 && run.err.contains("lapi.palisade.db-open.lock shows that there was one"),
        "{}",
        run.err
    );
    assert!(!path.exists());
}
